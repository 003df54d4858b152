"""GRPO for document question answering on one page, in one process, in about a minute.

    python examples/minimal.py

A freshly initialised Qwen3 of a million parameters, the quickstart's policy, first imitates right
answers (supervised fine-tuning), and then learns from a verifier's rewards alone. The mean reward
rises from 0.6 to 0.96. Each step

1. samples G responses to each of some prompts from the engine's copy of the policy,
2. scores every response with the verifier of the question's kind,
3. compares each response with the others to the same prompt: the advantages,
4. packs every prompt with its G responses into one row, so that the prompt is computed once,
5. updates the policy on the clipped objective, and
6. gives the engine the new weights.

Left out, and found in the package: vLLM in place of transformers' generate, several processes and
machines (Ray, FSDP2, Ulysses), phases of growing context with YaRN, curricula, evaluation on
held-out data, judges, checkpoints and resuming, reports. `qwenlong train` has them all; its loop
is qwenlong/train/loop.py. Everything that is imported below is the package's public code.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from rich.console import Console
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from qwenlong.config import LearnerConfig, TinyConfig
from qwenlong.learner.advantages import group_advantages
from qwenlong.learner.learner import GrpoLearner
from qwenlong.learner.micro_batches import RowSlice
from qwenlong.model.pretrained import load_policy
from qwenlong.model.tiny import build_tiny
from qwenlong.rewards.registry import score
from qwenlong.types import Batch, Example, Prompt, Rollout, Row, token_ids

BAR = 26
"""Characters of the curve at a reward of 1."""


@dataclass(frozen=True)
class Settings:
    seed: int = 0
    examples: int = 400
    window: int = 256
    """Native context window of the policy, in tokens."""
    imitation_steps: int = 75
    imitation_batch: int = 32
    imitation_rate: float = 2e-3
    steps: int = 30
    prompts: int = 32
    """Prompts a step."""
    group: int = 8
    """Responses a prompt (G)."""
    mini_batch: int = 8
    """Prompts an optimizer update."""
    response: int = 4
    """Longest response, in tokens."""
    temperature: float = 1.0
    learning_rate: float = 7e-4


def questions(n: int, rng: Random) -> list[Example]:
    """A short document each, and a question about one of its three numbers."""
    examples = []
    for i in range(n):
        counts = {animal: rng.randrange(10) for animal in ("sheep", "goats", "geese")}
        asked = rng.choice(list(counts))
        holds = ", ".join(f"{count} {animal}" for animal, count in counts.items())
        examples.append(
            Example(
                id=f"barn-{i}",
                source="barns",
                documents=(f"The barn holds {holds}.",),
                question=f"How many {asked} are there?",
                answers=(str(counts[asked]),),
            )
        )
    return examples


def vocabulary(examples: Sequence[Example]) -> list[str]:
    """What the tokenizer learns its words from."""
    texts = [text for each in examples for text in (*each.documents, each.question, *each.answers)]
    return [*(f" {text}" for text in texts), *["user", "assistant", "\n"] * 2]


def read(example: Example, tokenizer: PreTrainedTokenizerBase) -> Prompt:
    """The example as the policy reads it, in its chat template."""
    content = " ".join([*example.documents, example.question])
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return Prompt(example, tuple(tokenizer.encode(text, add_special_tokens=False)))


def imitate(
    learner: GrpoLearner,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    settings: Settings,
) -> None:
    """Supervised fine-tuning: raises the mean log-likelihood of the right answers' tokens."""
    rng = Random(settings.seed)
    optimizer = torch.optim.AdamW(learner.model.parameters(), betas=(0.9, 0.95))
    for step in range(settings.imitation_steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.imitation_rate * min(1.0, (step + 1) / 20)
        slices = []
        for prompt in rng.choices(prompts, k=settings.imitation_batch):
            answer = tokenizer.encode(f" {prompt.example.answers[0]}", add_special_tokens=False)
            response = token_ids([*answer, tokenizer.eos_token_id])
            nothing = np.zeros(len(response), np.float32)  # no engine has sampled it
            row = Row(token_ids(prompt.ids), (response,), (nothing,), (0.0,))
            slices.append(RowSlice(row, first=0, last=1))
        # All of them are packed into one sequence: one forward and one backward pass, no padding.
        stats = learner.policy(tuple(slices), temperature=1.0, top_p=1.0)
        (-stats.logprobs.mean()).backward()
        torch.nn.utils.clip_grad_norm_(learner.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def sample(
    engine: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    version: int,
    settings: Settings,
) -> list[tuple[Rollout, ...]]:
    """G responses to each prompt, with the log-probabilities that they were sampled with."""
    n, longest = settings.group, max(len(prompt.ids) for prompt in prompts)
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    ids = torch.full((len(prompts), longest), pad)
    for row, prompt in zip(ids, prompts, strict=True):
        row[longest - len(prompt.ids) :] = torch.tensor(prompt.ids)  # padded on the left
    found = engine.generate(
        input_ids=ids,
        attention_mask=(ids != pad).long(),
        do_sample=True,
        num_return_sequences=n,
        max_new_tokens=settings.response,
        temperature=settings.temperature,
        top_k=0,
        top_p=1.0,
        output_scores=True,
        return_dict_in_generate=True,
    )
    responses = found.sequences[:, longest:]
    # The scores are logits after temperature: what the token was really sampled from.
    logprobs = torch.stack(found.scores, 1).log_softmax(-1).gather(-1, responses[..., None])[..., 0]
    rollouts = []
    for tokens, each in zip(responses.tolist(), logprobs.numpy(), strict=True):
        length = tokens.index(end) + 1 if end in tokens else len(tokens)
        rollouts.append(
            Rollout(
                response_ids=token_ids(tokens[:length]),
                logprobs=each[:length],
                finish_reason="stop" if end in tokens else "length",
                version=version,
                text=tokenizer.decode(tokens[: length - (end in tokens)]),
            )
        )
    return [tuple(rollouts[first : first + n]) for first in range(0, len(rollouts), n)]


def train(settings: Settings, folder: Path, console: Console) -> list[float]:
    """The algorithm. Returns the mean reward of every step."""
    rng = Random(settings.seed)
    torch.manual_seed(settings.seed)
    examples = questions(settings.examples, rng)

    build_tiny(folder, vocabulary(examples), TinyConfig(), settings.window, settings.seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = [read(example, tokenizer) for example in examples]
    learner = GrpoLearner(str(folder), "float32", LearnerConfig(objective="grpo", beta2=0.95))
    engine = load_policy(str(folder), "float32").eval()

    imitate(learner, tokenizer, prompts, settings)
    engine.load_state_dict(dict(learner.weights()), strict=False)  # a tied head has no own weight

    curve = []
    for step in range(1, settings.steps + 1):
        # 1. Sample a group of responses to each prompt.
        drawn = rng.sample(prompts, settings.prompts)
        groups = sample(engine, tokenizer, drawn, step, settings)

        # 2. Score: 1 if the response's final answer is right, else 0.
        rewards = [
            [score(prompt.example, rollout.text, thinking=False).value for rollout in rollouts]
            for prompt, rollouts in zip(drawn, groups, strict=True)
        ]

        # 3. Advantages: (reward - mean of the group) / standard deviation of the group.
        advantages = [group_advantages(of_group) for of_group in rewards]

        # 4. Pack: a row is a prompt and its group. The engine's log-probabilities go along, so
        #    that the learner can report how far it is from the engine.
        rows = tuple(
            Row(
                token_ids(prompt.ids),
                tuple(rollout.response_ids for rollout in rollouts),
                tuple(rollout.logprobs for rollout in rollouts),
                of_group,
            )
            for prompt, rollouts, of_group in zip(drawn, groups, advantages, strict=True)
        )

        # 5. Update the policy: every row once, some rows an optimizer update.
        batch = Batch(
            rows,
            mini_batch=settings.mini_batch,
            learning_rate=settings.learning_rate,
            response_limit=settings.response,
            temperature=settings.temperature,
        )
        metrics = learner.step(batch).metrics

        # 6. Give the engine the new weights.
        engine.load_state_dict(dict(learner.weights()), strict=False)

        curve.append(sum(map(sum, rewards)) / (settings.prompts * settings.group))
        console.print(
            f"step {step:2}  reward {curve[-1]:.2f} {'█' * round(BAR * curve[-1]):{BAR}}"
            f"  entropy {metrics['entropy']:.2f}  engine KL {metrics['engine_learner_kl']:.0e}"
        )
    return curve


def main() -> None:
    console, started = Console(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        curve = train(Settings(), Path(folder), console)
    first, last = sum(curve[:5]) / 5, sum(curve[-5:]) / 5
    seconds = time.perf_counter() - started
    console.print(f"mean reward {first:.2f} to {last:.2f} in {seconds:.0f} s")


if __name__ == "__main__":
    main()
