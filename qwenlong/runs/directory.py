"""The run directory: all files of a run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from qwenlong.config import Config
from qwenlong.config.reading import as_yaml
from qwenlong.disk import lock
from qwenlong.disk.files import PARTIAL, write_whole
from qwenlong.types import Group, InputError, Prompt, Request, Rollout, Score

BEFORE_CONFIG = (
    lock.NAME, "initial_policy", "summary.json", f"summary.json{PARTIAL}", f"config.yaml{PARTIAL}",
)  # fmt: skip
"""Everything that a run writes before it can be resumed."""


class RunDir:
    """A run's files. ``root`` is ``run_dir`` of the configuration."""

    def __init__(self, root: Path) -> None:
        # Actors have another working directory.
        self.root = root = root.resolve()
        self.metrics = root / "metrics.jsonl"
        self.rollouts = root / "rollouts"
        self.draws = root / "draws"
        self.checkpoints = root / "checkpoints"
        self.policy = root / "policy"
        self.initial_policy = root / "initial_policy"
        self.logs = root / "logs"
        self.report = root / "report.html"
        self.config = root / "config.yaml"

    @classmethod
    def create(cls, config: Config, built_policy: Path | None) -> RunDir:
        """Makes the directory, and moves a policy that was built for the run into it.

        The configuration is written last: a directory that has one can be resumed.
        """
        refuse_taken(Path(config.run_dir))
        run = cls(Path(config.run_dir))
        if run.initial_policy.exists():  # an earlier run was killed right here
            shutil.rmtree(run.initial_policy)
        for folder in (run.rollouts, run.draws, run.checkpoints, run.logs):
            folder.mkdir(parents=True, exist_ok=True)
        if built_policy:
            shutil.move(built_policy, run.initial_policy)
        run.write_summary({"stages": [], "engine_learner_kl_max": 0.0})
        write_whole(run.config, as_yaml(config))
        return run

    @classmethod
    def open(cls, root: Path) -> RunDir:
        run = cls(root)
        if not run.config.is_file():
            raise InputError(f"{root}: holds no run (there is no config.yaml)")
        return run

    def summary(self) -> dict[str, Any]:
        return json.loads((self.root / "summary.json").read_text())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_whole(self.root / "summary.json", json.dumps(summary, indent=2) + "\n")

    def log(self, metrics: Mapping[str, Any]) -> None:
        with self.metrics.open("a") as file:
            file.write(json.dumps(metrics) + "\n")
            _on_disk(file)

    def logged(self) -> list[dict[str, Any]]:
        if not self.metrics.is_file():
            return []
        lines = self.metrics.read_text().splitlines(keepends=True)
        # A line without its end was cut off when the run was stopped.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def rewind(self, keep: Callable[[Mapping[str, Any]], bool]) -> None:
        """Removes what was logged after the checkpoint that the run resumes from.

        Evaluations of stages that lose a line are removed, too: they were made with later weights.

        Args:
            keep: called with mappings that hold at least stage, kind and step.
        """
        logged = self.logged()
        kept = [json.dumps(line) + "\n" for line in logged if keep(line)]
        undone = {line["stage"] for line in logged if not keep(line)}
        summary = self.summary()
        stages = [stage for stage in summary["stages"] if stage["name"] not in undone]
        if stages != summary["stages"]:
            self.write_summary({**summary, "stages": stages})
        write_whole(self.metrics, "".join(kept))
        for file in (*self.rollouts.iterdir(), *self.draws.glob("*")):
            stage, _, step = file.stem.rpartition("-")
            if step.isdigit() and not keep({"stage": stage, "kind": "rl", "step": int(step)}):
                file.unlink()  # the step will be made again, with other weights

    def log_rollouts(self, name: str, records: Iterable[Mapping[str, Any]]) -> None:
        with (self.rollouts / f"{name}.jsonl").open("w") as file:
            for record in records:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
            _on_disk(file)

    def log_draws(
        self,
        stage: str,
        step: int,
        version: int,
        draws: Iterable[tuple[Sequence[Prompt], Sequence[Request]]],
    ) -> None:
        """Where a step's rollouts came from: the draws' prompts and seeds, and the version of the
        weights."""
        records = [
            {
                "ids": [prompt.example.id for prompt in prompts],
                "seeds": [request.seed for request in requests],
            }
            for prompts, requests in draws
        ]
        self.draws.mkdir(exist_ok=True)  # runs of earlier versions have none
        line = json.dumps({"stage": stage, "step": step, "version": version, "draws": records})
        write_whole(self.draws / f"{stage}-{step:05d}.json", f"{line}\n")

    def rollout_files(self, phase: str) -> list[Path]:
        """A phase's files, in the order of its steps."""
        files = self.rollouts.glob(f"{phase}-*.jsonl")
        return sorted(file for file in files if file.stem.removeprefix(f"{phase}-").isdigit())


def _on_disk(file: IO[str]) -> None:
    """Waits until the disk has it: a checkpoint must not outlast what was logged before it."""
    file.flush()
    os.fsync(file.fileno())


def refuse_taken(root: Path) -> None:
    """Refuses a folder that is not empty, unless its run was killed before it could be resumed."""
    file = next((path for path in (root, *root.parents) if path.is_file()), None)
    if file:
        raise InputError(f"run_dir={root}: {file} is a file; name a new folder")
    files = (path.relative_to(root) for path in root.rglob("*") if not path.is_dir())
    if any(path.parts[0] not in BEFORE_CONFIG for path in files):
        raise InputError(
            f"run_dir={root}: is not empty; continue its run with `qwenlong resume {root}`, or name"
            " another folder with run_dir=…"
        )


def group_records(
    stage: str,
    step: int,
    groups: Iterable[Group],
    advantages: Iterable[Iterable[float]],
    set_aside: Iterable[Group] = (),
) -> Iterator[dict[str, Any]]:
    """A step's lines in ``rollouts/``. Groups that were set aside have no advantage."""
    for group, of_group in zip(groups, advantages, strict=True):
        of_judged = iter(of_group)
        for rollout, score in zip(group.rollouts, group.scores, strict=True):
            record = _trained(stage, group.prompt, rollout, score)
            advantage = next(of_judged) if score.judged else None
            yield {**record, "step": step, "advantage": advantage}
    for group in set_aside:
        for rollout, score in zip(group.rollouts, group.scores, strict=True):
            record = _trained(stage, group.prompt, rollout, score)
            yield {**record, "step": step, "advantage": None}


def evaluation_records(
    stage: str, evaluated: Mapping[int, Iterable[Group]]
) -> Iterator[dict[str, Any]]:
    for context, groups in evaluated.items():
        for group in groups:
            for rollout, score in zip(group.rollouts, group.scores, strict=True):
                record = _record(stage, group.prompt, rollout, score)
                yield {**record, "step": None, "advantage": None, "context": context}


def _trained(stage: str, prompt: Prompt, rollout: Rollout, score: Score) -> dict[str, Any]:
    """Adds the tokens to the record: a text does not say how it was cut into tokens."""
    return {
        **_record(stage, prompt, rollout, score),
        "response_ids": rollout.response_ids.tolist(),
    }


def _record(stage: str, prompt: Prompt, rollout: Rollout, score: Score) -> dict[str, Any]:
    """Without the documents, which the data has."""
    example = prompt.example
    return {
        "stage": stage,
        "id": example.id,
        "source": example.source,
        "question": example.question,
        "answers": list(example.answers),
        "prompt_tokens": len(prompt.ids),
        "prompt_tokens_cut": prompt.cut,
        "response": rollout.text,
        "response_tokens": len(rollout.response_ids),
        "finish_reason": rollout.finish_reason,
        "version": rollout.version,
        "score": {**asdict(score), "value": score.value if score.judged else None},
    }
