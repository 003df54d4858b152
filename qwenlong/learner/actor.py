"""One process of the learner: it holds the policy through all stages, SFT and RL."""

from __future__ import annotations

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.distributed as dist
from transformers import AutoTokenizer

from qwenlong.config import LearnerConfig
from qwenlong.disk.files import room_for, whole_folder
from qwenlong.disk.manifest import Written
from qwenlong.learner.attention.shared_prompt import SHARED_PROMPT
from qwenlong.learner.distributed.mesh import form_mesh, scale_gradients
from qwenlong.learner.distributed.storage import StoredTensors, write_shards
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.sft import LOG, SftJob, fine_tune, go_back, sft_settings
from qwenlong.types import Batch, Learner, Rope, StepResult, StoredWeights


class LearnerActor(Learner):
    """``cluster`` makes it a Ray actor; it works without Ray, too.

    All processes of a learner get the same calls, because each call may hold collectives. The first
    process writes policies, and its answers count.
    """

    def __init__(self, path: str, dtype: str, config: LearnerConfig, seed: int) -> None:
        torch.manual_seed(seed)
        self.path, self.dtype, self.config = path, dtype, config
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.logs: dict[str, list[dict[str, float]]] = {}
        """Metrics of the updates of each SFT stage."""
        self.writer = ThreadPoolExecutor(1)

    def address(self) -> str:
        """Where the other processes can join this one. The port is taken from now on."""
        from ray.util import get_node_ip_address

        host = get_node_ip_address()  # the loopback address if Ray runs on this machine alone
        self.listening = socket.create_server((host, 0))
        return f"{host}:{self.listening.getsockname()[1]}"

    def join(self, rank: int, address: str) -> None:
        """Joins the other processes at the first one's ``address``, and loads the policy."""
        config = self.config
        self.rank, self.first = rank, rank == 0
        if config.processes > 1:
            host, _, port = address.rpartition(":")
            # TRL's trainer reads the same names.
            os.environ |= {
                "MASTER_ADDR": host, "MASTER_PORT": port, "WORLD_SIZE": str(config.processes),
                "RANK": str(rank), "LOCAL_RANK": "0",
            }  # fmt: skip
            if host.startswith("127."):
                os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
            # torch would open a socket of its own that listens on all interfaces.
            listening = self.listening.detach() if self.first else None
            store = dist.TCPStore(  # type: ignore[attr-defined]
                host, int(port), config.processes, self.first, master_listen_fd=listening
            )
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=config.processes)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        mesh = form_mesh(config.data_ranks, config.sequence_ranks, device)
        self.learner = GrpoLearner(self.path, self.dtype, config, mesh)

    def step(self, batch: Batch) -> StepResult:
        return self.learner.step(batch)

    def sft(self, job: SftJob) -> None:
        """Fine-tunes the policy.

        Each update is also logged in the job's folder, next to the trainer's checkpoints: if all
        processes are killed, the driver may not have read the last updates yet.
        """
        log = self.logs[job.name] = go_back(job.folder, job.resume_from) if self.first else []
        file = job.folder / LOG

        def note(logged: dict[str, float]) -> None:
            log.append(logged)
            if self.first:
                with room_for(file), file.open("a") as lines:
                    lines.write(f"{json.dumps(logged)}\n")

        model = self.learner.model
        self.learner.set_rope(job.rope)
        use_cache = model.config.use_cache
        model.set_attn_implementation("sdpa")
        # The trainer's loss is a mean over the processes, and gradients are summed over them.
        scale_gradients(model, self.config.processes)
        bf16 = self.learner.dtype == torch.bfloat16
        # Autocast's cache would keep copies of weights that FSDP2 has freed.
        torch.set_autocast_cache_enabled(False)
        settings = sft_settings(job.stage, self.config, job.rows, job.folder, bf16, job.seed)
        fine_tune(model, self.tokenizer, job.rows, settings, job.resume_from, note, job.non_finite)
        scale_gradients(model, 1.0)
        model.set_attn_implementation(SHARED_PROMPT)
        model.config.use_cache = use_cache  # the trainer switches it off for good

    def sft_updates(self, name: str, after: int) -> list[dict[str, float]]:
        """Metrics of stage ``name``'s updates after step ``after``; called while it trains."""
        return [logged for logged in self.logs.get(name, []) if logged["step"] > after]

    def set_rope(self, rope: Rope) -> None:
        self.learner.set_rope(rope)

    def keep_reference(self) -> None:
        self.learner.keep_reference()

    def weights(self) -> tuple[StoredWeights | None, bool]:
        """The weights, from the first process alone, and a flag that says they are there.

        Waiting for the flag does not copy the weights to the driver's node.
        """
        weights = self.learner.weights()
        if self.first:
            return StoredWeights.of(weights), True
        for _ in weights:  # gathering a tensor is a collective
            pass
        return None, True

    def save_state(self, folder: Path) -> None:
        """Copies this process's share of the state to host memory; a thread writes it to disk."""
        pieces, config = self.learner.state(), self.config
        self.writing = self.writer.submit(write_shards, folder, self.rank, config.processes, pieces)

    def saved(self, wait: bool) -> Written | None:
        """What the thread has written; None if it still writes, unless asked to ``wait``."""
        if not wait and not self.writing.done():
            return None
        return self.writing.result()

    def restore_state(self, folder: Path) -> None:
        self.learner.restore(StoredTensors(folder))

    def save_policy(self, folder: Path) -> None:
        """Writes policy and tokenizer, loadable by transformers and vLLM, RoPE included.

        Raises:
            StoppedError: the disk has no room.
        """
        if not self.first:
            self.learner.save_policy(folder, write=False)
            return
        with whole_folder(folder) as partial:
            self.learner.save_policy(partial)
            self.tokenizer.save_pretrained(partial)
