"""Where metrics go: always to metrics.jsonl, and to the loggers that the experiment names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from qwenlong.config import Config
from qwenlong.runs.directory import RunDir
from qwenlong.types import InputError

Log = Callable[[Mapping[str, Any]], None]


def check_loggers(names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if find_spec(name) is None:
            raise InputError(f"loggers.{i}={name}: is not installed; pip install {name}")


def open_loggers(config: Config, run: RunDir, stack: ExitStack) -> Log:
    """One function that logs a line of metrics everywhere; ``stack`` closes what it opened."""
    logs = [run.log, *(LOGGERS[name](config, run, stack) for name in config.loggers)]

    def log(metrics: Mapping[str, Any]) -> None:
        for each in logs:
            each(metrics)

    return log


def _tensorboard(config: Config, run: RunDir, stack: ExitStack) -> Log:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run.root / "tensorboard"))
    stack.callback(writer.close)

    def log(metrics: Mapping[str, Any]) -> None:
        for name, value in _named(metrics).items():
            writer.add_scalar(name, value, metrics["step"])

    return log


def _trackio(config: Config, run: RunDir, stack: ExitStack) -> Log:
    import trackio

    trackio.init(project="qwenlong", name=run.root.name, config=asdict(config), embed=False)
    stack.callback(trackio.finish)
    return lambda metrics: trackio.log(_named(metrics))


def _wandb(config: Config, run: RunDir, stack: ExitStack) -> Log:
    import wandb

    wandb.init(project="qwenlong", name=run.root.name, config=asdict(config), dir=str(run.root))
    stack.callback(wandb.finish)
    return lambda metrics: wandb.log(_named(metrics))


def _named(metrics: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    return {f"{metrics['stage']}/{name}": value for name, value in numbers.items()}


LOGGERS: dict[str, Callable[[Config, RunDir, ExitStack], Log]] = {
    "tensorboard": _tensorboard,
    "trackio": _trackio,
    "wandb": _wandb,
}
