"""All that a run needs before any actor starts: checked, read, rendered, counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from qwenlong.checks import check_rope
from qwenlong.config import Config, RlStage, SftStage, SourceConfig
from qwenlong.curricula.phases import length_band
from qwenlong.data.load import read_examples, render
from qwenlong.data.prompts import Renderer, training_texts
from qwenlong.judging import STRICT, JudgePolicy, judge_policy, rules_of
from qwenlong.learner.sft import SftRow
from qwenlong.model.policy import chat_tokenizer, check_policy, native_rope
from qwenlong.model.tiny import build_tiny
from qwenlong.rewards.hybrid import Rewards, check_sources
from qwenlong.rewards.hybrid import check as check_rewards
from qwenlong.types import Example, InputError, Prompt, Rope, Split

TINY = "tiny"
TOKENIZER_EXAMPLES = 500
"""Examples of each source that a tiny policy's tokenizer is trained on."""


@dataclass(frozen=True)
class Prepared:
    """A run's data in tokens of its policy. Keys are stage names, and contexts in tokens."""

    config: Config
    policy: str
    rope: Rope
    """The native one."""
    sft_rows: Mapping[str, Sequence[SftRow]]
    phase_prompts: Mapping[str, Sequence[Prompt]]
    held_out: Mapping[int, Sequence[Prompt]]
    judge: JudgePolicy | None
    """What the engines of a judge serve, if the run has them."""
    notes: Sequence[str]
    """What was dropped or cut, in words."""

    @property
    def ropes(self) -> list[Rope]:
        """Every RoPE of the run, the least stretched first."""
        ropes = {self.rope_of(stage) for stage in self.config.stages.values()}
        return sorted(ropes | {self.rope}, key=lambda rope: rope.factor)

    def rope_of(self, stage: SftStage | RlStage) -> Rope:
        factor = stage.yarn_factor if isinstance(stage, RlStage) else 1.0
        return replace(self.rope, factor=factor)

    def rope_for(self, row: int, current: Rope) -> Rope:
        """The RoPE to evaluate rows of ``row`` tokens: the current one, stretched if it must be.

        Longer rows than any phase reaches get the most stretched one.
        """
        reaching = [rope for rope in (current, *self.ropes) if row <= rope.limit]
        return reaching[0] if reaching else self.ropes[-1]

    @property
    def longest_row(self) -> int:
        contexts = [*self.config.contexts, *(stage.context for stage in self.config.phases)]
        return max(contexts) + self.config.longest_response

    def phase_number(self, name: str) -> int | None:
        """1 for the first RL phase; None for a stage that is none."""
        phases = [n for n, stage in self.config.stages.items() if isinstance(stage, RlStage)]
        return phases.index(name) + 1 if name in phases else None

    def steps(self, name: str) -> int:
        """Optimizer updates of an SFT stage, rollout batches of a phase."""
        stage = self.config.stages[name]
        if isinstance(stage, RlStage):
            return stage.steps
        return math.ceil(stage.epochs * math.ceil(len(self.sft_rows[name]) / stage.batch))

    def tokens(self, name: str) -> float:
        """Tokens of a step, in the mean; responses of RL are taken to be as long as they may."""
        stage = self.config.stages[name]
        if isinstance(stage, SftStage):
            rows = self.sft_rows[name]
            return stage.batch * fmean(len(prompt) + len(answer) for prompt, answer in rows)
        prompt = fmean(len(prompt.ids) for prompt in self.phase_prompts[name])
        return stage.batch / stage.group * prompt + stage.batch * stage.response


def prepare(config: Config, scratch: Path) -> Prepared:
    """Reads everything; a policy that has to be built is built in ``scratch``.

    Raises:
        InputError: whatever of the user's input is wrong.
    """
    if config.policy.window is not None:
        check_rope(config, config.policy.window)
    policy = _policy(config, scratch)
    rope = native_rope(policy, config.policy.window)
    check_policy(policy, config.learner.sequence_ranks)
    check_rope(config, rope.window)
    judge = judge_policy(config.rewards.judge)
    renderer = Renderer(chat_tokenizer(policy))
    notes: list[str] = []
    sft = _sft_rows(config, renderer, notes)
    phases = _phase_prompts(config, renderer, notes)
    held_out = _held_out(config, renderer, notes)
    return Prepared(config, policy, rope, sft, phases, held_out, judge, notes)


def _policy(config: Config, scratch: Path) -> str:
    if config.policy.path != TINY:
        return config.policy.path
    if config.policy.window is None:
        raise InputError("policy.window=null: policy.path=tiny needs its native window in tokens")
    texts: list[str] = []
    for key, sources in (("data.sft", config.data.sft), ("data.train", config.data.train)):
        few = [
            replace(spec, examples=min(spec.examples or TOKENIZER_EXAMPLES, TOKENIZER_EXAMPLES))
            for spec in sources
        ]
        # There is no tokenizer yet to count with; words will do to choose its training texts.
        examples = read_examples(few, key, "train", lambda text: len(text.split()), config.seed)
        texts += training_texts(examples)
    folder = scratch / TINY
    build_tiny(folder, texts, config.policy.tiny, config.policy.window, config.seed)
    return str(folder)


def _sft_rows(config: Config, renderer: Renderer, notes: list[str]) -> dict[str, list[SftRow]]:
    stages = {n: s for n, s in config.stages.items() if isinstance(s, SftStage)}
    if not stages:
        return {}
    examples = _read(config, config.data.sft, "data.sft", renderer)
    for example in examples:
        if not example.reasoning:
            raise InputError(
                f"data.sft: example {example.id!r} has no reasoning, which SFT imitates"
            )
    for name, stage in stages.items():
        unknown = set(stage.sources) - {example.source for example in examples}
        if unknown:
            raise InputError(
                f"stages.{name}.sources={stage.sources}: data.sft has no source"
                f" {', '.join(sorted(unknown))}"
            )
    pairs = [(e.source, (renderer.prompt(e).ids, renderer.solution(e))) for e in examples]
    rows: dict[str, list[SftRow]] = {}
    for name, stage in stages.items():
        own = [pair for source, pair in pairs if source in (stage.sources or [source])]
        rows[name] = [row for row in own if len(row[0]) + len(row[1]) <= stage.context]
        if len(rows[name]) < stage.batch:
            raise InputError(
                f"stages.{name}.context={stage.context}: {len(rows[name])} rows of data.sft fit"
                f" it, fewer than batch ({stage.batch})"
            )
        left_out = len(own) - len(rows[name])
        if left_out:
            notes.append(f"{name}: {left_out} of {len(own)} rows are longer than its context")
    return rows


def _phase_prompts(
    config: Config, renderer: Renderer, notes: list[str]
) -> dict[str, Sequence[Prompt]]:
    """Phase k draws lengths in (L(k-1), L(k)]; phases of the same context share their band."""
    phases = {n: s for n, s in config.stages.items() if isinstance(s, RlStage)}
    rewards = rules_of(config.rewards)
    examples = _read(config, config.data.train, "data.train", renderer, rewards)
    check_sources(rewards, {example.source for example in examples})
    limit = max(phase.context for phase in phases.values())
    prompts = _rendered(config, examples, "data.train", limit, renderer, notes)
    bands: dict[str, Sequence[Prompt]] = {}
    for name, phase in phases.items():
        lower = max((s.context for s in phases.values() if s.context < phase.context), default=0)
        bands[name] = length_band(prompts, lower, phase.context, name)
    return bands


def _held_out(config: Config, renderer: Renderer, notes: list[str]) -> dict[int, Sequence[Prompt]]:
    examples = _read(config, config.data.held_out, "data.held_out", renderer)
    limit = config.contexts[-1]
    prompts = _rendered(config, examples, "data.held_out", limit, renderer, notes)
    bands: dict[int, Sequence[Prompt]] = {}
    for lower, context in zip([0, *config.contexts], config.contexts, strict=False):
        band = [prompt for prompt in prompts if lower < len(prompt.ids) <= context]
        if not band:
            raise InputError(
                f"evaluation.contexts={config.contexts}: no example of data.held_out has more"
                f" than {lower} and at most {context} tokens"
            )
        bands[context] = band[: config.evaluation.examples]
    return bands


def _read(
    config: Config,
    sources: Sequence[SourceConfig],
    key: str,
    renderer: Renderer,
    rewards: Rewards = STRICT,
) -> list[Example]:
    split: Split = "held_out" if key == "data.held_out" else "train"
    examples = read_examples(sources, key, split, renderer.count_tokens, config.seed)
    try:
        check_rewards(rewards, examples)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
    return examples


def _rendered(
    config: Config,
    examples: Sequence[Example],
    key: str,
    limit: int,
    renderer: Renderer,
    notes: list[str],
) -> Sequence[Prompt]:
    rendered = render(examples, renderer, limit, config.data.over_long)
    for count, fate in ((rendered.dropped, "dropped"), (rendered.cut, "cut in the middle")):
        if count:
            notes.append(
                f"{key}: {count} of {len(examples)} are longer than {limit} tokens and were {fate}"
                f" (data.over_long={config.data.over_long})"
            )
    return rendered.prompts
