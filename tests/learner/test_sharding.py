"""A learner of several processes gives what one process gives: loss, gradients, parameters."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.tensor import DTensor, distribute_tensor

from qwenlong.config import LearnerConfig
from qwenlong.learner.distributed.mesh import form_mesh, whole
from qwenlong.learner.distributed.storage import StoredTensors, write_shards
from qwenlong.learner.learner import GrpoLearner
from qwenlong.types import Batch, InputError, Limits
from tests.arrays import row

CONFIG = LearnerConfig(beta2=0.95, weight_decay=0.01, max_tokens=90)
STATEFUL = replace(CONFIG, kl_coefficient=0.1)
VOCABULARY = 97
LENGTHS = [
    (40, (9, 3, 17, 5)), (23, (1, 0, 12, 1)), (1, (4, 2, 1, 3)),
    (61, (20, 18, 7, 2)), (30, (0, 7, 0, 2)), (12, (3, 3, 3, 3)),
]  # fmt: skip
"""Prompt and responses of each group; the fourth is larger than the budget, the last is flat."""

MESHES = [(1, 2), (2, 1), (1, 4), (2, 2), (4, 1)]
OPTIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "adapters": ("untied", "float32", {"lora_rank": 4, "kl_coefficient": 0.1}),
    "gspo": (
        "untied",
        "float32",
        {"objective": "gspo", "kl_coefficient": 0.1, "activation_checkpointing": True},
    ),
    "dapo": ("untied", "float32", {"objective": "dapo", "importance_cap": 2.0, "mask_ratio": 3.0}),
    "experts": ("moe", "float32", {}),
    "bf16": ("tied", "bfloat16", {"kl_coefficient": 0.1}),
}
"""Policy, dtype and what is not as in CONFIG."""
TOLERANCES = {"float32": 1e-5, "bfloat16": 0.02}
LIMITS = {"not finite": Limits(finite=True), "apart": Limits(engine_kl=1e-3)}
Job = tuple[Any, ...]
"""A function and its arguments."""


def batch_of(seed: int, mini_batch: int = 6) -> Batch:
    rng = Random(seed)

    def tokens(n: int) -> list[int]:
        return [rng.randrange(VOCABULARY) for _ in range(n)]

    rows = [
        row(
            tokens(prompt),
            [tokens(n) for n in responses],
            [[-4 - rng.random() for _ in range(n)] for n in responses],
            [rng.gauss(0, 1) for _ in responses],
        )
        for prompt, responses in LENGTHS
    ]
    rows[-1] = replace(rows[-1], advantages=(0.0,) * 4)
    return Batch(tuple(rows), mini_batch, 1e-3, 32, temperature=0.7, top_p=0.9)


def trained(learner: GrpoLearner) -> dict[str, Any]:
    """Gradients of one step, then metrics and parameters after three."""
    gradients: dict[str, torch.Tensor] = {}
    update = learner._update

    def kept(*args: Any) -> tuple[float, bool]:
        if not gradients:
            for name, parameter in learner.parameters.items():
                gradients[name] = whole(parameter.grad).clone()
        return update(*args)

    learner._update = kept  # type: ignore[assignment, method-assign]
    batches = batch_of(0), batch_of(1, 3), batch_of(2)
    metrics = [learner.step(batch).metrics for batch in batches]
    for each in metrics:
        each.pop("learner_tokens_per_s")
    weights = {name: tensor.clone() for name, tensor in learner.weights()}
    return {"gradients": gradients, "metrics": metrics, "weights": weights}


def process(rank: int, processes: int, port: int, jobs: dict[str, Job], out: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=processes)
    results = {name: work(*args) for name, (work, *args) in jobs.items()}
    if rank == 0:
        torch.save(results, out)
    dist.destroy_process_group()


def together(processes: int, jobs: dict[str, Job], folder: Path) -> dict[str, Any]:
    """What the first of the processes returns from each job, which all of them do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = str(folder / "results.pt")
    mp.spawn(  # type: ignore[attr-defined]
        process, (processes, port, jobs, out), nprocs=processes
    )
    return torch.load(out, weights_only=False)


def learner_on(
    mesh: tuple[int, int], path: str, config: LearnerConfig, dtype: str = "float32"
) -> GrpoLearner:
    torch.manual_seed(0)  # adapters begin at random
    config = replace(config, data_ranks=mesh[0], sequence_ranks=mesh[1])
    return GrpoLearner(path, dtype, config, form_mesh(*mesh, "cpu"))


def steps_on(
    mesh: tuple[int, int], path: str, config: LearnerConfig, dtype: str = "float32"
) -> dict[str, Any]:
    learner = learner_on(mesh, path, config, dtype)
    learner.keep_reference()
    return trained(learner)


def begun_on(mesh: tuple[int, int], path: str, config: LearnerConfig) -> GrpoLearner:
    learner = learner_on(mesh, path, config)
    learner.keep_reference()
    learner.step(batch_of(3))
    return learner


def saved_on(
    mesh: tuple[int, int], path: str, config: LearnerConfig, folder: Path
) -> dict[str, Any]:
    """What a learner that saved its state there does next."""
    learner = begun_on(mesh, path, config)
    written = write_shards(folder, learner.mesh.rank, mesh[0] * mesh[1], learner.state())
    assert not written.error
    return trained(learner)


def resumed_on(
    mesh: tuple[int, int], path: str, config: LearnerConfig, folder: Path
) -> dict[str, Any]:
    learner = learner_on(mesh, path, config)
    learner.restore(StoredTensors(folder))
    return trained(learner)


def pieces_on(mesh: tuple[int, int], path: str, config: LearnerConfig) -> dict[str, int]:
    """Rows of each tensor that the first process would write."""
    pieces = begun_on(mesh, path, config).state()
    return {name: len(each.tensor) for name, each in pieces.items() if each.shape}


def left_out_on(mesh: tuple[int, int], path: str, limits: Limits) -> dict[str, Any]:
    """A step whose fifth row alone has a token with an embedding that overflowed."""
    batch = replace(batch_of(0), limits=limits)
    tokens = [{*row.prompt_ids, *(x for ids in row.responses for x in ids)} for row in batch.rows]
    [own, *_] = sorted({*batch.rows[4].prompt_ids}.difference(*tokens[:4], tokens[5]))
    learner = learner_on(mesh, path, CONFIG)

    def weights() -> list[torch.Tensor]:
        return [whole(each.detach()).clone() for each in learner.parameters.values()]

    if limits.finite:
        embedding = learner.parameters["model.embed_tokens.weight"]
        changed = whole(embedding.detach()).clone()
        changed[own] = torch.inf
        if isinstance(embedding, DTensor):
            changed = distribute_tensor(changed, embedding.device_mesh, embedding.placements)
        with torch.no_grad():
            embedding.copy_(changed)
    before = weights()
    result = learner.step(batch)
    return {
        "left_out": result.metrics["updates_left_out"],
        "same": all(map(torch.equal, before, weights())),
        "rows": result.rows,
    }


def joined_wrongly() -> str:
    with pytest.raises(ValueError, match=r"learner.data_ranks=3") as error:
        form_mesh(3, 1, "cpu")
    with pytest.raises(ValueError, match=r"need 1 processes, not 2"):
        form_mesh(1, 1, "cpu")
    return str(error.value)


@pytest.fixture(scope="module")
def two(policies, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of all jobs on two processes, which take far longer to start than the jobs."""
    untied = policies["untied"]
    folders = {n: tmp_path_factory.mktemp(f"state-of-{n}") for n in (1, 2)}
    jobs: dict[str, Job] = {
        "joined wrongly": (joined_wrongly,),
        "saved 2": (saved_on, (2, 1), untied, STATEFUL, folders[2]),
        "rows 2": (pieces_on, (2, 1), untied, STATEFUL),
        "1 to 2": (resumed_on, (1, 2), untied, STATEFUL, folders[1]),
        "2 to 2": (resumed_on, (2, 1), untied, STATEFUL, folders[2]),
        **jobs_on_meshes(policies, 2),
    }
    saved = saved_on((1, 1), untied, STATEFUL, folders[1])
    results = together(2, jobs, tmp_path_factory.mktemp("two"))
    return {"folders": folders, "saved 1": saved, **results}


@pytest.fixture(scope="module")
def four(policies, two, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of all jobs on four processes."""
    jobs: dict[str, Job] = {
        name: (steps_on, (2, 2), policies[policy], replace(CONFIG, **changed), dtype)
        for name, (policy, dtype, changed) in OPTIONS.items()
    }
    jobs["2 to 4"] = (resumed_on, (2, 2), policies["untied"], STATEFUL, two["folders"][2])
    jobs |= jobs_on_meshes(policies, 4)
    return together(4, jobs, tmp_path_factory.mktemp("four"))


def jobs_on_meshes(policies, processes: int) -> dict[str, Job]:
    """Steps on every mesh of so many processes, and updates that are left out."""
    square = (2, processes // 2)
    jobs: dict[str, Job] = {
        f"{name} on {square}": (left_out_on, square, policies["untied"], limits)
        for name, limits in LIMITS.items()
    }
    for mesh in MESHES:
        if mesh[0] * mesh[1] == processes:
            jobs[str(mesh)] = (steps_on, mesh, policies["tied"], CONFIG)
    return jobs


def assert_same(one: dict[str, Any], many: dict[str, Any], tolerance: float = 1e-5) -> None:
    for key in ("gradients", "weights"):
        assert one[key].keys() == many[key].keys()
        for name, tensor in one[key].items():
            gap = (many[key][name] - tensor).norm()
            assert gap <= tolerance * tensor.norm(), f"{key} {name}: {gap:.1e}"
    for before, after in zip(one["metrics"], many["metrics"], strict=True):
        assert before == pytest.approx(after, rel=10 * tolerance, abs=1e-7)


def by_processes(*meshes: tuple[int, int]) -> pytest.MarkDecorator:
    """A test for each mesh, those of four processes marked slow, with the results to look into."""
    cases = []
    for mesh in meshes:
        processes = mesh[0] * mesh[1]
        marks = [pytest.mark.slow] if processes == 4 else []
        name = f"{mesh[0]} data x {mesh[1]} sequence"
        cases.append(pytest.param(mesh, {2: "two", 4: "four"}[processes], marks=marks, id=name))
    return pytest.mark.parametrize(("mesh", "results"), cases)


@by_processes(*MESHES)
def test_every_split_is_one_process(
    policies, request: pytest.FixtureRequest, mesh: tuple[int, int], results: str
) -> None:
    """Four sequence ranks are more than the policy's two KV heads."""
    sharded = request.getfixturevalue(results)
    assert_same(steps_on((1, 1), policies["tied"], CONFIG), sharded[str(mesh)])


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_options_hold_on_several_processes(policies, four, name: str) -> None:
    policy, dtype, changed = OPTIONS[name]
    alone = steps_on((1, 1), policies[policy], replace(CONFIG, **changed), dtype)
    assert_same(alone, four[name], TOLERANCES[dtype])


@by_processes((2, 1), (2, 2))
def test_all_processes_leave_out_what_one_of_them_cannot_compute(
    policies, request: pytest.FixtureRequest, mesh: tuple[int, int], results: str
) -> None:
    sharded = request.getfixturevalue(results)
    for name, limits in LIMITS.items():
        alone = left_out_on((1, 1), policies["untied"], limits)
        shared = sharded[f"{name} on {mesh}"]
        assert (
            (shared["left_out"], shared["same"]) == (alone["left_out"], alone["same"]) == (1, True)
        )
        for ours, theirs in zip(shared["rows"], alone["rows"], strict=True):
            assert ours.finite == theirs.finite
            close = pytest.approx(theirs.engine_kl, rel=1e-3, nan_ok=True)
            assert ours.engine_kl == close
    rows = sharded[f"not finite on {mesh}"]["rows"]
    assert [row.finite for row in rows] == [i != 4 for i in range(6)]


def test_a_state_goes_on_at_another_number_of_processes(policies, two) -> None:
    """Weights, optimizer and reference; 97 rows of the vocabulary do not divide evenly."""
    two_to_one = resumed_on((1, 1), policies["untied"], STATEFUL, two["folders"][2])
    for name, resumed in (("2 to 1", two_to_one), *two.items()):
        if " to " in name:
            assert_same(two[f"saved {name[0]}"], resumed)


@pytest.mark.slow
def test_a_state_goes_on_at_twice_the_number_of_processes(two, four) -> None:
    assert_same(two["saved 2"], four["2 to 4"])


def test_a_state_goes_on_to_the_bit_at_the_same_number(policies, two) -> None:
    one_to_one = resumed_on((1, 1), policies["untied"], STATEFUL, two["folders"][1])
    for resumed, saved in ((one_to_one, "saved 1"), (two["2 to 2"], "saved 2")):
        assert resumed["metrics"] == two[saved]["metrics"]
        for name, tensor in two[saved]["weights"].items():
            assert torch.equal(resumed["weights"][name], tensor), name


def test_every_process_writes_its_own_rows(policies, two) -> None:
    whole = pieces_on((1, 1), policies["untied"], STATEFUL)
    assert two["rows 2"].keys() == whole.keys()
    for name, rows in two["rows 2"].items():
        assert rows == (whole[name] if name == "random/0" else -(-whole[name] // 2)), name


def test_sequence_ranks_must_divide_the_heads(policies) -> None:
    with pytest.raises(InputError, match=r"learner.sequence_ranks=3: must divide .* 4 query heads"):
        GrpoLearner(policies["tied"], "float32", LearnerConfig(sequence_ranks=3))


def test_a_learner_needs_its_mesh(policies) -> None:
    with pytest.raises(ValueError, match=r"learner.data_ranks=2, .* the mesh has 1 and 1"):
        GrpoLearner(policies["tied"], "float32", LearnerConfig(data_ranks=2))


def test_a_mesh_needs_its_processes(two) -> None:
    expected = "learner.data_ranks=3, learner.sequence_ranks=1: need 3 processes, not 2"
    assert two["joined wrongly"] == expected
