"""Which prompts a step draws: in equal parts where asked, once an epoch within a part, rested
where solved or hopeless, and some of earlier phases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
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
Cell = tuple[str, ...]


class Sampler:
    """Draws the prompts of one phase.

    Args:
        prompts: the phase's own. Their examples have different ids, as those of ``earlier``.
        earlier: prompts of the phases before, from which ``settings.replay`` draws.
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
        """Draws in this phase by example; with ``calls`` the whole of the state."""
        self._ranks: dict[int, list[int]] = {}

    def draw(self, n: int, leave_out: Collection[str] = ()) -> list[Prompt]:
        """``n`` prompts, different ones while there are enough.

        Args:
            leave_out: ids of examples that the step has already.
        """
        self.calls += 1
        rng = Random(f"{self.seed} draw {self.calls}")
        replayed = self._replayed(n, leave_out, rng)
        own = self._own(n - len(replayed), leave_out, rng)
        drawn = [self.prompts[place] for place in own] + replayed
        self.drawn.update(prompt.example.id for prompt in replayed)
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

    def _own(self, n: int, leave_out: Collection[str], rng: Random) -> list[int]:
        """Places of the phase's own prompts: each cell's share, the least drawn first."""
        cells: dict[Cell, list[int]] = {}
        for place in self._awake(n):
            cells.setdefault(self._cell(self.prompts[place]), []).append(place)
        picked: list[int] = []
        taken = set(leave_out)
        while len(picked) < n:
            rooms = {
                cell: [place for place in places if self._id(place) not in taken]
                for cell, places in sorted(cells.items())
            }
            rooms = {cell: places for cell, places in rooms.items() if places}
            if not rooms:  # fewer prompts than are asked for: they come again
                taken = set()
                continue
            counts = shares(self._weights(list(rooms)), n - len(picked), rng)
            for (cell, places), count in zip(rooms.items(), counts, strict=True):
                some = self._least_drawn(cells[cell], places)[:count]
                picked += some
                taken.update(map(self._id, some))
                top = self._top(cells[cell])
                for place in some:
                    key = self._id(place)
                    self.drawn[key] = max(self.drawn[key], top - 1) + 1
        return picked

    def _awake(self, n: int) -> list[int]:
        """Places of prompts that do not rest; if these are too few, the longest rested, too."""
        resting: list[tuple[int, int]] = []
        awake: list[int] = []
        for place, prompt in enumerate(self.prompts):
            seen = self.history.seen.get(prompt.example.id)
            rest = self._rest(seen.pass_rate) if seen else 0
            if seen and self.history.step - seen.step <= rest:
                resting.append((seen.step, place))
            else:
                awake.append(place)
        missing = max(0, min(n, len(self.prompts)) - len(awake))
        return awake + [place for _, place in sorted(resting)[:missing]]

    def _rest(self, pass_rate: float) -> int:
        if pass_rate == 1.0:
            return self.settings.rest_solved
        return self.settings.rest_hopeless if pass_rate == 0.0 else 0

    def _least_drawn(self, cell: Sequence[int], places: Sequence[int]) -> list[int]:
        """In the order in which they are to be drawn: once an epoch, in an order of its own.

        What comes back into a cell after a rest is an epoch behind at most.
        """
        floor = self._top(cell) - 1
        epochs = {place: max(self.drawn[self._id(place)], floor) for place in places}
        return sorted(places, key=lambda place: (epochs[place], self._rank(epochs[place])[place]))

    def _top(self, cell: Sequence[int]) -> int:
        return max(self.drawn[self._id(place)] for place in cell)

    def _rank(self, epoch: int) -> list[int]:
        """Where each place stands in the order of an epoch."""
        if epoch not in self._ranks:
            order = list(range(len(self.prompts)))
            Random(f"{self.seed} epoch {epoch}").shuffle(order)
            ranks = [0] * len(order)
            for rank, place in enumerate(order):
                ranks[place] = rank
            self._ranks[epoch] = ranks
        return self._ranks[epoch]

    def _id(self, place: int) -> str:
        return self.prompts[place].example.id

    def _cell(self, prompt: Prompt) -> Cell:
        keys = [prompt.example.source] if self.mix else []
        return (*keys, *(self.part(prompt, by) for by in self.settings.balance))

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
            return f"{self.shortest + round((at + 1) * width) - 1}"
        rate = self.history.pass_rate(example)
        return "unseen" if rate is None else f"{min(int(rate * FIFTHS), FIFTHS - 1) / FIFTHS:g}"

    def metrics(self) -> dict[str, float]:
        """Counts of this phase: draws by source and length, and the pool by pass rate."""
        own = {prompt.example.id: prompt for prompt in (*self.earlier, *self.prompts)}
        sources: Counter[str] = Counter()
        lengths: Counter[str] = Counter()
        for key, count in self.drawn.items():
            sources[self.part(own[key], "source")] += count
            lengths[self.part(own[key], "length")] += count
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
            **{f"draws_source/{name}": count for name, count in sorted(sources.items())},
            **{
                f"draws_length/{name}": count
                for name, count in sorted(lengths.items(), key=lambda item: int(item[0]))
            },
        }

    def state(self) -> dict[str, Any]:
        return {"calls": self.calls, "drawn": dict(self.drawn)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.calls = state["calls"]
        self.drawn = Counter(state["drawn"])
