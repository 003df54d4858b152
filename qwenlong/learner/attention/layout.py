"""Where the tokens of packed groups lie in a sequence, and which of them attend to which.

A packed sequence reads ``prompt | response 1 | … | response G | prompt | …``. The positions of
each response continue from its own prompt's end, and it attends to its prompt and to itself: the
model computes for it what it would compute for prompt and response alone. So a prompt that G
responses share is computed once, not G times.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True)
class Block:
    """A rectangle of the attention matrix in which nothing, or the upper triangle, is masked."""

    queries: slice
    keys: slice
    causal: bool
    """Each query attends to the keys up to itself; else to all of them."""


@dataclass(frozen=True)
class Layout:
    """Prompt length and response lengths, in tokens, of each group in a packed sequence."""

    groups: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def tokens(self) -> int:
        return sum(prompt + sum(responses) for prompt, responses in self.groups)

    def starts(self) -> list[tuple[int, list[int]]]:
        """The index of the first token of each group's prompt and of each of its responses."""
        found, at = [], 0
        for prompt, responses in self.groups:
            *starts, end = accumulate(responses, initial=at + prompt)
            found.append((at, starts))
            at = end
        return found

    def positions(self) -> Tensor:
        """Position ids [1, T]; they restart at the prompt's end for every response."""
        parts = []
        for prompt, responses in self.groups:
            parts.append(torch.arange(prompt))
            parts += [torch.arange(prompt, prompt + n) for n in responses]
        return torch.cat(parts)[None]

    def predictors(self) -> Tensor:
        """Index [R] of the token whose hidden state predicts each response token.

        The first token of every response is predicted by its prompt's last token.
        """
        index = []
        for (prompt, responses), (start, starts) in zip(self.groups, self.starts(), strict=True):
            for first, n in zip(starts, responses, strict=True):
                index += [start + prompt - 1, *range(first, first + n - 1)][:n]
        return torch.tensor(index, dtype=torch.long)

    def owners(self) -> tuple[Tensor, Tensor]:
        """Group and response [T], [T] of each token; a prompt counts as response 0 of its group."""
        group, response = [], []
        for i, (prompt, responses) in enumerate(self.groups):
            lengths = torch.tensor([prompt, *responses])
            group.append(torch.full((int(lengths.sum()),), i))
            response.append(torch.arange(len(lengths)).repeat_interleave(lengths))
        return torch.cat(group), torch.cat(response)

    def blocks(self, last_layer: bool = False) -> list[Block]:
        """The blocks that cover everything attention has to compute; none needs a mask tensor.

        For each group: the prompt over itself, all responses over the prompt, each response over
        itself. What follows the last layer reads only the predictors, so there of each prompt only
        the last token's query is computed.
        """
        blocks = []
        for (prompt, responses), (start, starts) in zip(self.groups, self.starts(), strict=True):
            own, end = slice(start, start + prompt), start + prompt + sum(responses)
            if not last_layer:
                blocks.append(Block(own, own, causal=True))
            # The prompt's last token sees all of the prompt, as the responses do.
            first_query = own.stop - 1 if last_layer else own.stop
            if first_query < end:
                blocks.append(Block(slice(first_query, end), own, causal=False))
            for first, n in zip(starts, responses, strict=True):
                if n:
                    itself = slice(first, first + n)
                    blocks.append(Block(itself, itself, causal=True))
        return blocks
