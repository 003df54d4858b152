"""Where the tokens of packed groups lie, and which of them attend to which.

A packed sequence reads ``prompt | response 1 | … | response G | prompt | …``. The positions of
every response continue from its own prompt's end, and it attends to its prompt and to itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True)
class Block:
    """Queries that see keys: each all of them, or (``causal``) those up to itself."""

    queries: slice
    keys: slice
    causal: bool


@dataclass(frozen=True)
class Layout:
    """Where prompts and responses lie in a row: the lengths, in tokens, group after group."""

    groups: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def tokens(self) -> int:
        return sum(prompt + sum(responses) for prompt, responses in self.groups)

    def starts(self) -> list[tuple[int, list[int]]]:
        """Where each group's prompt and each of its responses begin."""
        found, at = [], 0
        for prompt, responses in self.groups:
            *begins, end = accumulate(responses, initial=at + prompt)
            found.append((at, begins))
            at = end
        return found

    def positions(self) -> Tensor:
        """Position ids [1, T] of the row."""
        parts = []
        for prompt, responses in self.groups:
            parts.append(torch.arange(prompt))
            parts += [torch.arange(prompt, prompt + n) for n in responses]
        return torch.cat(parts)[None]

    def predictors(self) -> Tensor:
        """Index [R] of the row's token whose hidden state predicts each response token.

        The first token of every response is predicted by its prompt's last token.
        """
        index = []
        for (prompt, responses), (start, begins) in zip(self.groups, self.starts(), strict=True):
            for begin, n in zip(begins, responses, strict=True):
                index += [start + prompt - 1, *range(begin, begin + n - 1)][:n]
        return torch.tensor(index, dtype=torch.long)

    def owners(self) -> tuple[Tensor, Tensor]:
        """Group and response [T], [T] of each token; a prompt counts as response 0 of its group."""
        group, response = [], []
        for i, (prompt, responses) in enumerate(self.groups):
            lengths = torch.tensor([prompt, *responses])
            group.append(torch.full((int(lengths.sum()),), i))
            response.append(torch.arange(len(lengths)).repeat_interleave(lengths))
        return torch.cat(group), torch.cat(response)

    def parts(self, last_layer: bool = False) -> list[Block]:
        """All that attention has to compute: what it may see in whole blocks, no mask needed.

        In the last layer only predictors are read: of each prompt its last token.
        """
        parts = []
        for (prompt, responses), (start, begins) in zip(self.groups, self.starts(), strict=True):
            own, end = slice(start, start + prompt), start + prompt + sum(responses)
            if not last_layer:
                parts.append(Block(own, own, causal=True))
            first = own.stop - 1 if last_layer else own.stop
            if first < end:
                parts.append(Block(slice(first, end), own, causal=False))
            for begin, n in zip(begins, responses, strict=True):
                if n:
                    itself = slice(begin, begin + n)
                    parts.append(Block(itself, itself, causal=True))
        return parts
