"""Reads everything that a run needs before any actor starts, and checks it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from statistics import fmean

from qwenlong.config import TINY, Config, RlStage, SftStage
from qwenlong.config.checks import check_rope
from qwenlong.curricula.phases import phase_prompts, within
from qwenlong.data.pipeline import load, sample
from qwenlong.data.prompts import Renderer, training_texts
from qwenlong.data.rules import Rules
from qwenlong.evaluate.evaluate import by_source, draw_held_out
from qwenlong.learner.sft import SftRow
from qwenlong.model.pretrained import chat_tokenizer, check_policy, check_weights, native_rope
from qwenlong.model.tiny import build_tiny
from qwenlong.rewards.hybrid import Rewards, check_sources
from qwenlong.rewards.hybrid import check as check_rewards
from qwenlong.train.names import check_names
from qwenlong.train.rewards import judge_policy, rule_rewards, strict_rewards
from qwenlong.types import InputError, JudgePolicy, Prompt, Rope, token_ids

TOKENIZER_EXAMPLES = 500
"""Examples of each source that the tokenizer of a tiny policy is trained on."""


@dataclass(frozen=True)
class Inputs:
    """A run's policy, and its data in tokens of the policy. Keys are names of stages."""

    config: Config
    policy: str
    """Folder or name."""
    rope: Rope
    """The policy's native RoPE."""
    sft_rows: Mapping[str, Sequence[SftRow]]
    phase_prompts: Mapping[str, Sequence[Prompt]]
    held_out: Mapping[int, Sequence[Prompt]]
    """Questions to evaluate on, by context in tokens."""
    judge: JudgePolicy | None
    """What the judge's engines serve, if the run has them."""
    notes: Sequence[str]
    """What was dropped, cut or left out, in words."""

    @property
    def ropes(self) -> list[Rope]:
        """Every RoPE of the run, the least stretched first."""
        ropes = {self.rope_of(stage) for stage in self.config.stages.values()}
        return sorted(ropes | {self.rope}, key=lambda rope: rope.factor)

    def rope_of(self, stage: SftStage | RlStage) -> Rope:
        return replace(self.rope, factor=stage.yarn_factor)

    def rope_for(self, row: int, current: Rope) -> Rope:
        """The RoPE to evaluate rows of ``row`` tokens with: the least stretched that reaches them.

        It is the current one or one of the stages'; for longer rows than these reach, the most
        stretched one.
        """
        reaching = [rope for rope in (current, *self.ropes) if row <= rope.limit]
        return reaching[0] if reaching else self.ropes[-1]

    @property
    def longest_row(self) -> int:
        contexts = [*self.config.contexts, *(stage.context for stage in self.config.phases)]
        return max(contexts) + self.config.longest_response

    def phase_number(self, name: str) -> int | None:
        """1 for the first RL phase; None for an SFT stage."""
        phases = [n for n, stage in self.config.stages.items() if isinstance(stage, RlStage)]
        return phases.index(name) + 1 if name in phases else None

    def earlier_prompts(self, name: str) -> list[Prompt]:
        """The prompts of the phases before ``name``."""
        before: dict[str, Prompt] = {}
        for other, prompts in self.phase_prompts.items():
            if other == name:
                break
            before |= {prompt.example.id: prompt for prompt in prompts}
        return list(before.values())

    def steps(self, name: str) -> int:
        """The number of updates of an SFT stage, or of steps of a phase, at most."""
        stage = self.config.stages[name]
        if isinstance(stage, RlStage):
            return stage.steps
        rows = len(self.sft_rows[name]) + stage.own_rollouts * self._prompts_before(name)
        return math.ceil(stage.epochs * math.ceil(rows / stage.batch))

    def _prompts_before(self, name: str) -> int:
        """The number of different prompts that the phases before draw, at most."""
        before = takewhile(lambda item: item[0] != name, self.config.stages.items())
        return sum(
            min(stage.steps * stage.batch // stage.group, len(self.phase_prompts[phase]))
            for phase, stage in before
            if isinstance(stage, RlStage)
        )

    def tokens(self, name: str) -> float:
        """Mean tokens of a step. Responses of RL count as long as they may become."""
        stage = self.config.stages[name]
        if isinstance(stage, SftStage):
            rows = self.sft_rows[name]
            if not rows:  # they are sampled during the run
                return float(stage.batch * stage.context)
            return stage.batch * fmean(len(prompt) + len(answer) for prompt, answer in rows)
        prompt = fmean(len(prompt.ids) for prompt in self.phase_prompts[name])
        return stage.batch / stage.group * prompt + stage.batch * stage.response


def read_inputs(config: Config, scratch: Path) -> Inputs:
    """Reads everything; a tiny policy is built in ``scratch``.

    Raises:
        InputError: something in the user's input is wrong.
    """
    # What can be checked without reading anything comes first: a policy may take minutes to read.
    check_names(config)
    if config.policy.window is not None:
        check_rope(config, config.policy.window)
    policy = _policy(config, scratch)
    rope = native_rope(policy, config.policy.window)
    check_weights(policy)
    check_policy(policy, config.learner.sequence_ranks)
    check_rope(config, rope.window)
    judge = judge_policy(config.rewards.judge)
    renderer = Renderer(chat_tokenizer(policy), config.data.thinking)
    notes: list[str] = []
    sft = _sft_rows(config, renderer, notes)
    phases = _phase_prompts(config, renderer, notes)
    held_out = _held_out(config, renderer, notes)
    return Inputs(config, policy, rope, sft, phases, held_out, judge, notes)


def _policy(config: Config, scratch: Path) -> str:
    if config.policy.path != TINY:
        return config.policy.path
    assert config.policy.window is not None  # checked when the configuration is read
    # There is no tokenizer yet, so lengths are counted in words.
    texts: list[str] = []
    for part in ("sft", "train"):
        examples = sample(
            config.data, part, TOKENIZER_EXAMPLES, lambda text: len(text.split()), config.seed
        )
        texts += training_texts(examples)
    folder = scratch / TINY
    build_tiny(folder, texts, config.policy.tiny, config.policy.window, config.seed)
    return str(folder)


def _sft_rows(config: Config, renderer: Renderer, notes: list[str]) -> dict[str, list[SftRow]]:
    all_stages = {n: s for n, s in config.stages.items() if isinstance(s, SftStage)}
    rows: dict[str, list[SftRow]] = {name: [] for name in all_stages}
    stages = {n: s for n, s in all_stages.items() if s.sources or not s.own_rollouts}
    if not stages:
        return rows
    if config.data.thinking:  # examples without reasoning are learned without thinking
        renderer = Renderer(renderer.tokenizer, thinking=None)
    prompts, left_out = load(
        config.data, "sft", _rules(config, renderer, None, strict_rewards(config))
    )
    notes += left_out
    examples = [prompt.example for prompt in prompts]
    for example in examples:
        if not example.answers:
            raise InputError(f"data.sft: example {example.id!r} has no answer, which SFT imitates")
    plain = sum(not example.reasoning for example in examples)
    if plain and config.data.thinking:
        notes.append(
            f"data.sft: {plain} of {len(examples)} examples have no reasoning and are imitated"
            " without thinking"
        )
    for name, stage in stages.items():
        unknown = set(stage.sources) - {example.source for example in examples}
        if unknown:
            raise InputError(
                f"stages.{name}.sources={stage.sources}: data.sft has no source"
                f" {', '.join(sorted(unknown))}"
            )
    pairs = [
        (p.example.source, (token_ids(p.ids), token_ids(renderer.solution(p.example))))
        for p in prompts
    ]
    for name, stage in stages.items():
        own = [pair for source, pair in pairs if source in (stage.sources or [source])]
        rows[name] = [row for row in own if len(row[0]) + len(row[1]) <= stage.context]
        if len(rows[name]) < stage.batch and not stage.own_rollouts:
            raise InputError(
                f"stages.{name}.context={stage.context}: {len(rows[name])} rows of data.sft fit"
                f" it, fewer than batch ({stage.batch})"
            )
        too_long = len(own) - len(rows[name])
        if too_long:
            notes.append(f"{name}: {too_long} of {len(own)} rows are longer than its context")
    return rows


def _phase_prompts(
    config: Config, renderer: Renderer, notes: list[str]
) -> dict[str, Sequence[Prompt]]:
    """Phase k gets the prompts with lengths in (L(k-1), L(k)], or all up to L(k)."""
    phases = {n: s for n, s in config.stages.items() if isinstance(s, RlStage)}
    if not phases:
        return {}
    limit = max(phase.context for phase in phases.values())
    rewards = rule_rewards(config)
    prompts, left_out = load(config.data, "train", _rules(config, renderer, limit, rewards))
    notes += left_out
    check_sources(rewards, {prompt.example.source for prompt in prompts})
    return phase_prompts(prompts, phases)


def _held_out(config: Config, renderer: Renderer, notes: list[str]) -> dict[int, Sequence[Prompt]]:
    rules = _rules(config, renderer, config.contexts[-1], strict_rewards(config))
    prompts, left_out = load(config.data, "held_out", rules)
    notes += left_out
    bands: dict[int, Sequence[Prompt]] = {}
    examples = config.evaluation.examples
    for lower, context in zip([0, *config.contexts], config.contexts, strict=False):
        band = within(prompts, lower, context)
        if not band:
            raise InputError(
                f"evaluation.contexts={config.contexts}: no example of data.held_out has more"
                f" than {lower} and at most {context} tokens"
                + ("" if config.evaluation.contexts else " (the stages' contexts: none are set)")
            )
        bands[context] = draw_held_out(band, examples, config.seed)
        for source, own in by_source(band).items():
            if len(own) > examples:
                notes.append(
                    f"evaluation at {context:,} tokens: {examples} of {len(own):,} questions of"
                    f" {source}, spread over them all (evaluation.examples={examples})"
                )
    return bands


def _rules(config: Config, renderer: Renderer, limit: int | None, rewards: Rewards) -> Rules:
    data = config.data
    return Rules(
        renderer,
        config.seed,
        data.on_error,
        data.deduplicate,
        limit,
        data.over_long,
        check=lambda example: check_rewards(rewards, [example]),
    )
