"""Which prompts a step draws: in equal parts where asked, once an epoch within a part, rested
where solved or hopeless, and some of earlier phases.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from heapq import nsmallest
from random import Random
from typing import Any

from qwenlong.config import SamplerConfig
from qwenlong.curricula.draws import chosen, shares
from qwenlong.curricula.history import History
from qwenlong.types import Prompt

QUARTERS = 4
"""Parts of a phase's lengths, of equal width."""
FIFTHS = 5
"""Parts of the pass rates, of equal width; what was never seen is a part of its own."""
ORDERS = 64
"""Epochs' orders that are kept; any other is made again."""
Cell = tuple[str, ...]


class Sampler:
    """Draws the prompts of one phase.

    Args:
        prompts: the phase's own. Their examples have different ids, as those of ``earlier``.
        earlier: prompts of the phases before, from which ``settings.replay`` draws those that were
            seen; some may be the phase's own, too.
        mix: the prompts' sources by their share of the draws; all prompts alike if empty.
        history: of the run; the sampler reads it, and lets it observe.
        seed: of everything that is drawn here.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        history: History,
        seed: int | str,
        settings: SamplerConfig | None = None,
        mix: Mapping[str, float] | None = None,
        earlier: Sequence[Prompt] = (),
    ) -> None:
        self.settings, self.mix = settings or SamplerConfig(), mix or {}
        self.prompts = list(prompts)
        self.earlier = earlier
        self.history, self.seed = history, seed
        lengths = [len(prompt.ids) for prompt in self.prompts]
        self.shortest, self.longest = min(lengths), max(lengths)
        self.calls = 0
        self.drawn: Counter[str] = Counter()
        """Draws in this phase by example."""
        self.epochs = [0] * len(self.prompts)
        """Those that each prompt is through with, drawn or rested."""
        self._ids = [prompt.example.id for prompt in self.prompts]
        self._fixed = {
            by: [self.part(prompt, by) for prompt in self.prompts]
            for by in {"source", *self.settings.balance} - {"pass_rate"}
        }
        self._ranks: dict[int, array[int]] = {}

    def draw(self, n: int, leave_out: Collection[str] = ()) -> list[Prompt]:
        """``n`` prompts, different ones while there are enough.

        Args:
            leave_out: ids of examples that the step has already.
        """
        self.calls += 1
        rng = Random(f"{self.seed} draw {self.calls}")
        replayed = self._replayed(n, leave_out, rng)
        leave_out = {*leave_out, *(prompt.example.id for prompt in replayed)}
        cells = self._cells(self._awake(n - len(replayed), leave_out, rng))
        own = self._own(cells, n - len(replayed), leave_out, rng)
        drawn = [self.prompts[place] for place in own] + replayed
        self.drawn.update(prompt.example.id for prompt in drawn)
        if replayed or len(cells) > 1:  # no mini-batch is to be of one cell
            rng.shuffle(drawn)
        return drawn

    def _replayed(self, n: int, leave_out: Collection[str], rng: Random) -> list[Prompt]:
        """Retrospective sampling: what earlier phases have seen, by its difficulty."""
        seen = self.history.seen
        known = [prompt for prompt in self.earlier if prompt.example.id in seen]
        known = [prompt for prompt in known if prompt.example.id not in leave_out]
        share = n * self.settings.replay
        count = min(int(share) + (rng.random() < share % 1), len(known))
        weights = [
            seen[prompt.example.id].difficulty if self.settings.replay_by == "difficulty" else 1.0
            for prompt in known
        ]
        return [known[place] for place in chosen(weights, count, rng)]

    def _own(
        self, cells: Mapping[Cell, list[int]], n: int, leave_out: Collection[str], rng: Random
    ) -> list[int]:
        """Places of the phase's own prompts: each cell's share, the least drawn first."""
        picked: list[int] = []
        taken = set(leave_out)
        while len(picked) < n:
            rooms = {
                cell: [place for place in places if self._ids[place] not in taken]
                for cell, places in cells.items()
            }
            rooms = {cell: places for cell, places in rooms.items() if places}
            if not rooms:  # fewer prompts than are asked for: they come again
                taken = set()
                continue
            counts = shares(self._weights(list(rooms)), n - len(picked), rng)
            for (cell, places), count in zip(rooms.items(), counts, strict=True):
                # What comes back into a cell after a rest is an epoch behind at most.
                floor = max(self.epochs[place] for place in cells[cell]) - 1
                some = self._least_drawn(places, count, floor)
                picked += some
                for place in some:
                    taken.add(self._ids[place])
                    self.epochs[place] = max(self.epochs[place], floor) + 1
        return picked

    def _awake(self, n: int, leave_out: Collection[str], rng: Random) -> list[int]:
        """Places of prompts that do not rest; if these are too few, the longest rested, too."""
        if not self.settings.rest_solved and not self.settings.rest_hopeless:
            return list(range(len(self.prompts)))
        awake: list[int] = []
        resting: list[tuple[bool, int, float, int]] = []
        for place, key in enumerate(self._ids):
            seen = self.history.seen.get(key)
            rest = self._rest(seen.pass_rate) if seen else 0
            if seen and rest and self.history.step - seen.step <= rest:
                resting.append((key in leave_out, seen.step, rng.random(), place))
            else:
                awake.append(place)
        missing = n - sum(self._ids[place] not in leave_out for place in awake)
        woken = sorted(resting)[:missing] if missing > 0 else []
        return awake + [place for *_, place in woken]

    def _rest(self, pass_rate: float) -> int:
        if pass_rate == 1.0:
            return self.settings.rest_solved
        return self.settings.rest_hopeless if pass_rate == 0.0 else 0

    def _least_drawn(self, places: Sequence[int], count: int, floor: int) -> list[int]:
        """``count`` at most, once an epoch, in an order of its own; ``floor`` is the one begun."""
        behind = [place for place in places if self.epochs[place] <= floor]
        level = [place for place in places if self.epochs[place] > floor]
        some: list[int] = []
        for epoch, those in ((floor, behind), (floor + 1, level)):
            if those and len(some) < count:
                some += nsmallest(count - len(some), those, self._rank(epoch).__getitem__)
        return some

    def _rank(self, epoch: int) -> array[int]:
        """Where each place stands in the order of an epoch."""
        if epoch not in self._ranks:
            order = list(range(len(self.prompts)))
            Random(f"{self.seed} epoch {epoch}").shuffle(order)
            ranks = array("l", order)
            for rank, place in enumerate(order):
                ranks[place] = rank
            if len(self._ranks) == ORDERS:
                del self._ranks[next(iter(self._ranks))]
            self._ranks[epoch] = ranks
        return self._ranks[epoch]

    def _cells(self, places: Sequence[int]) -> dict[Cell, list[int]]:
        """By source where there is a mix, and by the parts that are balanced; in their order."""
        by_source = [self._fixed["source"]] if self.mix else []
        columns = [*by_source, *map(self._column, self.settings.balance)]
        cells: dict[Cell, list[int]] = {}
        for place in places:
            cells.setdefault(tuple([column[place] for column in columns]), []).append(place)
        return dict(sorted(cells.items()))

    def _column(self, by: str) -> list[str]:
        if by == "pass_rate":
            return [self.part(prompt, by) for prompt in self.prompts]
        return self._fixed[by]

    def _weights(self, cells: Sequence[Cell]) -> list[float]:
        """A source's share, in equal parts for its cells."""
        if not self.mix:
            return [1.0] * len(cells)
        of_source = Counter(cell[0] for cell in cells)
        return [self.mix[cell[0]] / of_source[cell[0]] for cell in cells]

    def part(self, prompt: Prompt, by: str) -> str:
        """The part that a prompt falls into, by one of ``balance``'s names."""
        example = prompt.example
        if by == "source":
            return example.source
        if by == "kind":
            return example.kind
        if by == "length":
            width = (self.longest - self.shortest + 1) / QUARTERS
            at = min(int(max(0, len(prompt.ids) - self.shortest) / width), QUARTERS - 1)
            return f"{self.shortest + math.ceil((at + 1) * width) - 1}"
        rate = self.history.pass_rate(example)
        if rate is None:
            return "unseen"
        at = min(int(rate * FIFTHS), FIFTHS - 1)
        return f"{at / FIFTHS:.1f}-{(at + 1) / FIFTHS:.1f}"

    def metrics(self) -> dict[str, float]:
        """Counts of this phase: draws by source and length, and the pool by pass rate.

        Replayed prompts are of other lengths, and have no part in those.
        """
        sources: Counter[str] = Counter()
        lengths: Counter[str] = Counter()
        for prompt in self.prompts:
            count = self.drawn[prompt.example.id]
            sources[prompt.example.source] += count
            lengths[self.part(prompt, "length")] += count
        replayed = {prompt.example.id: prompt.example.source for prompt in self.earlier}
        for key, source in replayed.items():
            sources[source] += self.drawn[key]
        rates = Counter(self.part(prompt, "pass_rate") for prompt in self.prompts)
        seen = [self.history.seen.get(prompt.example.id) for prompt in self.prompts]
        known = [each for each in seen if each]
        step = self.history.step
        return {
            "pool": len(self.prompts),
            "pool_solved": sum(each.pass_rate == 1.0 for each in known),
            "pool_hopeless": sum(each.pass_rate == 0.0 for each in known),
            "pool_resting": sum(step - e.step < self._rest(e.pass_rate) for e in known),
            **{f"pool_pass_rate/{name}": count for name, count in sorted(rates.items())},
            "draws_replayed": sum(self.drawn[key] for key in replayed),
            **{f"draws_source/{name}": count for name, count in sorted(sources.items()) if count},
            **{
                f"draws_length/{name}": count
                for name, count in sorted(lengths.items(), key=lambda item: int(item[0]))
                if count
            },
        }

    def state(self) -> dict[str, Any]:
        epochs = {key: epoch for key, epoch in zip(self._ids, self.epochs, strict=True) if epoch}
        return {"calls": self.calls, "drawn": dict(self.drawn), "epochs": epochs}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.calls = state["calls"]
        self.drawn = Counter(state["drawn"])
        self.epochs = [state["epochs"].get(key, 0) for key in self._ids]
