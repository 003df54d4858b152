"""What must hold between keys of an experiment, section by section.

What a single key may be stands at its field (``keys.py``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from qwenlong.config import (
    TARGET_STEPS,
    TINY,
    UNTRAINED,
    BuildConfig,
    Config,
    EngineConfig,
    JudgeConfig,
    RewardsConfig,
    RlStage,
    SftStage,
    SourceConfig,
)
from qwenlong.types import InputError, require

HEAD = 32
"""vLLM's kernels for the CPU need attention heads whose width is a multiple of this."""
SOURCES_WITH_OTHERS = {"built", "chat", "jsonl"}
"""Sources whose rows may name another source as theirs."""


def check(config: Config) -> None:
    """
    Raises:
        InputError: no run could do what the experiment says, as far as its keys alone show.
    """
    _check_policy(config)
    _check_data(config)
    _check_rewards(config.rewards)
    _check_rollout(config)
    _check_stages(config)
    _check_learner(config)


def check_build(config: BuildConfig) -> None:
    """
    Raises:
        InputError: no set can be built so, as far as the keys alone show.
    """
    require(bool(config.sources), "sources", [], "at least one is needed")
    for i, source in enumerate(config.sources):
        _check_lengthen(f"sources.{i}", source, config.context)
        right = "weights need examples, the number of all sources together"
        weighs = source.weight is None or config.examples is not None
        require(weighs, f"sources.{i}.weight", source.weight, right)


def check_rope(config: Config, window: int) -> None:
    """
    Args:
        window: the policy's own, in tokens.

    Raises:
        InputError: a stage or the evaluation has rows that are longer than its RoPE allows.
    """
    for name, stage in config.stages.items():
        row = stage.context + (stage.response if isinstance(stage, RlStage) else 0)
        limit = int(window * stage.yarn_factor)
        if row > limit:
            raise InputError(
                f"stages.{name}.context={stage.context}: a row of {row} tokens is beyond the"
                f" {limit} that RoPE allows (window {window}, yarn_factor {stage.yarn_factor:g});"
                f" set yarn_factor >= {row / window:.4g}"
            )
    longest = config.contexts[-1] + (config.evaluation.response or config.longest_response)
    limit = int(window * max(stage.yarn_factor for stage in config.stages.values()))
    if longest > limit:
        raise InputError(
            f"evaluation.contexts={config.contexts}: a row of {longest} tokens, response included,"
            f" is beyond the {limit} that the largest yarn_factor of the stages allows"
        )


def _check_policy(config: Config) -> None:
    policy, tiny = config.policy, config.policy.tiny
    set_or_read = policy.window is not None or policy.path != TINY
    right = "policy.path=tiny needs its native window in tokens"
    require(set_or_read, "policy.window", "null", right)
    right = f"must be a multiple of {HEAD} for each of its {tiny.heads} heads, as vLLM requires"
    require(tiny.hidden % (HEAD * tiny.heads) == 0, "policy.tiny.hidden", tiny.hidden, right)


def _check_data(config: Config) -> None:
    longest = {"held_out": config.contexts[-1] if config.contexts else None}
    longest["train"] = config.phases[-1].context if config.phases else None
    for part in ("sft", "train", "held_out"):
        for i, source in enumerate(getattr(config.data, part)):
            key = f"data.{part}.{i}"
            right = "only built sets have weights (qwenlong data build); limit examples instead"
            require(source.weight is None, f"{key}.weight", source.weight, right)
            # SFT rows that are too long are left out, so that a source may serve several stages.
            _check_lengthen(key, source, longest.get(part))


def _check_lengthen(key: str, source: SourceConfig, context: int | None) -> None:
    fits = context is None or (source.lengthen or 0) <= context
    right = f"must not be beyond the longest context ({context})"
    require(fits, f"{key}.lengthen", source.lengthen, right)


def _check_rewards(rewards: RewardsConfig) -> None:
    judge, sources = rewards.judge, [reward.source for reward in rewards.by_source]
    for i, reward in enumerate(rewards.by_source):
        key = f"rewards.by_source.{i}"
        once = sources.count(reward.source) == 1
        require(once, f"{key}.source", reward.source, "must be named once")
        # A user's function may do without a judge.
        judged = reward.combine in ("judge", "max", "min", "mean")
        right = "needs a judge, but rewards.judge.model is not set"
        require(not judged or judge.model is not None, f"{key}.combine", reward.combine, right)
    asked = any(reward.combine != "rule" for reward in rewards.by_source)
    right = "no line of rewards.by_source asks the judge; set combine in one"
    require(asked or judge.model is None, "rewards.judge.model", judge.model, right)
    _check_judge(judge)


def _check_judge(judge: JudgeConfig) -> None:
    key = "rewards.judge"
    right = "must be named if rewards.judge has other keys"
    require(judge.model is not None or judge == JudgeConfig(), f"{key}.model", judge.model, right)
    if judge.url is not None:
        right = "must be an API's address such as http://localhost:8000/v1"
        is_address = judge.url.startswith(("http://", "https://"))
        require(is_address, f"{key}.url", judge.url, right)
        right = "only a judge without rewards.judge.url has engines"
        require(judge.engine == EngineConfig(), f"{key}.engine", judge.engine, right)
        taken = [name for name in ("model", "messages") if name in judge.extra]
        require(not taken, f"{key}.extra", judge.extra, f"must leave {' and '.join(taken)} alone")
    elif judge.model is not None:
        right = "needs rewards.judge.url; engines of the run do not use it"
        require(judge.key_env is None, f"{key}.key_env", judge.key_env, right)
        # vLLM batches all conversations of a step itself.
        default = judge.concurrency == JudgeConfig().concurrency
        require(default, f"{key}.concurrency", judge.concurrency, right)
        template = judge.extra.get("chat_template_kwargs", {})
        right = "engines of the run take chat_template_kwargs alone, a mapping"
        only = judge.extra.keys() <= {"chat_template_kwargs"} and isinstance(template, dict)
        require(only, f"{key}.extra", judge.extra, right)


def _check_rollout(config: Config) -> None:
    rollout = config.rollout
    on_gpu = rollout.gpus > 0 or not rollout.batch_invariant
    right = "needs GPUs, but rollout.gpus is 0"
    require(on_gpu, "rollout.batch_invariant", rollout.batch_invariant, right)


def _check_learner(config: Config) -> None:
    learner = config.learner
    for name, phase in _phases(config):
        # The smallest micro-batch is one response with its prompt.
        longest = phase.context + phase.response
        fits = learner.max_tokens is None or learner.max_tokens >= longest
        right = f"must hold a prompt and a response of stages.{name} ({longest} tokens)"
        require(fits, "learner.max_tokens", learner.max_tokens, right)
        buffer = learner.overlong_buffer
        right = f"must be below stages.{name}.response ({phase.response})"
        require(buffer < phase.response, "learner.overlong_buffer", buffer, right)
    # Neither FlexAttention's backward pass nor flash-attn runs on a CPU.
    on_gpu = learner.gpus > 0 or learner.attention in ("auto", "sdpa")
    require(on_gpu, "learner.attention", learner.attention, "needs a GPU, but learner.gpus is 0")
    half = learner.attention != "flash" or config.policy.dtype == "bfloat16"
    require(half, "learner.attention", learner.attention, "needs policy.dtype=bfloat16")
    high, low = learner.entropy_high, learner.entropy_low
    ordered = high is None if low is None else high is not None and low < high
    right = "learner.entropy_high and learner.entropy_low go together, the first above the second"
    require(ordered, "learner.entropy_high", high, right)


def _phases(config: Config) -> list[tuple[str, RlStage]]:
    return [(name, s) for name, s in config.stages.items() if isinstance(s, RlStage)]


def _check_stages(config: Config) -> None:
    require(bool(config.stages), "stages", {}, "at least one is needed")
    before: RlStage | None = None
    for name, stage in config.stages.items():
        key = f"stages.{name}"
        is_word = re.fullmatch(r"[\w-]+", name) and name != UNTRAINED
        require(bool(is_word), "stages", name, f"a name is a word, and not {UNTRAINED!r}")
        if isinstance(stage, SftStage):
            _check_names(f"{key}.sources", stage.sources, "data.sft", config.data.sft)
            _check_sft(key, stage, config.learner.processes)
            sampled = before is not None or stage.own_rollouts == 0
            right = "needs a phase before it, which samples them"
            require(sampled, f"{key}.own_rollouts", stage.own_rollouts, right)
            continue
        _check_names(f"{key}.mix", stage.mix, "data.train", config.data.train)
        _check_phase(key, stage, config.learner.importance_cap)
        shortest = before.context if before else 0
        right = f"must not be shorter than the phase before it ({shortest})"
        require(stage.context >= shortest, f"{key}.context", stage.context, right)
        # Phases of equal context share their lengths; a shorter one would have none of its own.
        before = stage
    answered = before is not None or config.evaluation.response is not None
    right = "must be set if there is no stage of kind: rl, which has a response"
    require(answered, "evaluation.response", config.evaluation.response, right)


def _check_names(
    key: str, names: Collection[str], where: str, sources: Sequence[SourceConfig]
) -> None:
    """Names of sources, as far as they are known before files are read."""
    known = {source.source for source in sources}
    unknown = sorted(set(names) - known)
    if unknown and not known & SOURCES_WITH_OTHERS:
        there = ", ".join(sorted(known)) or "no source"
        raise InputError(f"{key}={unknown[0]}: {where} has {there}")


def _check_sft(key: str, stage: SftStage, processes: int) -> None:
    micro = stage.batch if stage.micro_batch is None else stage.micro_batch
    right = f"must divide batch ({stage.batch})"
    require(stage.batch % micro == 0, f"{key}.micro_batch", micro, right)
    # Every process takes the same number of rows.
    right = f"must be a multiple of the learner's {processes} processes"
    require(micro % processes == 0, f"{key}.micro_batch", micro, right)


def _check_phase(key: str, phase: RlStage, importance_cap: float | None) -> None:
    right = f"must be a multiple of group ({phase.group}): it counts rollouts"
    require(phase.batch % phase.group == 0, f"{key}.batch", phase.batch, right)
    mini = phase.batch if phase.mini_batch is None else phase.mini_batch
    right = f"must be a multiple of group ({phase.group}) and divide batch ({phase.batch})"
    fits = mini % phase.group == 0 and phase.batch % mini == 0
    require(fits, f"{key}.mini_batch", mini, right)
    right = f"needs at least {TARGET_STEPS} steps, over which the reward is averaged"
    fits = phase.target is None or phase.steps >= TARGET_STEPS
    require(fits, f"{key}.target", phase.target, right)
    # A group that waited was sampled by an older policy; only importance weights correct for that.
    waits = phase.refill > 0 and phase.staleness > 0
    right = "groups that wait need learner.importance_cap, which weighs them; or staleness=0"
    require(not waits or importance_cap is not None, f"{key}.staleness", phase.staleness, right)
    sampler = phase.sampler
    alone = sampler.draw is None or not (sampler.balance or phase.mix)
    right = "draws in place of balance and mix; leave these out"
    require(alone, f"{key}.sampler.draw", sampler.draw, right)
