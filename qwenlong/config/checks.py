"""What an experiment may say: everything that no run could do is refused, key by key."""

from __future__ import annotations

import math

from qwenlong.config import (
    BuildConfig,
    Config,
    EngineConfig,
    JudgeConfig,
    RewardsConfig,
    RlStage,
    SourceConfig,
)
from qwenlong.config.stage_checks import check_stages
from qwenlong.rewards.hybrid import COMBINE, POLICIES, load_rule
from qwenlong.types import InputError, require

DTYPES = ("float32", "bfloat16")
OVER_LONG = ("drop", "middle", "keep_gold")
ON_ERROR = ("stop", "skip")
DISTRACTORS = ("hard", "random", "text")
ATTENTIONS = ("auto", "sdpa", "flex", "flash")
ADVANTAGES = ("group", "task", "leave_one_out")
ON_FAILURE = ("resume", "stop")
ACTIONS = {
    "non_finite": ("warn", "skip", "stop"),
    "engine_kl": ("warn", "skip", "stop"),
    "entropy": ("warn", "stop"),
    "reward": ("warn", "stop"),
    "disk": ("warn", "stop"),
    "memory": ("warn", "stop"),
}
"""Of each guard; what is known too late, or of many steps, leaves no update to skip."""
HEAD = 32
"""Widths of an attention head that vLLM has kernels for on the CPU are multiples of it."""
LOGGERS = ("tensorboard", "trackio", "wandb")


def check(config: Config) -> None:
    """Refuses what no run could do, as far as the configuration alone tells."""
    _check_values(config)
    tiny = config.policy.path == "tiny"
    right = "policy.path=tiny needs its native window in tokens"
    require(not tiny or config.policy.window is not None, "policy.window", "null", right)
    check_stages(config)
    longest = {"held_out": config.contexts[-1]}
    if config.phases:
        longest["train"] = config.phases[-1].context
    for part, context in longest.items():
        for i, source in enumerate(getattr(config.data, part)):
            _check_lengthen(f"data.{part}.{i}", source, context)


def _check_values(config: Config) -> None:
    rollout, evaluation, learner = config.rollout, config.evaluation, config.learner
    for key, name, known in (
        ("policy.dtype", config.policy.dtype, DTYPES),
        ("data.over_long", config.data.over_long, OVER_LONG),
        ("data.on_error", config.data.on_error, ON_ERROR),
        ("learner.attention", learner.attention, ATTENTIONS),
        ("learner.advantage", learner.advantage, ADVANTAGES),
        ("rewards.unjudged", config.rewards.unjudged, POLICIES),
        *((f"loggers.{i}", name, LOGGERS) for i, name in enumerate(config.loggers)),
    ):
        require(name in known, key, name, f"must be one of {', '.join(known)}")
    for key, count in (
        ("policy.window", config.policy.window or 1),
        ("learner.max_tokens", learner.max_tokens or 1),
        ("learner.data_ranks", learner.data_ranks),
        ("learner.sequence_ranks", learner.sequence_ranks),
        ("evaluation.examples", evaluation.examples),
        *((f"evaluation.contexts.{i}", n) for i, n in enumerate(evaluation.contexts)),
        ("checkpoint.every", config.checkpoint.every),
        ("checkpoint.keep", config.checkpoint.keep),
    ):
        require(count >= 1, key, count, "must be at least 1")
    # A temperature of 0 has no probabilities to train on.
    temperature = rollout.temperature
    require(0 < temperature < math.inf, "rollout.temperature", temperature, "must be above 0")
    temperature = evaluation.temperature
    require(temperature >= 0, "evaluation.temperature", temperature, "must be at least 0")
    for key, share in (
        ("learner.beta1", learner.beta1),
        ("learner.beta2", learner.beta2),
    ):
        require(0 <= share < 1, key, share, "must be in [0, 1)")
    for key, amount in (
        ("learner.cpus", learner.cpus),
        ("learner.threads", 1 if learner.threads is None else learner.threads),
        ("learner.max_grad_norm", learner.max_grad_norm),
        ("ray.object_store_gb", config.ray.object_store_gb or 1),
        ("evaluation.response", 1 if evaluation.response is None else evaluation.response),
        *((f"policy.tiny.{name}", n) for name, n in vars(config.policy.tiny).items()),
    ):
        require(amount > 0, key, amount, "must be above 0")
    tiny = config.policy.tiny
    right = f"must be a multiple of {HEAD} for each of its {tiny.heads} heads, as vLLM asks for"
    require(tiny.hidden % (HEAD * tiny.heads) == 0, "policy.tiny.hidden", tiny.hidden, right)
    require(learner.gpus >= 0, "learner.gpus", learner.gpus, "must be at least 0")
    for key, top_p in (("rollout", rollout.top_p), ("evaluation", evaluation.top_p)):
        require(0 < top_p <= 1, f"{key}.top_p", top_p, "must be above 0 and at most 1")
    for part in ("sft", "train", "held_out"):
        for i, source in enumerate(getattr(config.data, part)):
            _check_source(f"data.{part}.{i}", source)
            right = "is of built sets (qwenlong data build) alone; limit a source by examples"
            require(source.weight is None, f"data.{part}.{i}.weight", source.weight, right)
    _check_engine("rollout", rollout)
    _check_reliability(config)
    _check_learner(config)
    _check_rewards(config.rewards)


def _check_reliability(config: Config) -> None:
    failures, guards, rollout = config.failures, config.guards, config.rollout
    on_gpu = rollout.gpus > 0 or not rollout.batch_invariant
    right = "needs GPUs (rollout.gpus is 0), and is of no use without"
    require(on_gpu, "rollout.batch_invariant", rollout.batch_invariant, right)
    known = f"must be one of {', '.join(ON_FAILURE)}"
    action = config.learner.on_failure
    require(action in ON_FAILURE, "learner.on_failure", action, known)
    require(failures.restarts >= 0, "failures.restarts", failures.restarts, "must be at least 0")
    for name in ("period_s", "timeout_s"):
        seconds = getattr(failures, name)
        require(seconds > 0, f"failures.{name}", seconds, "must be above 0")
    for name, actions in ACTIONS.items():
        action, known = getattr(guards, name), f"must be one of {', '.join(actions)}"
        require(action in actions, f"guards.{name}", action, known)
    steps = guards.reward_zero_steps
    require(steps >= 1, "guards.reward_zero_steps", steps, "must be at least 1")
    for name in ("engine_kl_above", "entropy_below", "disk_gb", "memory_gb"):
        bound = getattr(guards, name)
        require(bound >= 0, f"guards.{name}", bound, "must be at least 0")


def check_build(config: BuildConfig) -> None:
    """Refuses what cannot be built, as far as the configuration alone tells."""
    require(bool(config.sources), "sources", [], "at least one is needed")
    for i, source in enumerate(config.sources):
        _check_source(f"sources.{i}", source)
        _check_lengthen(f"sources.{i}", source, config.context)
    for key, name, known in (
        ("over_long", config.over_long, OVER_LONG),
        ("on_error", config.on_error, ON_ERROR),
    ):
        require(name in known, key, name, f"must be one of {', '.join(known)}")
    for key, count in (("examples", config.examples), ("context", config.context)):
        require(count is None or count >= 1, key, count, "must be at least 1")
    require(0 <= config.held_out < 1, "held_out", config.held_out, "must be in [0, 1)")
    if config.examples is None:
        for i, source in enumerate(config.sources):
            right = "weights need examples, the number of all sources together"
            require(source.weight is None, f"sources.{i}.weight", source.weight, right)


def _check_source(key: str, source: SourceConfig) -> None:
    for name in ("examples", "lengthen", "max_tokens"):
        count = getattr(source, name)
        require(count is None or count >= 1, f"{key}.{name}", count, "must be at least 1")
    least = source.min_tokens
    require(least >= 0, f"{key}.min_tokens", least, "must be at least 0")
    kind, known = source.distractors, f"must be one of {', '.join(DISTRACTORS)}"
    require(kind in DISTRACTORS, f"{key}.distractors", kind, known)
    depth = source.depth
    require(depth is None or 0 <= depth <= 1, f"{key}.depth", depth, "must be from 0 to 1")
    weight = source.weight
    require(weight is None or weight > 0, f"{key}.weight", weight, "must be above 0")


def _check_lengthen(key: str, source: SourceConfig, context: int | None) -> None:
    fits = context is None or (source.lengthen or 0) <= context
    right = f"must not be beyond the longest context ({context})"
    require(fits, f"{key}.lengthen", source.lengthen, right)


def _check_engine(key: str, engine: EngineConfig) -> None:
    for name, count in (
        ("actors", engine.actors),
        ("tensor_parallel_size", engine.tensor_parallel_size),
    ):
        require(count >= 1, f"{key}.{name}", count, "must be at least 1")
    for name, amount in (
        ("cpus", engine.cpus),
        ("threads", 1 if engine.threads is None else engine.threads),
        ("kv_cache_gb", 1 if engine.kv_cache_gb is None else engine.kv_cache_gb),
    ):
        require(amount > 0, f"{key}.{name}", amount, "must be above 0")
    require(engine.gpus >= 0, f"{key}.gpus", engine.gpus, "must be at least 0")
    share = engine.gpu_memory_utilization
    require(0 <= share < 1, f"{key}.gpu_memory_utilization", share, "must be in [0, 1)")


def _check_rewards(rewards: RewardsConfig) -> None:
    judge, sources = rewards.judge, [reward.source for reward in rewards.by_source]
    for i, reward in enumerate(rewards.by_source):
        key = f"rewards.by_source.{i}"
        once = sources.count(reward.source) == 1
        require(once, f"{key}.source", reward.source, "must be named once")
        known = f"must be one of {', '.join(COMBINE)}"
        require(reward.combine in COMBINE, f"{key}.combine", reward.combine, known)
        if reward.rule is not None:
            try:
                load_rule(reward.rule)
            except InputError as error:
                raise InputError(f"{key}.{error}") from None
        can_judge = reward.combine == "rule" or judge.model is not None
        right = "needs a judge, but rewards.judge.model is not set"
        require(can_judge, f"{key}.combine", reward.combine, right)
    asked = any(reward.combine != "rule" for reward in rewards.by_source)
    right = "no rewards.by_source asks it; set combine there"
    require(asked or judge.model is None, "rewards.judge.model", judge.model, right)
    _check_judge(judge)


def _check_judge(judge: JudgeConfig) -> None:
    key = "rewards.judge"
    right = "must be named where rewards.judge has other keys"
    require(judge.model is not None or judge == JudgeConfig(), f"{key}.model", judge.model, right)
    if judge.url is not None:
        right = "must be an API's address such as http://localhost:8000/v1"
        is_address = judge.url.startswith(("http://", "https://"))
        require(is_address, f"{key}.url", judge.url, right)
        right = "is of a judge without rewards.judge.url"
        require(judge.engine == EngineConfig(), f"{key}.engine", judge.engine, right)
        taken = [name for name in ("model", "messages") if name in judge.extra]
        require(not taken, f"{key}.extra", judge.extra, f"must leave {' and '.join(taken)} alone")
    elif judge.model is not None:
        right = "needs rewards.judge.url; engines of the run have none of it"
        require(judge.key_env is None, f"{key}.key_env", judge.key_env, right)
        at_once = judge.concurrency == JudgeConfig.concurrency
        require(at_once, f"{key}.concurrency", judge.concurrency, right)
        template = judge.extra.get("chat_template_kwargs", {})
        right = "engines of the run take chat_template_kwargs alone, a mapping"
        only = judge.extra.keys() <= {"chat_template_kwargs"} and isinstance(template, dict)
        require(only, f"{key}.extra", judge.extra, right)
    require(judge.timeout_s > 0, f"{key}.timeout_s", judge.timeout_s, "must be above 0")
    for name in ("reply_tokens", "attempts", "concurrency", "max_calls", "max_tokens"):
        count = getattr(judge, name)
        allowed = count is None or count >= 1
        require(allowed, f"{key}.{name}", count, "must be at least 1")
    _check_engine(f"{key}.engine", judge.engine)


def _check_learner(config: Config) -> None:
    from qwenlong.learner.objectives import find_objective  # imports torch, which takes a while

    learner = config.learner
    find_objective(learner.objective)
    for name, stage in config.stages.items():
        longest = stage.context + stage.response if isinstance(stage, RlStage) else 0
        fits = learner.max_tokens is None or learner.max_tokens >= longest
        right = f"must hold a prompt and a response of stages.{name} ({longest} tokens)"
        require(fits, "learner.max_tokens", learner.max_tokens, right)
    options = ("clip_low", "clip_high", "kl_coefficient", "overlong_buffer", "lora_rank")
    for key in (*options, "weight_decay"):
        amount = getattr(learner, key) or 0
        require(amount >= 0, f"learner.{key}", amount, "must be at least 0")
    low = 0.0 if learner.clip_low is None else learner.clip_low
    require(low <= 1, "learner.clip_low", low, "must be at most 1: no ratio is below 0")
    buffer = learner.overlong_buffer
    for name, stage in config.stages.items():
        if isinstance(stage, RlStage):
            right = f"must be below stages.{name}.response ({stage.response})"
            require(buffer < stage.response, "learner.overlong_buffer", buffer, right)
    require(learner.lora_alpha > 0, "learner.lora_alpha", learner.lora_alpha, "must be above 0")
    on_gpu = learner.gpus > 0 or learner.attention in ("auto", "sdpa")
    require(on_gpu, "learner.attention", learner.attention, "needs a GPU (learner.gpus is 0)")
    half = learner.attention != "flash" or config.policy.dtype == "bfloat16"
    require(half, "learner.attention", learner.attention, "needs policy.dtype=bfloat16")
    cap = learner.importance_cap
    require(cap is None or cap > 0, "learner.importance_cap", cap, "must be above 0")
    high, least = learner.entropy_high, learner.entropy_low
    right = "learner.entropy_high and learner.entropy_low go together, the first above the second"
    ordered = high is None if least is None else high is not None and 0 <= least < high
    require(ordered, "learner.entropy_high", high, right)
    ratio = learner.mask_ratio
    require(ratio is None or ratio > 1, "learner.mask_ratio", ratio, "must be above 1")
