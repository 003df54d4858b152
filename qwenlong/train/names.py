"""Names in an experiment that only the rooms of data and rewards can check."""

from __future__ import annotations

from qwenlong.config import Config
from qwenlong.data import registry
from qwenlong.rewards.hybrid import load_rule


def check_names(config: Config) -> None:
    """Looks up every source and every rule by its name; reads no data.

    Raises:
        InputError: there is none of that name.
    """
    for part in ("sft", "train", "held_out"):
        for i, source in enumerate(getattr(config.data, part)):
            with registry.under(f"data.{part}.{i}"):
                registry.known(source)
    for i, reward in enumerate(config.rewards.by_source):
        if reward.rule is not None:
            load_rule(reward.rule, f"rewards.by_source.{i}.rule")
