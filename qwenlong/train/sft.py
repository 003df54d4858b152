"""Supervised fine-tuning: on worked answers, or on what the run itself has got right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from qwenlong.config import RlStage, SftStage
from qwenlong.disk.manifest import trainer_step
from qwenlong.learner.sft import SftJob, SftRow
from qwenlong.runs.checkpoints import RunState, trainer_checkpoint, trainer_folder
from qwenlong.runs.directory import RunDir
from qwenlong.train.guards import folder_bytes
from qwenlong.train.inputs import Inputs
from qwenlong.train.run import Run, enforce, log_step, save
from qwenlong.types import StoppedError, token_ids

STOPPED = "stop"
"""Finish reason of a response that the policy ended itself."""


def fine_tune(run: Run, name: str, stage: SftStage, state: RunState) -> RunState:
    """Trains on the stage's rows. The run's checkpoint is written when the stage has ended."""
    if state.stage == name:
        return state
    config, version, rope = run.config, state.version, run.inputs.rope_of(stage)
    folder = trainer_folder(run.directory.checkpoints, name, run.saver.last)
    job = SftJob(
        name,
        rows_of(run, name, stage),
        stage,
        rope,
        folder,
        resume_from=trainer_checkpoint(folder, config.learner.processes, run.progress.say),
        seed=config.seed,
        non_finite=config.guards.non_finite,
    )
    # After a resume the trainer's checkpoint may lie in the middle of the stage.
    step = max((x["step"] for x in run.directory.logged() if x["stage"] == name), default=0)
    for updates in run.workers.learner.sft(job, after=step):
        memory = {"peak_memory_gb": run.workers.peak_memory_gb()}
        for update in updates:
            step = int(update["step"])
            log_step(run, name, "sft", step, version, update | memory)
            enforce(run, f"step {step} of {name}", run.guards.of_update(update))
        # The next trainer's checkpoint will be as large as the last one.
        last = max(folder.glob("checkpoint-*"), key=trainer_step, default=None)
        disk = run.guards.of_disk(run.directory.root, folder_bytes(last))
        enforce(run, name, [*disk, *run.guards.of_memory()])
    # Engines are not needed while the stage trains, so they get its last weights alone.
    version += 1
    run.workers.engines.load(version)
    state = RunState(name, step, version, rope, state.curriculum)
    save(run, state)
    run.saver.confirm()
    return state


def rows_of(run: Run, name: str, stage: SftStage) -> list[SftRow]:
    rows = list(run.inputs.sft_rows[name])
    if stage.own_rollouts:
        own = right_rollouts(run.inputs, run.directory, name)
        more = f", and from {len(rows):,} rows of data.sft" if rows else ""
        run.progress.say(f"{name}: learns from {len(own):,} rollouts of its own{more}")
        rows += own
    return rows


def right_rollouts(inputs: Inputs, directory: RunDir, name: str) -> list[SftRow]:
    """Rejection sampling: right responses of the phases before stage ``name``, the latest first.

    A response is taken if its reward is 1 and it ended by itself, in the very tokens that were
    sampled, each once, at most ``own_rollouts`` a prompt, within the stage's context.

    Raises:
        StoppedError: they are fewer than a batch.
    """
    stage = inputs.config.stages[name]
    taken: Counter[str] = Counter()
    rows: list[SftRow] = []
    seen: set[tuple[str, tuple[int, ...]]] = set()
    for prompt_ids, example, response_ids in _right(inputs, directory, name):
        # A response that was sampled twice would count twice in the loss.
        if taken[example] == stage.own_rollouts or (example, response_ids) in seen:
            continue
        seen.add((example, response_ids))
        if len(prompt_ids) + len(response_ids) <= stage.context:
            taken[example] += 1
            rows.append((token_ids(prompt_ids), token_ids(response_ids)))
    have = len(rows) + len(inputs.sft_rows[name])
    if have < stage.batch:
        raise StoppedError(
            f"stages.{name}.own_rollouts={stage.own_rollouts}: {len(rows)} right rollouts of the"
            f" phases before fit its context, and {have} rows in all are fewer than batch"
            f" ({stage.batch})"
        )
    return rows


def _right(
    inputs: Inputs, directory: RunDir, name: str
) -> Iterator[tuple[tuple[int, ...], str, tuple[int, ...]]]:
    """Prompt, example and response of every right rollout, the latest step first."""
    stages = inputs.config.stages
    before = list(stages)[: list(stages).index(name)]
    prompts = {
        prompt.example.id: prompt.ids
        for phase in before
        for prompt in inputs.phase_prompts.get(phase, ())
    }
    for phase in reversed([each for each in before if isinstance(stages[each], RlStage)]):
        for step in reversed(directory.rollout_files(phase)):
            # splitlines would also split at Unicode's line ends, which a response may hold.
            for line in step.read_text().rstrip("\n").split("\n"):
                record = json.loads(line)
                right = record["score"]["value"] == 1.0
                if right and record["finish_reason"] == STOPPED:
                    yield prompts[record["id"]], record["id"], tuple(record["response_ids"])
