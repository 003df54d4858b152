"""From an example to the token ids that the policy reads, and to those it should answer."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from qwenlong.types import Example, InputError, Prompt

INSTRUCTION = 'Think first, then end with "Therefore, the answer is" and the answer.'


class Renderer:
    """Writes examples in the chat template of one tokenizer.

    The template's own tokens count towards every length.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._counts: dict[str, int] = {}
        # R1's template ends a prompt with an open think block; Qwen3's leaves it to the policy.
        self._opens_thinking = self._text("").rstrip().endswith("<think>")

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone; sentences of synthetic documents recur, so it remembers."""
        if text not in self._counts:
            self._counts[text] = len(self.tokenizer.encode(text, add_special_tokens=False))
        return self._counts[text]

    def prompt(self, example: Example) -> Prompt:
        return Prompt(example, self._ids(example, "\n\n".join(example.documents)))

    def cut_to(self, prompt: Prompt, limit: int) -> Prompt:
        """Cuts out the middle of the documents until the prompt has at most ``limit`` tokens.

        A prompt that fits is returned as it is. Cutting the text rather than the ids keeps the
        prompt what the template gives for the shorter text; a merge across the cut can cost a
        few tokens below the limit.
        """
        if len(prompt.ids) <= limit:
            return prompt
        text = "\n\n".join(prompt.example.documents)
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)[
            "offset_mapping"
        ]
        cut = len(prompt.ids) - limit
        while cut < len(offsets):
            head = (len(offsets) - cut) // 2
            kept = text[: offsets[head][0]] + text[offsets[head + cut - 1][1] :]
            ids = self._ids(prompt.example, kept)
            if len(ids) <= limit:
                return Prompt(prompt.example, ids, cut)
            cut += len(ids) - limit
        raise InputError(
            f"context={limit}: example {prompt.example.id!r} does not fit without its documents"
        )

    def solution(self, example: Example) -> tuple[int, ...]:
        """The worked answer as the policy should write it, end of turn included."""
        text = (
            f"{'' if self._opens_thinking else '<think>'}\n{example.reasoning}\n</think>\n\n"
            f"Therefore, the answer is {example.answers[0]}."
        )
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return (*ids, self.tokenizer.eos_token_id)

    def _ids(self, example: Example, documents: str) -> tuple[int, ...]:
        text = self._text(f"{documents}\n\n{example.question}\n{INSTRUCTION}")
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _text(self, content: str) -> str:
        return self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )


def training_texts(examples: list[Example]) -> list[str]:
    """What a tokenizer for these examples should know: documents, questions and answers.

    Words are given with the blank that comes before them in running text.
    """
    texts = [f" {text}" for example in examples for text in (*example.documents, example.question)]
    texts += [f" {example.reasoning} {' '.join(example.answers)}" for example in examples]
    texts += [INSTRUCTION, "Therefore, the answer is", "user", "assistant", "\n\n"] * 2
    return texts
