"""Which prompts a step draws: balanced over parts, each once an epoch, some from earlier phases."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from heapq import nsmallest
from random import Random
from typing import Any

from qwenlong.config import SamplerConfig
from qwenlong.config.callables import SAMPLER, resolve
from qwenlong.curricula.draws import draw_distinct, shares
from qwenlong.curricula.history import History
from qwenlong.types import InputError, Prompt

LENGTH_PARTS = 4
"""Parts of a phase's lengths, of equal width."""
PASS_RATE_PARTS = 5
"""Parts of the pass rates, of equal width; prompts that were never sampled are a further part."""
KEPT_ORDERS = 64
"""Epochs whose order is kept in memory; any other is computed again."""
Cell = tuple[str, ...]
"""The parts that a prompt falls into, one for each name in ``mix`` and ``balance``."""


class Sampler:
    """Draws the prompts of one phase.

    Its own prompts are divided into cells. Every cell gets its share of the draws; within a cell
    each prompt comes once an epoch, in a random order. Inside, prompts are named by their index.

    Args:
        prompts: the phase's own prompts. Their examples' ids differ, as do those of ``earlier``.
        history: what the run has sampled; the sampler only reads it.
        seed: seeds everything that is drawn here.
        mix: sources by their share of the draws; all prompts alike if empty.
        earlier: prompts of the phases before, from which ``settings.replay`` draws those that were
            sampled; some may be the phase's own, too.
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
        """Draws of each example in this phase."""
        self.epochs = [0] * len(self.prompts)
        """Epochs that each prompt has finished."""
        self._ids = [prompt.example.id for prompt in self.prompts]
        # Only the pass rate changes during a phase.
        self._fixed_parts = {
            by: [self.part(prompt, by) for prompt in self.prompts]
            for by in {"source", *self.settings.balance} - {"pass_rate"}
        }
        self._ranks: dict[int, array[int]] = {}

    def draw(self, n: int, leave_out: Collection[str] = ()) -> list[Prompt]:
        """``n`` prompts, all different as long as there are enough.

        Args:
            leave_out: ids of examples that the step already has.
        """
        self.calls += 1
        # The generator depends on the seed and the call alone, so a resumed run draws the same.
        rng = Random(f"{self.seed} draw {self.calls}")
        replayed = self._replayed(n, leave_out, rng)
        leave_out = {*leave_out, *(prompt.example.id for prompt in replayed)}
        missing = n - len(replayed)
        awake = self._awake(missing, leave_out, rng)
        cells = self._cells(awake)
        if self.settings.draw:
            own = self._by_function(self.settings.draw, awake, missing, leave_out, rng)
        else:
            own = self._own(cells, missing, leave_out, rng)
        drawn = [self.prompts[index] for index in own] + replayed
        self.drawn.update(prompt.example.id for prompt in drawn)
        if replayed or len(cells) > 1:  # else a mini-batch could consist of one cell alone
            rng.shuffle(drawn)
        return drawn

    def _replayed(self, n: int, leave_out: Collection[str], rng: Random) -> list[Prompt]:
        """Prompts that earlier phases sampled, drawn by difficulty: retrospective sampling.

        QwenLong-L1, arXiv 2505.17667, section 3.2.
        """
        seen = self.history.seen
        known = [prompt for prompt in self.earlier if prompt.example.id in seen]
        known = [prompt for prompt in known if prompt.example.id not in leave_out]
        share = n * self.settings.replay
        # The fraction is rounded at random, so that the share is right on average.
        count = min(int(share) + (rng.random() < share % 1), len(known))
        weights = [
            seen[prompt.example.id].difficulty if self.settings.replay_by == "difficulty" else 1.0
            for prompt in known
        ]
        return [known[index] for index in draw_distinct(weights, count, rng)]

    def _own(
        self, cells: Mapping[Cell, list[int]], n: int, leave_out: Collection[str], rng: Random
    ) -> list[int]:
        """The phase's own prompts: each cell's share, the prompts of the fewest epochs first."""
        picked: list[int] = []
        taken = set(leave_out)
        while len(picked) < n:
            free = {
                cell: [index for index in indices if self._ids[index] not in taken]
                for cell, indices in cells.items()
            }
            free = {cell: indices for cell, indices in free.items() if indices}
            if not free:  # fewer prompts than are wanted: they come again
                taken = set()
                continue
            counts = shares(self._weights(list(free)), n - len(picked), rng)
            for (cell, indices), count in zip(free.items(), counts, strict=True):
                # A prompt that returns after a rest counts as at most one epoch behind its cell;
                # else it would be drawn in every step until it had caught up.
                floor = max(self.epochs[index] for index in cells[cell]) - 1
                some = self._least_drawn(indices, count, floor)
                picked += some
                for index in some:
                    taken.add(self._ids[index])
                    self.epochs[index] = max(self.epochs[index], floor) + 1
        return picked

    def _by_function(
        self, reference: str, awake: list[int], n: int, leave_out: Collection[str], rng: Random
    ) -> list[int]:
        """The phase's own prompts, drawn by the user's function."""
        function = resolve(reference, "sampler.draw", SAMPLER)
        index_of = {self._ids[index]: index for index in awake}
        picked: list[int] = []
        free = [self.prompts[index] for index in awake if self._ids[index] not in leave_out]
        while len(picked) < n:
            free = free or [self.prompts[index] for index in awake]  # too few: they come again
            count = min(n - len(picked), len(free))
            drawn = [prompt.example.id for prompt in function(free, count, self.history, rng)]
            given = {prompt.example.id for prompt in free}
            if len(drawn) != count or len(given & set(drawn)) != count:
                raise InputError(
                    f"sampler.draw={reference}: must return {count} different prompts of the"
                    f" {len(free)} that it is given; returned {len(drawn)}, {len(set(drawn))} of"
                    f" them different, {len(given & set(drawn))} among those"
                )
            picked += [index_of[key] for key in drawn]
            free = []
        return picked

    def _awake(self, n: int, leave_out: Collection[str], rng: Random) -> list[int]:
        """The prompts that do not rest; if they are fewer than ``n``, the longest rested, too."""
        if not self.settings.rest_solved and not self.settings.rest_hopeless:
            return list(range(len(self.prompts)))
        awake: list[int] = []
        resting: list[tuple[bool, int, float, int]] = []
        for index, key in enumerate(self._ids):
            seen = self.history.seen.get(key)
            rest = self._rest(seen.pass_rate) if seen else 0
            if seen and rest and self.history.step - seen.step <= rest:
                resting.append((key in leave_out, seen.step, rng.random(), index))
            else:
                awake.append(index)
        missing = n - sum(self._ids[index] not in leave_out for index in awake)
        woken = sorted(resting)[: max(missing, 0)]
        return awake + [index for *_, index in woken]

    def _rest(self, pass_rate: float) -> int:
        """Steps that a prompt whose last group had this pass rate stays out."""
        if pass_rate == 1.0:
            return self.settings.rest_solved
        return self.settings.rest_hopeless if pass_rate == 0.0 else 0

    def _least_drawn(self, indices: Sequence[int], count: int, floor: int) -> list[int]:
        """At most ``count`` prompts, first those that have not finished epoch ``floor``."""
        behind = [index for index in indices if self.epochs[index] <= floor]
        level = [index for index in indices if self.epochs[index] > floor]
        some: list[int] = []
        for epoch, those in ((floor, behind), (floor + 1, level)):
            if those and len(some) < count:
                some += nsmallest(count - len(some), those, self._rank(epoch).__getitem__)
        return some

    def _rank(self, epoch: int) -> array[int]:
        """The position of each prompt in an epoch's order."""
        if epoch not in self._ranks:
            order = list(range(len(self.prompts)))
            Random(f"{self.seed} epoch {epoch}").shuffle(order)
            ranks = array("l", order)
            for rank, index in enumerate(order):
                ranks[index] = rank
            if len(self._ranks) == KEPT_ORDERS:
                del self._ranks[next(iter(self._ranks))]
            self._ranks[epoch] = ranks
        return self._ranks[epoch]

    def _cells(self, indices: Sequence[int]) -> dict[Cell, list[int]]:
        """The prompts by cell: by source where there is a mix, and by the balanced parts."""
        by_source = [self._fixed_parts["source"]] if self.mix else []
        columns = [*by_source, *map(self._parts, self.settings.balance)]
        cells: dict[Cell, list[int]] = {}
        for index in indices:
            cells.setdefault(tuple([column[index] for column in columns]), []).append(index)
        return dict(sorted(cells.items()))

    def _parts(self, by: str) -> list[str]:
        """The part of every prompt."""
        if by == "pass_rate":
            return [self.part(prompt, by) for prompt in self.prompts]
        return self._fixed_parts[by]

    def _weights(self, cells: Sequence[Cell]) -> list[float]:
        """A source's share, divided equally among its cells; all cells alike without a mix."""
        if not self.mix:
            return [1.0] * len(cells)
        of_source = Counter(cell[0] for cell in cells)
        return [self.mix[cell[0]] / of_source[cell[0]] for cell in cells]

    def part(self, prompt: Prompt, by: str) -> str:
        """The part that a prompt falls into, by one of the names that ``balance`` may have."""
        example = prompt.example
        if by == "source":
            return example.source
        if by == "kind":
            return example.kind
        if by == "length":
            width = (self.longest - self.shortest + 1) / LENGTH_PARTS
            part = int(max(0, len(prompt.ids) - self.shortest) / width)
            part = min(part, LENGTH_PARTS - 1)
            return f"{self.shortest + math.ceil((part + 1) * width) - 1}"
        rate = self.history.pass_rate(example)
        if rate is None:
            return "unseen"
        part = min(int(rate * PASS_RATE_PARTS), PASS_RATE_PARTS - 1)
        return f"{part / PASS_RATE_PARTS:.1f}-{(part + 1) / PASS_RATE_PARTS:.1f}"

    def metrics(self) -> dict[str, float]:
        """Counts of this phase: draws by source and length, and the pool by pass rate.

        Replayed prompts have other lengths and are left out of the draws by length.
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
        rates = Counter(self._parts("pass_rate"))
        seen = [self.history.seen[key] for key in self._ids if key in self.history.seen]
        step = self.history.step
        return {
            "pool": len(self.prompts),
            "pool_solved": sum(each.pass_rate == 1.0 for each in seen),
            "pool_hopeless": sum(each.pass_rate == 0.0 for each in seen),
            "pool_resting": sum(step - e.step < self._rest(e.pass_rate) for e in seen),
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
