"""Rollouts and rows from plain numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qwenlong.types import Rollout, Row, token_ids


def rollout(
    ids: Sequence[int],
    logprobs: Sequence[float],
    finish: str = "stop",
    version: int = 0,
    text: str = "",
) -> Rollout:
    return Rollout(token_ids(ids), np.array(logprobs, np.float32), finish, version, text)


def row(
    prompt: Sequence[int],
    responses: Sequence[Sequence[int]],
    logprobs: Sequence[Sequence[float]],
    advantages: Sequence[float],
    stale: bool = False,
) -> Row:
    engine = tuple(np.array(each, np.float32) for each in logprobs)
    ids = tuple(map(token_ids, responses))
    return Row(token_ids(prompt), ids, engine, tuple(advantages), stale)
