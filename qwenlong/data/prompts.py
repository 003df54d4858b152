"""Renders an example as the token ids that the policy reads, and those it should answer.

``rewards/wording`` writes what is asked for; here it meets a tokenizer and its chat template.

Only the template writes turns: where a document, a question or an answer spells out a token of the
template, such as ``<|im_end|>``, it is encoded as ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from qwenlong.data.gold import numbered
from qwenlong.rewards.wording import INSTRUCTION, answer_text, instruction, question_text
from qwenlong.types import Example, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEPARATOR = "\n\n"
"""Between documents, and between them and the question."""
THINK, END_THINK = "<think>", "</think>"
_TAGS = frozenset({THINK, END_THINK})
EMPTY_THINKING = f"{THINK}\n\n{END_THINK}\n\n"
NO_THINK = "/no_think"
"""Qwen3's soft switch: words of the user that its policies were trained to obey."""
_BATCH = 2**20
"""Characters to tokenise at once: an encoding takes some hundred bytes a token."""
_SHORT, _REMEMBERED = 512, 2**16
"""Characters of the longest text whose count is cached, and texts in the cache (some 20 MB)."""
_MARK = "\ue000"
"""A character of private use, which splits a text where no token may be read."""


class Renderer:
    """Writes examples in the chat template of one tokenizer.

    The template's own tokens count towards every length.

    Without ``thinking`` the template's ``enable_thinking`` switch is used (Qwen3: an empty think
    block). A template without the switch that opens a think block has it closed; one that does
    neither, of a tokenizer that knows the block, gets ``/no_think`` behind the question; and one
    of a policy that does not think is left as it is.

    ``thinking`` None is for imitation: an example with a reasoning is written with thinking, one
    without in the other mode (thinking mode fusion: Qwen3 Technical Report, arXiv 2505.09388,
    section 4.3).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, thinking: bool | None = True) -> None:
        self.tokenizer = tokenizer
        self.thinking = thinking is not False
        self._unreasoned = Renderer(tokenizer, thinking=False) if thinking is None else None
        self._counts: dict[str, int] = {}
        self._markup = _markup(tokenizer)
        # R1's template ends a prompt with an open think block; Qwen3's leaves it to the policy.
        plain = _templated(tokenizer, [{"role": "user", "content": ""}])
        self._opens_thinking = plain.rstrip().endswith(THINK)
        self._switch: dict[str, bool] = {}
        self._suffix = self._soft_switch = ""
        if self.thinking:
            return
        switch = {"enable_thinking": False}
        if _templated(tokenizer, [{"role": "user", "content": ""}], switch) != plain:
            self._switch = switch
        elif self._opens_thinking:
            self._suffix = f"\n{END_THINK}\n\n" if plain.endswith("\n") else f"\n\n{END_THINK}\n\n"
        elif THINK in tokenizer.get_vocab():
            self._soft_switch = NO_THINK

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone. Counts are cached: sentences of synthetic documents recur."""
        if text in self._counts:
            return self._counts[text]
        count = len(self._plain(text, self._markup))
        if len(text) <= _SHORT:
            if len(self._counts) >= _REMEMBERED:
                self._counts.clear()
            self._counts[text] = count
        return count

    def count_documents(self, documents: Sequence[str]) -> list[int]:
        """Tokens that each document adds to a prompt, with the separator behind it.

        Counted as if a letter followed, so only merges across that border can differ. Not cached.
        """
        behind = self.count_tokens("x")
        counts = [-behind] * len(documents)
        batch: list[str] = []
        owners: list[int] = []
        characters = 0
        for place, document in enumerate(documents):
            parts = _parts(f"{document}{SEPARATOR}x", self._markup)
            batch += parts
            owners += [place] * len(parts)
            characters += len(document)
            if characters >= _BATCH or place == len(documents) - 1:
                encoded = self.tokenizer(batch, add_special_tokens=False)["input_ids"]
                for owner, ids in zip(owners, encoded, strict=True):
                    counts[owner] += len(ids)
                batch, owners, characters = [], [], 0
        return counts

    def prompt(self, example: Example) -> Prompt:
        """An example with ``metadata["messages"]`` is rendered as the chat that it is."""
        if self._unreasoned and not example.reasoning:
            return self._unreasoned.prompt(example)
        messages = example.metadata.get("messages")
        if messages:
            return Prompt(example, self._encoded(messages[:-1]))
        asks = f"{question_text(example)}\n{instruction(example, self.thinking)}"
        content = f"{documents_text(example)}{SEPARATOR}{asks}"
        return Prompt(example, self._encoded([{"role": "user", "content": content}]))

    def solution(self, example: Example) -> tuple[int, ...]:
        """The worked answer as the policy should write it, end of turn included."""
        if self._unreasoned and not example.reasoning:
            return self._unreasoned.solution(example)
        messages: Sequence[Mapping[str, str]] = example.metadata.get("messages", ())
        text = messages[-1]["content"] if messages else answer_text(example)
        # The prompt may have opened or closed what the policy writes before its answer.
        if self.thinking:
            opened = "" if self._opens_thinking else THINK
            text = f"{opened}\n{example.reasoning}\n{END_THINK}\n\n{text}"
        elif self._soft_switch:
            text = f"{EMPTY_THINKING}{text}"
        return (*self._plain(text, self._markup - _TAGS), self.tokenizer.eos_token_id)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where each token of ``text`` alone begins and ends, in characters."""
        offsets: list[tuple[int, int]] = []
        before = 0
        for part in _parts(text, self._markup):
            encoded = self.tokenizer(part, add_special_tokens=False, return_offsets_mapping=True)
            own = encoded["offset_mapping"]
            offsets += [(before + low, before + high) for low, high in own] if before else own
            before += len(part)
        return offsets

    def _plain(self, text: str, tokens: frozenset[str]) -> list[int]:
        """Ids of a text without a template, none of which is one of ``tokens``."""
        return [id for part in _parts(text, tokens) for id in self._ids_of(part)]

    def _ids_of(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _encoded(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        if self._soft_switch:
            last = messages[-1]
            content = f"{last['content']} {self._soft_switch}"
            messages = [*messages[:-1], {**last, "content": content}]
        mark = _MARK
        while any(mark in message["content"] for message in messages):
            mark += _MARK
        marked = []
        for each in messages:
            # An assistant's turn may have think tags.
            tokens = self._markup - _TAGS if each["role"] == "assistant" else self._markup
            marked.append({**each, "content": mark.join(_parts(each["content"], tokens))})
        text = _templated(self.tokenizer, marked, self._switch) + self._suffix
        return tuple(id for part in text.split(mark) for id in self._ids_of(part))


def documents_text(example: Example) -> str:
    """The documents as the prompt has them, with numbers if they are cited by number."""
    if numbered(example):
        marked = (f"[{place}] {text}" for place, text in enumerate(example.documents, start=1))
        return SEPARATOR.join(marked)
    return SEPARATOR.join(example.documents)


def _markup(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    """The added tokens that structure a prompt: special ones, think tags, the template's own.

    R1's template writes turns in tokens that are not special. Other added tokens, such as runs of
    blanks or technical words, are text.
    """
    template = str(tokenizer.chat_template)
    added = [(str(token), token.special) for token in tokenizer.added_tokens_decoder.values()]
    return frozenset(
        text
        for text, special in added
        if len(text) > 1 and text.strip() and (special or text in _TAGS or text in template)
    )


def _parts(text: str, tokens: frozenset[str]) -> list[str]:
    """The text, split behind the first character of each of the ``tokens`` in it."""
    there = [re.escape(token) for token in tokens if token in text]
    if not there:
        return [text]
    starts = re.finditer(f"(?={'|'.join(there)})", text)
    cuts = [0, *(match.start() + 1 for match in starts), len(text)]
    return [text[low:high] for low, high in pairwise(cuts)]


def _templated(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, str]],
    switch: Mapping[str, Any] | None = None,
) -> str:
    return tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=True, tokenize=False, **(switch or {})
    )


def training_texts(examples: list[Example]) -> list[str]:
    """Texts to train a tokenizer for these examples on: documents, questions and answers.

    Texts begin with the blank that comes before a word in running text.
    """
    texts = [f" {text}" for example in examples for text in (*example.documents, example.question)]
    texts += [f" {example.reasoning} {' '.join(example.answers)}" for example in examples]
    asks = dict.fromkeys(instruction(example, thinking=True) for example in examples)
    own = [text for text in asks if text != INSTRUCTION]
    texts += [INSTRUCTION, "Therefore, the answer is", "user", "assistant", SEPARATOR, *own] * 2
    return texts
