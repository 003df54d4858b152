"""The learner as the driver sees it: one or more processes that hold the policy in all stages."""

from __future__ import annotations

import json
import os
import resource
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.distributed as dist
from transformers import AutoTokenizer

from qwenlong.config import LearnerConfig, SftStage
from qwenlong.disk.files import room_for, whole_folder
from qwenlong.disk.manifest import Written
from qwenlong.learner.attention.shared_prompt import SHARED_PROMPT
from qwenlong.learner.distributed.mesh import form_mesh, scale_gradients
from qwenlong.learner.distributed.storage import StoredTensors, write_shards
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.sft import LOG, SftRow, fine_tune, go_back, sft_settings
from qwenlong.types import Batch, Rope, RowFigures, StoredWeights


class LearnerActor:
    """Made a Ray actor by ``cluster``; a plain class, so that it can be used without Ray.

    All processes of a learner get the same calls; the first one answers, and writes policies.
    """

    def __init__(self, path: str, dtype: str, config: LearnerConfig, seed: int) -> None:
        torch.manual_seed(seed)
        self.path, self.dtype, self.config = path, dtype, config
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.sft_logs: dict[str, list[dict[str, float]]] = {}
        self.writer = ThreadPoolExecutor(1)

    def address(self) -> str:
        """Where this process can be met by the others; nobody else can listen there any more."""
        from ray.util import get_node_ip_address

        host = get_node_ip_address()  # the loopback's, for a Ray that is here alone
        self.meeting = socket.create_server((host, 0))
        return f"{host}:{self.meeting.getsockname()[1]}"

    def join(self, rank: int, address: str) -> None:
        """Meets the other processes at the first one's address, and loads the policy."""
        config = self.config
        self.rank, self.first = rank, rank == 0
        if config.processes > 1:
            host, _, port = address.rpartition(":")
            # By these names TRL's trainer knows its place, too.
            os.environ |= {
                "MASTER_ADDR": host, "MASTER_PORT": port, "WORLD_SIZE": str(config.processes),
                "RANK": str(rank), "LOCAL_RANK": "0",
            }  # fmt: skip
            if host.startswith("127."):
                os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
            # torch's own would listen on all interfaces.
            listening = self.meeting.detach() if self.first else None
            store = dist.TCPStore(  # type: ignore[attr-defined]
                host, int(port), config.processes, self.first, master_listen_fd=listening
            )
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=config.processes)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        mesh = form_mesh(config.data_ranks, config.sequence_ranks, device)
        self.learner = GrpoLearner(self.path, self.dtype, config, mesh)

    def step(self, batch: Batch) -> dict[str, float]:
        return {**self.learner.step(batch), "peak_memory_gb": self.peak_memory_gb()}

    def row_figures(self) -> list[RowFigures]:
        return self.learner.row_figures()

    def sft(
        self,
        name: str,
        rows: Sequence[SftRow],
        stage: SftStage,
        rope: Rope,
        folder: Path,
        resume_from: Path | None,
        seed: int,
        non_finite: str,
    ) -> None:
        """Fine-tunes the policy; ``folder`` holds the trainer's own checkpoints meanwhile.

        Beside them stands what was logged, which the driver may not have been told of when all of
        them are killed.
        """
        log = self.sft_logs[name] = go_back(folder, resume_from) if self.first else []

        def note(logged: dict[str, float]) -> None:
            log.append(logged)
            if self.first:
                with room_for(folder / LOG), (folder / LOG).open("a") as file:
                    file.write(f"{json.dumps(logged)}\n")

        model = self.learner.model
        self.learner.stretch(rope)
        use_cache = model.config.use_cache
        model.set_attn_implementation("sdpa")
        scale_gradients(model, self.config.processes)  # the trainer's loss is a mean over them
        bf16 = self.learner.dtype == torch.bfloat16
        # The cache would keep copies of weights that FSDP2 has freed.
        torch.set_autocast_cache_enabled(False)
        settings = sft_settings(stage, self.config, rows, folder, bf16, seed)
        fine_tune(model, self.tokenizer, rows, settings, resume_from, note, non_finite)
        scale_gradients(model, 1.0)
        model.set_attn_implementation(SHARED_PROMPT)
        model.config.use_cache = use_cache  # the trainer switches it off for good

    def sft_progress(self, name: str, after: int) -> list[dict[str, float]]:
        """What stage ``name`` logged after step ``after``; asked while it runs."""
        return [logged for logged in self.sft_logs.get(name, []) if logged["step"] > after]

    def stretch(self, rope: Rope) -> None:
        self.learner.stretch(rope)

    def keep_reference(self) -> None:
        self.learner.keep_reference()

    def weights(self) -> tuple[StoredWeights | None, bool]:
        """The first process's, and that they are there, which can be asked without a copy."""
        weights = self.learner.weights()
        if self.first:
            return StoredWeights.of(weights), True
        for _ in weights:  # the others help to gather them
            pass
        return None, True

    def save_state(self, folder: Path) -> None:
        """Copies this process's share of the state to host memory; a thread writes it there."""
        pieces, config = self.learner.state(), self.config
        self.writing = self.writer.submit(write_shards, folder, self.rank, config.processes, pieces)

    def saved(self, wait: bool) -> Written | None:
        """What came of it; None while the thread still writes, unless asked to ``wait``."""
        if not wait and not self.writing.done():
            return None
        return self.writing.result()

    def restore_state(self, folder: Path) -> None:
        self.learner.restore(StoredTensors(folder))

    def save_policy(self, folder: Path) -> None:
        """Writes policy and tokenizer, loadable by transformers and vLLM, RoPE included.

        Raises:
            StoppedError: there is no room.
        """
        if not self.first:
            self.learner.save_policy(folder, write=False)
            return
        with whole_folder(folder) as partial:
            self.learner.save_policy(partial)
            self.tokenizer.save_pretrained(partial)

    def peak_memory_gb(self) -> float:
        """Most memory so far, in GiB: the GPU's where there is one, else the process's."""
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
