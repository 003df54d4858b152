"""Rejection-sampled fine-tuning: what a run's own phases got right, as rows to imitate."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from qwenlong.config import RlStage
from qwenlong.learner.sft import SftRow
from qwenlong.runs.directory import RunDir
from qwenlong.train.inputs import Prepared
from qwenlong.types import StoppedError

STOPPED = "stop"
"""Finish reason of a response that the policy ended itself."""


def right_rollouts(prepared: Prepared, directory: RunDir, name: str) -> list[SftRow]:
    """Rows of the phases before stage ``name``, the latest responses first.

    Only responses with a reward of 1 that ended by themselves, in the very tokens that were
    sampled, each once, at most ``own_rollouts`` a prompt, within the stage's context.

    Raises:
        StoppedError: fewer than a batch of them.
    """
    stage = prepared.config.stages[name]
    kept: Counter[str] = Counter()
    rows: list[SftRow] = []
    seen: set[tuple[str, tuple[int, ...]]] = set()
    for prompt_ids, example, response_ids in _right(prepared, directory, name):
        if kept[example] == stage.own_rollouts or (example, response_ids) in seen:
            continue
        seen.add((example, response_ids))
        if len(prompt_ids) + len(response_ids) <= stage.context:
            kept[example] += 1
            rows.append((prompt_ids, response_ids))
    have = len(rows) + len(prepared.sft_rows[name])
    if have < stage.batch:
        raise StoppedError(
            f"stages.{name}.own_rollouts={stage.own_rollouts}: {len(rows)} right rollouts of the"
            f" phases before fit its context, and {have} rows in all are fewer than batch"
            f" ({stage.batch})"
        )
    return rows


def _right(
    prepared: Prepared, directory: RunDir, name: str
) -> Iterator[tuple[tuple[int, ...], str, tuple[int, ...]]]:
    """Prompt, example and response of every right rollout, the latest step first."""
    stages = prepared.config.stages
    before = list(stages)[: list(stages).index(name)]
    prompts = {
        prompt.example.id: prompt.ids
        for phase in before
        for prompt in prepared.phase_prompts.get(phase, ())
    }
    for phase in reversed([each for each in before if isinstance(stages[each], RlStage)]):
        for step in reversed(directory.rollout_files(phase)):
            for line in step.read_text().rstrip("\n").split("\n"):  # texts may hold other breaks
                record = json.loads(line)
                right = record["score"]["value"] == 1.0
                if right and record["finish_reason"] == STOPPED:
                    yield prompts[record["id"]], record["id"], tuple(record["response_ids"])
