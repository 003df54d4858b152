"""From an example to the token ids that the policy reads, and to those it should answer.

What is asked for and how is in ``instructions``; here it meets a tokenizer and its template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from qwenlong.data.instructions import INSTRUCTION, answer_text, asked, instruction, numbered
from qwenlong.types import Example, Prompt

SEPARATOR = "\n\n"
"""Between documents, and between them and the question."""
THINK, END_THINK = "<think>", "</think>"
EMPTY_THINKING = f"{THINK}\n\n{END_THINK}\n\n"
NO_THINK = "/no_think"
"""Qwen3's soft switch: words of the user that its policies were trained to obey."""
_BATCH = 2**20
"""Characters that are tokenised at once: an encoding takes some hundred bytes a token."""


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
        """Tokens of ``text`` alone; sentences of synthetic documents recur, so it remembers."""
        if text not in self._counts:
            self._counts[text] = len(self.tokenizer.encode(text, add_special_tokens=False))
        return self._counts[text]

    def count_documents(self, documents: Sequence[str]) -> list[int]:
        """Tokens that each document adds to a prompt, what parts it from the next included.

        Counted where a letter follows, and so exact but for merges across that border. Nothing
        is remembered.
        """
        behind = self.count_tokens("x")
        counts: list[int] = []
        batch: list[str] = []
        characters = 0
        for place, document in enumerate(documents, start=1):
            batch.append(f"{document}{SEPARATOR}x")
            characters += len(document)
            if characters >= _BATCH or place == len(documents):
                encoded = self.tokenizer(batch, add_special_tokens=False)["input_ids"]
                counts.extend(len(ids) - behind for ids in encoded)
                batch, characters = [], 0
        return counts

    def prompt(self, example: Example) -> Prompt:
        """An example with ``metadata["messages"]`` is rendered as the chat that it is."""
        if self._unreasoned and not example.reasoning:
            return self._unreasoned.prompt(example)
        messages = example.metadata.get("messages")
        if messages:
            return Prompt(example, self._encoded(messages[:-1]))
        return Prompt(example, self._ids(example, documents_text(example)))

    def solution(self, example: Example) -> tuple[int, ...]:
        """The worked answer as the policy should write it, end of turn included."""
        if self._unreasoned and not example.reasoning:
            return self._unreasoned.solution(example)
        messages: Sequence[Mapping[str, str]] = example.metadata.get("messages", ())
        final = messages[-1]["content"] if messages else answer_text(example)
        text = f"{self._thoughts(example.reasoning)}{final}"
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return (*ids, self.tokenizer.eos_token_id)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where each token of ``text`` alone begins and ends, in characters."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return encoded["offset_mapping"]

    def _thoughts(self, reasoning: str) -> str:
        """What the policy writes before its answer, which the prompt may have begun or closed."""
        if not self.thinking:
            return EMPTY_THINKING if self._soft_switch else ""
        return f"{'' if self._opens_thinking else THINK}\n{reasoning}\n{END_THINK}\n\n"

    def _ids(self, example: Example, documents: str) -> tuple[int, ...]:
        told = instruction(example, self.thinking)
        return self._encoded(
            [{"role": "user", "content": f"{documents}{SEPARATOR}{asked(example)}\n{told}"}]
        )

    def _encoded(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        if self._soft_switch:
            last = messages[-1]
            content = f"{last['content']} {self._soft_switch}"
            messages = [*messages[:-1], {**last, "content": content}]
        text = _templated(self.tokenizer, messages, self._switch) + self._suffix
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))


def documents_text(example: Example) -> str:
    """The documents as the prompt has them: one after the other, numbered if to be cited so."""
    if numbered(example):
        marked = (f"[{place}] {text}" for place, text in enumerate(example.documents, start=1))
        return SEPARATOR.join(marked)
    return SEPARATOR.join(example.documents)


def _templated(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, str]],
    switch: Mapping[str, Any] | None = None,
) -> str:
    return tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=True, tokenize=False, **(switch or {})
    )


def training_texts(examples: list[Example]) -> list[str]:
    """What a tokenizer for these examples should know: documents, questions and answers.

    Words are given with the blank that comes before them in running text.
    """
    texts = [f" {text}" for example in examples for text in (*example.documents, example.question)]
    texts += [f" {example.reasoning} {' '.join(example.answers)}" for example in examples]
    told = dict.fromkeys(instruction(example, thinking=True) for example in examples)
    own = [text for text in told if text != INSTRUCTION]
    texts += [INSTRUCTION, "Therefore, the answer is", "user", "assistant", SEPARATOR, *own] * 2
    return texts
