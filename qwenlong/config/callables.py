"""A user's functions, named in the experiment as ``module:callable`` or ``file.py:callable``.

Each constant below says which arguments such a function gets, by position. ``qwenlong.config``
checks the signature when it reads an experiment; the room that uses the function calls it, on a
cluster also in actors on other nodes, where the module must be found, too.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from qwenlong.types import InputError

OBJECTIVE = ("responses", "totals", "clip_low", "clip_high")
"""``learner.objective``: the values of a micro-batch's response tokens, and their weights.

Called with ``qwenlong.learner.objectives.Responses`` (R tokens), ``Totals`` and the two clip
ranges as floats (0.2 where the experiment sets none); returns two tensors [R], the value of each
token, which carries the gradient, and its weight in the objective. The loss is the negative sum of
their products. KL term, importance weights and masks are applied to the values afterwards.
"""

ADVANTAGE = ("rewards",)
"""``learner.advantage``: the advantages of one group.

Called with a tuple of G floats, the rewards of one prompt's rollouts; returns G floats.
"""

SAMPLER = ("prompts", "n", "history", "rng")
"""``stages.NAME.sampler.draw``: the prompts of one step.

Called with the prompts that may be drawn (a list of ``qwenlong.types.Prompt``), how many are
wanted, ``qwenlong.curricula.history.History`` (pass rate and last step of every example that was
sampled) and a ``random.Random`` that is seeded for this draw; returns ``n`` different ones of
them. It must keep no state: what it returns follows from its arguments, so that a resumed run
draws the same.
"""

SOURCE = ("config", "split", "count_tokens", "seed")
"""``source`` of data.sft, data.train and data.held_out: the examples, in their order.

Called with this ``SourceConfig``, "train" or "held_out", a function from a text to its length in
tokens, and an int; returns an iterable of ``qwenlong.types.Example``.
"""

VERIFIER = ("example", "response", "thinking")
"""``rewards.by_source.N.rule``: how right a response is.

Called with an ``Example``, the response's text, and whether only a response that closes its
thinking counts; returns a ``qwenlong.types.Score`` or a number from 0 to 1.
"""

REWARD = ("example", "response", "rule", "judge")
"""``rewards.by_source.N.combine``: the reward of a response, from what the rule and the judge say.

Called with an ``Example``, the response's text, the rule's ``Score``, and the judge's value, a
float from 0 to 1, or None where there is no verdict; returns a number from 0 to 1.
"""


def resolve(reference: str, key: str, parameters: Sequence[str]) -> Callable[..., Any]:
    """The function that ``reference`` names.

    A module is looked for among what is installed, then in the working directory; a file is a path.
    A file can import modules from its own folder.

    Args:
        key: the key of the experiment that names the function, for messages.
        parameters: names of the arguments that it will be called with, by position.

    Raises:
        InputError: it cannot be imported or called, or does not take these arguments.
    """
    module, _, attributes = reference.rpartition(":")
    try:
        found: Any = reduce(getattr, attributes.split("."), _imported(module))
    except InputError as error:
        raise InputError(f"{key}={reference}: {error}") from None
    except (Exception, SystemExit) as error:
        # A user's module may raise anything when it is imported, and it is the user's to fix.
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{key}={reference}: cannot be imported: {why}") from None
    if not callable(found):
        raise InputError(f"{key}={reference}: cannot be called; it is {type(found).__name__}")
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # some built-in functions have none
        return found
    try:
        # Arguments are passed by position, so that a user may name parameters as they like.
        signature.bind(*parameters)
    except TypeError:
        raise InputError(
            f"{key}={reference}: must take the arguments ({', '.join(parameters)}); its signature"
            f" is {signature}"
        ) from None
    return found


def is_reference(value: str) -> bool:
    """Whether a value names a user's function, and nothing built in."""
    return ":" in value


def anchored(reference: str, folder: Path) -> str:
    """The reference with its file's path made absolute, so that a saved configuration stands alone.

    Args:
        folder: the experiment's, to which a file is relative. A module without dots that is not
            installed may be a file of the working directory, or of this folder.
    """
    module, _, attributes = reference.rpartition(":")
    if module.endswith(".py"):
        return f"{(folder / module).resolve()}:{attributes}"
    # A module with dots is part of a package, and could not be imported as a file alone.
    for place in (Path.cwd(), folder):
        file = (place / f"{module}.py").resolve()
        if file.is_file() and _origin(module) in (None, file):
            return f"{file}:{attributes}"
    return reference


def _imported(module: str) -> ModuleType:
    if not module.endswith(".py"):
        _search(os.getcwd())
        return importlib.import_module(module)
    file = Path(module).resolve()
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    _search(str(file.parent))
    found = importlib.import_module(file.stem)
    # An installed module, or one that was imported before, hides a file of the same name.
    if Path(getattr(found, "__file__", None) or "").resolve() != file:
        raise InputError(f"another module is called {file.stem}, too; rename the file")
    return found


def _origin(module: str) -> Path | None:
    """The file that an import would take, if any."""
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # a module that was made, not imported
        return Path()
    return Path(spec.origin or "") if spec else None


def _search(folder: str) -> None:
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that its files hide no installed module
