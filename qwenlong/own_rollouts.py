"""Rejection-sampled fine-tuning: what a run's own phases got right, as rows to imitate."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from transformers import PreTrainedTokenizerBase

from qwenlong.config import RlStage
from qwenlong.learner.sft import SftRow
from qwenlong.prepare import Prepared
from qwenlong.run import RunDir
from qwenlong.types import StoppedError

STOPPED = "stop"
"""Finish reason of a response that the policy ended itself."""


def right_rollouts(
    prepared: Prepared, directory: RunDir, name: str, tokenizer: PreTrainedTokenizerBase
) -> list[SftRow]:
    """Rows of the phases before stage ``name``, the latest responses first.

    Only responses with a reward of 1 that ended by themselves, each text once, at most
    ``own_rollouts`` a prompt, within the stage's context.

    Raises:
        StoppedError: fewer than a batch of them.
    """
    stage = prepared.config.stages[name]
    end = (tokenizer.eos_token_id,)
    kept: Counter[str] = Counter()
    rows: list[SftRow] = []
    seen: set[tuple[str, str]] = set()
    for prompt_ids, example, text in _right(prepared, directory, name):
        if kept[example] == stage.own_rollouts or (example, text) in seen:
            continue
        seen.add((example, text))
        ids = tokenizer.encode(text.removesuffix(str(tokenizer.eos_token)))
        row = (prompt_ids, (*ids, *end))
        if len(row[0]) + len(row[1]) <= stage.context:
            kept[example] += 1
            rows.append(row)
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
) -> Iterator[tuple[tuple[int, ...], str, str]]:
    """Prompt, example and text of every right rollout, the latest step first."""
    stages = prepared.config.stages
    before = list(stages)[: list(stages).index(name)]
    prompts = {
        prompt.example.id: prompt.ids
        for phase in before
        for prompt in prepared.phase_prompts.get(phase, ())
    }
    for phase in reversed([each for each in before if isinstance(stages[each], RlStage)]):
        for step in reversed(directory.rollout_files(phase)):
            for line in step.read_text().splitlines():
                record = json.loads(line)
                right = record["score"]["value"] == 1.0
                if right and record["finish_reason"] == STOPPED:
                    yield prompts[record["id"]], record["id"], record["response"]
