"""Bad input through the command line: one clear line, exit code 2, nothing started or left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwenlong.cli import main

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {
    "question": "Where is it?",
    "documents": ["It is here."],
    "answers": ["here"],
    "reasoning": "It says so.",
}
FILES: dict[str, list[object]] = {
    "empty": [],
    "malformed": [GOOD, GOOD, '{"question": "Where'],
    "answerless": [GOOD, {**GOOD, "answers": []}],
    "blank_answer": [GOOD, {**GOOD, "answers": [" "]}],
    "no_answer": [
        GOOD,
        {"question": "Who?", "documents": ["Ann."], "kind": "format", "max_characters": 9},
    ],
    "unknown_kind": [GOOD, {**GOOD, "kind": "essay"}],
    "a_list": [GOOD, {**GOOD, "kind": "list"}],
    "long_question": [{**GOOD, "question": "Where is it, if it is? " * 200}],
}
FACTS = {"source": "facts", "examples": 40, "min_tokens": 40, "max_tokens": 400}
EXPERIMENT: dict[str, Any] = {
    "policy": {"path": "tiny", "dtype": "float32", "window": 256, "tiny": {"layers": 1}},
    "data": {
        "sft": [{**FACTS, "max_tokens": 100}],
        "train": [{"source": "recital", "examples": 5, "min_tokens": 6, "max_tokens": 9}, FACTS],
        "held_out": [FACTS],
    },
    "stages": {
        "sft": {"kind": "sft", "context": 256, "batch": 8},
        "phase1": {
            "kind": "rl", "context": 200, "response": 16, "steps": 1, "batch": 8, "group": 4,
        },
        "phase2": {"kind": "rl", "context": 500, "yarn_factor": 2.5},
    },
    "evaluation": {"examples": 2},
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """A folder with an experiment file and data files; SIGTERM is put back afterwards."""
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
    for name, lines in FILES.items():
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{text}\n" for text in texts))
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def source(part: str, name: str) -> str:
    return f"data.{part}=[{{source: jsonl, path: {name}.jsonl}}]"


def by_source(*rewards: str) -> str:
    return f"rewards.by_source=[{', '.join(rewards)}]"


JUDGED = by_source("{source: '*', combine: judge}")
BAD = {
    "unknown key": (["rollout.tempreature=1"], ["rollout.tempreature", "temperature"]),
    "unknown section": (["lerner.cpus=1"], ["lerner", "learner"]),
    "unknown key of a stage": (["stages.phase1.contxt=9"], ["stages.phase1.contxt", "context"]),
    "unknown key of a source": (["data.train.1.exmples=3"], ["data.train.1.exmples", "examples"]),
    "key of another kind of stage": (["stages.sft.group=4"], ["sft.group=4", "checkpoint_every"]),
    "a text for a number": (["rollout.actors=many"], ["rollout.actors", "many", "Integer"]),
    "a fraction for a count": (["stages.phase1.batch=8.5"], ["stages.phase1.batch", "8.5"]),
    "a text for a section": (["policy=tiny"], ["policy", "tiny"]),
    "a number for a list": (["evaluation.contexts=5"], ["evaluation.contexts", "5", "list"]),
    "null for a number": (["seed=null"], ["seed", "None", "int"]),
    "a list for the stages": (["stages=[]"], ["stages", "mapping"]),
    "no mapping for a stage": (["stages.phase1=3"], ["stages.phase1", "sft, rl"]),
    "mistyped stage": (["stages.phse1.steps=3"], ["stages.phse1.kind=None", "sft, phase1"]),
    "a mistyped stage left out": (["stages.fase1=null"], ["stages.fase1=null", "sft, phase1"]),
    "a tiny policy without its window": (["policy.window=null"], ["policy.window=null", "tokens"]),
    "a penalty longer than the response": (
        ["learner.overlong_buffer=999"],
        ["learner.overlong_buffer=999", "below stages.phase1.response"],
    ),
    "a word for a list": (
        ["stages.phase1.sampler.balance=kind"],
        ["stages.phase1.sampler.balance=kind", "such as [kind]"],
    ),
    "unknown source of SFT": (
        ["stages.sft.sources=[fcats]", "data.sft=[{source: facts}, {source: recital}]"],
        ["stages.sft.sources=fcats", "data.sft has facts, recital"],
    ),
    "unknown kind of stage": (["stages.phase1.kind=ppo"], ["stages.phase1.kind=ppo", "sft, rl"]),
    "an override without a value": (["seed"], ["'seed'", "key=value"]),
    "an override that is no YAML": (["seed=[1"], ["seed", "[1"]),
    "unknown source": (["data.train.1.source=fatcs"], ["data.train.1.source=fatcs", "facts"]),
    "unknown logger": (["loggers=[tensorbord]"], ["loggers.0=tensorbord", "tensorboard"]),
    "unknown dtype": (["policy.dtype=float16"], ["policy.dtype=float16", "float32"]),
    "unknown policy": (["policy.path=/no/such"], ["policy.path=/no/such", "no policy"]),
    "missing data": ([source("train", "none")], ["data.train.0", "none.jsonl", "no such file"]),
    "missing SFT data": ([source("sft", "none")], ["data.sft.0", "none.jsonl", "no such file"]),
    "empty data": ([source("train", "empty")], ["data.train.0", "empty.jsonl", "is empty"]),
    "malformed data": ([source("train", "malformed")], ["malformed.jsonl:3", "not JSON"]),
    "malformed held-out data": (
        [source("held_out", "malformed")],
        ["data.held_out.0", "malformed.jsonl:3", "not JSON"],
    ),
    "no data": (["data.held_out=[]"], ["data.held_out=[]", "at least one"]),
    "an answerless example": ([source("train", "answerless")], ["answerless.jsonl:2", "answers"]),
    "a blank answer": ([source("train", "blank_answer")], ["blank_answer.jsonl:2", "answers[0]"]),
    "an unknown kind of answer": (
        [source("train", "unknown_kind")],
        ["data.train", "kind='essay'", "extractive"],
    ),
    "SFT without an answer": (
        [source("sft", "no_answer")],
        ["data.sft", "no_answer:2", "no answer"],
    ),
    "a question beyond the context": (
        [source("train", "long_question"), "data.over_long=middle"],
        ["500", "long_question:1"],
    ),
    "a phase shorter than the one before": (
        ["stages.phase2.context=100"],
        ["stages.phase2.context=100", "shorter", "200"],
    ),
    "beyond RoPE without YaRN": (
        ["stages.phase2.yarn_factor=1"],
        ["stages.phase2.context=500", "516", "256", "yarn_factor >= 2.0"],
    ),
    "beyond YaRN": (["stages.phase2.yarn_factor=2"], ["stages.phase2.context=500", "512"]),
    "SFT beyond RoPE": (["stages.sft.context=257"], ["stages.sft.context=257", "256"]),
    "a batch that the group does not divide": (
        ["stages.phase1.batch=10"],
        ["stages.phase1.batch=10", "multiple of group (4)"],
    ),
    "a mini-batch that does not divide": (
        ["stages.phase1.mini_batch=6"],
        ["stages.phase1.mini_batch=6", "group (4)", "batch (8)"],
    ),
    "a batch of none": (["stages.sft.batch=0"], ["stages.sft.batch=0", "at least 1"]),
    "fewer rows than a batch": (["stages.sft.batch=99"], ["stages.sft", "99"]),
    "SFT on a source that is not there": (
        ["stages.sft.sources=[recital]"],
        ["stages.sft.sources", "recital"],
    ),
    "a context without examples": (
        ["evaluation.contexts=[30]"],
        ["data.held_out.0", "longer than 30 tokens", "over_long=drop"],
    ),
    "rollouts without temperature": (["rollout.temperature=0"], ["rollout.temperature=0"]),
    "a guard of many steps that skips one": (
        ["guards.reward=skip"], ["guards.reward=skip", "warn, stop"],
    ),
    "an action there is none of": (
        ["guards.non_finite=ignore"], ["guards.non_finite=ignore", "warn, skip, stop"],
    ),
    "a bound below nothing": (["guards.disk_gb=-1"], ["guards.disk_gb=-1"]),
    "batch invariance on the CPU": (
        ["rollout.batch_invariant=true"], ["rollout.batch_invariant=True", "GPUs"],
    ),
    "top-p beyond 1": (["rollout.top_p=3"], ["rollout.top_p=3"]),
    "unknown objective": (["learner.objective=grop"], ["learner.objective=grop", "grpo?"]),
    "unknown attention": (["learner.attention=fast"], ["learner.attention=fast", "flex"]),
    "attention of a GPU": (["learner.attention=flex"], ["learner.attention=flex", "learner.gpus"]),
    "a weight decay below 0": (["learner.weight_decay=-1"], ["learner.weight_decay=-1"]),
    "a clip range below 0": (["learner.clip_low=-1"], ["learner.clip_low=-1"]),
    "a clip range below every ratio": (["learner.clip_low=2"], ["learner.clip_low=2", "at most 1"]),
    "weights of nothing": (["learner.importance_cap=0"], ["learner.importance_cap=0", "above 0"]),
    "a mask of everything": (["learner.mask_ratio=1"], ["learner.mask_ratio=1", "above 1"]),
    "a micro-batch that holds no group's prompt and response": (
        ["learner.max_tokens=515"],
        ["learner.max_tokens=515", "stages.phase2", "516"],
    ),
    "more processes than heads to share": (
        ["learner.sequence_ranks=3", "stages.sft.batch=9"],
        ["learner.sequence_ranks=3", "4 query heads"],
    ),
    "an SFT batch that the processes do not divide": (
        ["learner.data_ranks=3"],
        ["stages.sft.micro_batch=8", "3 processes"],
    ),
    "an unknown policy for the unjudged": (
        ["rewards.unjudged=zero"],
        ["rewards.unjudged=zero", "stop, rule, drop"],
    ),
    "an unknown way to combine": (
        [by_source("{source: '*', combine: sum}")],
        ["rewards.by_source.0.combine=sum", "rule, judge, max, min, mean"],
    ),
    "a reward without its judge": (
        [by_source("{source: '*', combine: max}")],
        ["rewards.by_source.0.combine=max", "rewards.judge.model is not set"],
    ),
    "a judge that nobody asks": (
        ["rewards.judge.model=m", "rewards.judge.url=http://localhost:1"],
        ["rewards.judge.model=m", "rewards.by_source"],
    ),
    "a judge at no address": (
        [JUDGED, "rewards.judge={model: m, url: 'localhost:8000'}"],
        ["rewards.judge.url=localhost:8000", "http://localhost:8000/v1"],
    ),
    "a judge's policy that is not there": (
        [JUDGED, "rewards.judge.model=/no/such"],
        ["rewards.judge.model=/no/such", "no policy"],
    ),
    "a judge's key that is not there": (
        [JUDGED, "rewards.judge={model: m, url: 'http://localhost:1', key_env: NO_SUCH_KEY}"],
        ["rewards.judge.key_env=NO_SUCH_KEY", "environment"],
    ),
    "a judge at an address without a name": (
        ["rewards.judge.url=http://localhost:1/v1"],
        ["rewards.judge.model=None", "must be named"],
    ),
    "an engine of a judge at an address": (
        [JUDGED, "rewards.judge={model: m, url: 'http://localhost:1', engine: {gpus: 1}}"],
        ["rewards.judge.engine", "without rewards.judge.url"],
    ),
    "a judge's model named twice": (
        [JUDGED, "rewards.judge={model: m, url: 'http://localhost:1', extra: {model: n}}"],
        ["rewards.judge.extra", "must leave model alone"],
    ),
    "a key for an engine": (
        [JUDGED, "rewards.judge={model: m, key_env: A_KEY}"],
        ["rewards.judge.key_env=A_KEY", "needs rewards.judge.url"],
    ),
    "calls at once to an engine": (
        [JUDGED, "rewards.judge={model: m, concurrency: 4}"],
        ["rewards.judge.concurrency=4", "needs rewards.judge.url"],
    ),
    "keys of a body for an engine": (
        [JUDGED, "rewards.judge={model: m, extra: {seed: 1}}"],
        ["rewards.judge.extra", "chat_template_kwargs alone"],
    ),
    "a chat template's arguments that are none": (
        [JUDGED, "rewards.judge={model: m, extra: {chat_template_kwargs: 3}}"],
        ["rewards.judge.extra", "a mapping"],
    ),
    "a judge's store that is none": (
        [JUDGED, "rewards.judge={model: m, url: 'http://localhost:1', cache: empty.jsonl/x}"],
        ["rewards.judge.cache=", "empty.jsonl/x", "no store"],
    ),
    "a judge of lists": (
        [source("train", "a_list"), JUDGED, "rewards.judge={model: m, url: 'http://localhost:1'}"],
        ["data.train", "a_list:2", "kind=list", "source=a_list", "combine=judge"],
    ),
    "a source with two rewards": (
        [by_source("{source: facts}, {source: facts, rule: extractive}")],
        ["rewards.by_source.0.source=facts", "once"],
    ),
    "a reward of a source that is not there": (
        [by_source("{source: fatcs}")],
        ["rewards.by_source.0.source=fatcs", "facts, recital"],
    ),
    "a rule that is not there": (
        [by_source("{source: facts, rule: mine:score}")],
        ["rewards.by_source.0.rule=mine:score", "cannot be imported: ModuleNotFoundError"],
    ),
    "an unknown rule": (
        [by_source("{source: facts, rule: numerc}")],
        ["rewards.by_source.0.rule=numerc", "module:callable or one of", "numeric"],
    ),
    "a rule of other arguments": (
        [by_source("{source: facts, rule: 'statistics:fmean'}")],
        ["rewards.by_source.0.rule=statistics:fmean", "(example, response, thinking)"],
    ),
    "a reward of other arguments": (
        [by_source("{source: facts, combine: 'statistics:correlation'}")],
        ["rewards.by_source.0.combine=statistics:correlation", "(example, response, rule, judge)"],
    ),
    "an objective of other arguments": (
        ["learner.objective=statistics:fmean"],
        ["learner.objective=statistics:fmean", "(responses, totals, clip_low, clip_high)"],
    ),
    "an advantage of other arguments": (
        ["learner.advantage=statistics:correlation"],
        ["learner.advantage=statistics:correlation", "must take the arguments (rewards)"],
    ),
    "a source of other arguments": (
        ["data.train.1.source=statistics:fmean"],
        ["data.train.1.source=statistics:fmean", "(config, split, count_tokens, seed)"],
    ),
    "a sampler of other arguments": (
        ["stages.phase1.sampler.draw=statistics:fmean"],
        ["stages.phase1.sampler.draw=statistics:fmean", "(prompts, n, history, rng)"],
    ),
    "gold answers that a rule cannot read": (
        [by_source("{source: facts, rule: numeric}")],
        ["data.train", "facts", "must be a number"],
    ),
    "an unknown range of lengths": (
        ["stages.phase2.lengths=all"],
        ["stages.phase2.lengths=all", "band, up_to"],
    ),
    "a source with no share of a mix": (
        ["stages.phase1.mix={facts: 0}"],
        ["stages.phase1.mix.facts=0", "above 0"],
    ),
    "a mix of a source that is not there": (
        ["stages.phase2.mix={facts: 1, fatcs: 2}"],
        ["stages.phase2.mix=fatcs", "data.train has facts, recital"],
    ),
    "a mix that is no number": (["stages.phase1.mix={facts: much}"], ["stages.phase1.mix", "much"]),
    "an unknown part to balance": (
        ["stages.phase1.sampler.balance=[lenght]"],
        ["stages.phase1.sampler.balance.0=lenght", "source, kind, length, pass_rate", "length?"],
    ),
    "a part balanced twice": (
        ["stages.phase1.sampler.balance=[kind, kind]"],
        ["stages.phase1.sampler.balance", "each once"],
    ),
    "an unknown key of a sampler": (
        ["stages.phase1.sampler.replays=0.1"],
        ["stages.phase1.sampler.replays", "replay"],
    ),
    "a step of replay alone": (
        ["stages.phase2.sampler.replay=1"],
        ["stages.phase2.sampler.replay=1", "at least 0 and below 1"],
    ),
    "replay that is no number": (
        ["stages.phase2.sampler.replay=.nan"],
        ["replay=nan", "at least 0 and below 1"],
    ),
    "replay by what is not known": (
        ["stages.phase2.sampler.replay_by=age"],
        ["stages.phase2.sampler.replay_by=age", "difficulty, uniform"],
    ),
    "a rest of less than no steps": (
        ["stages.phase1.sampler.rest_solved=-1"],
        ["stages.phase1.sampler.rest_solved=-1", "at least 0"],
    ),
    "a rest of the hopeless of less than no steps": (
        ["stages.phase1.sampler.rest_hopeless=-2"],
        ["stages.phase1.sampler.rest_hopeless=-2", "at least 0"],
    ),
    "a target of nothing": (["stages.phase1.target=0"], ["stages.phase1.target=0", "above 0"]),
    "a target in percent": (["stages.phase1.target=80"], ["stages.phase1.target=80", "at most 1"]),
    "refilling less than never": (["stages.phase1.refill=-1"], ["stages.phase1.refill=-1"]),
    "half a refill": (["stages.phase1.refill=0.5"], ["stages.phase1.refill=0.5"]),
    "staleness below 0": (["stages.phase1.staleness=-1"], ["stages.phase1.staleness=-1"]),
    "groups that wait without weights": (
        ["stages.phase1.refill=2"],
        ["stages.phase1.staleness=1", "learner.importance_cap", "staleness=0"],
    ),
    "an unknown advantage": (
        ["learner.advantage=gae"],
        ["learner.advantage=gae", "group, task, leave_one_out"],
    ),
    "entropy bounded above alone": (
        ["learner.entropy_high=2"],
        ["learner.entropy_high=2", "learner.entropy_low", "together"],
    ),
    "entropy bounded below alone": (["learner.entropy_low=2"], ["entropy_high=None", "together"]),
    "entropy bounds the wrong way round": (
        ["learner.entropy_high=1", "learner.entropy_low=2"],
        ["learner.entropy_high=1", "the first above the second"],
    ),
    "a buffer below 0": (["learner.overlong_buffer=-1"], ["learner.overlong_buffer=-1"]),
    "a text for a switch": (["learner.drop_truncated=some"], ["learner.drop_truncated=some"]),
    "a reward without a source": ([by_source("{rule: numeric}")], ["rewards.by_source.0.source"]),
}  # fmt: skip


def one_line(err: str, fragments: list[str]) -> None:
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1 and err.endswith("\n"), err
    missing = [fragment for fragment in fragments if fragment not in err]
    assert not missing, f"{missing} not in {err}"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", BAD)
def test_is_refused(
    what: str, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides, fragments = BAD[what]
    before = sorted(here.rglob("*"))
    monkeypatch.setattr(
        sys, "argv", ["qwenlong", "train", f"{here}/mine.yaml", f"run_dir={here}/run", *overrides]
    )
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    one_line(capfd.readouterr().err, fragments)
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("command", [["train", "--dry-run"], ["plan"]], ids=" ".join)
@pytest.mark.parametrize("what", ["unknown source", "an unknown rule", "unknown objective"])
def test_a_dry_run_and_a_plan_refuse_unknown_names_too(
    command: list[str],
    what: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    overrides, fragments = BAD[what]
    monkeypatch.setattr(sys, "argv", ["qwenlong", *command, f"{here}/mine.yaml", *overrides])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    one_line(capfd.readouterr().err, fragments)


WRONG_FILES = {
    "absent.yaml": (None, "no such file"),
    "torn.yaml": ("policy: {path", "not YAML"),
    "list.yaml": ("- policy", "mapping"),
    "empty.yaml": ("", "the file is empty"),
    "binary.yaml": ("policy: \x00", "not YAML"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_an_experiment_file_that_is_none_is_refused(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    text, right = WRONG_FILES[name]
    if text is not None:
        (here / name).write_text(text)
    monkeypatch.setattr(sys, "argv", ["qwenlong", "train", f"{here}/{name}"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    one_line(capfd.readouterr().err, [right])


@pytest.mark.parametrize(
    ("overrides", "fragments", "unloaded"),
    [
        # What the configuration alone tells does not wait for torch.
        (BAD["unknown key"][0], BAD["unknown key"][1], ["torch", "transformers", "ray", "vllm"]),
        (BAD["malformed data"][0], BAD["malformed data"][1], ["ray", "vllm", "trl"]),
        pytest.param(
            [],
            ["run_dir=", "is not empty", "qwenlong resume"],
            ["ray", "vllm", "trl"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            BAD["SFT without an answer"][0],
            ["no answer"],
            ["ray", "vllm", "trl"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["unknown key", "malformed data", "taken run directory", "SFT without an answer"],
)
def test_a_process_of_its_own_ends_with_2_and_loads_no_ray(
    overrides: list[str], fragments: list[str], unloaded: list[str], here: Path
) -> None:
    run = here / "run"
    if not overrides:
        run.mkdir()
        (run / "config.yaml").write_text("seed: 1\n")
    before = sorted(here.rglob("*"))
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('loaded', [m for m in {unloaded} if m in sys.modules]))\n"
        "from qwenlong.cli import main\n"
        "main()"
    )
    arguments = ["train", str(here / "mine.yaml"), f"run_dir={run}", *overrides]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    one_line(done.stderr, fragments)
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert sorted(here.rglob("*")) == before
