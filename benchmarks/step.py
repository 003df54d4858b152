"""A whole RL step on one prompt: ours (Ray actors, vLLM on the CPU) and TRL's GRPOTrainer.

A step generates G responses, scores them, learns from them and loads the new weights where the next
responses are generated. Ours is what a run uses, with the quickstart's settings: ``Workers`` with a
learner and one engine, which take turns on all cores. TRL's is ``GRPOTrainer.train`` with
transformers' ``generate``, which it uses without a vLLM server. It is tried with every size of
micro-batch that divides the group, and the fastest is compared; it always generates the whole group
at once. Both have the quickstart's policy (fp32, random weights), the same prompts, temperature,
AdamW and number of threads, and a reward that varies and costs nothing.

The policy's end-of-turn token lies outside its vocabulary, so neither side can sample it and every
response has exactly R tokens. The two sides run one after the other, in processes of their own. The
numbers are medians over the steps after the first.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks import common
from benchmarks.common import Point, console
from qwenlong.config import Config, LearnerConfig, PolicyConfig, RlStage, RolloutConfig
from qwenlong.train.metrics import Clock
from qwenlong.types import Example, Group, Limits, Prompt, Rope, Sampling, Score

if TYPE_CHECKING:
    from qwenlong.cluster.placement import Workers

PARTS = ("generate", "score", "learn", "load")
NEVER = "<|never|>"
LEARNING_RATE = 1e-6
Steps = list[dict[str, float]]
"""Seconds of each part, step by step."""


def never_ending_policy(folder: Path, window: int) -> str:
    """Writes a policy whose end-of-turn token is outside its vocabulary."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = common.build_policy(folder, window)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_special_tokens({"eos_token": NEVER})
    model = AutoModelForCausalLM.from_pretrained(path)
    assert tokenizer.eos_token_id >= model.config.vocab_size
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def prompt_texts(path: str, tokens: int, count: int) -> list[str]:
    """``count`` texts of exactly ``tokens`` tokens: words of one token each."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    found = sorted(token for token in tokenizer.get_vocab() if token[0] == "Ġ" and len(token) > 1)
    words = [f" {token[1:]}" for token in found]
    words = [word for word in words if len(tokenizer(word)["input_ids"]) == 1]
    rng = Random(0)
    texts = ["".join(rng.choices(words, k=tokens)) for _ in range(count)]
    assert all(len(tokenizer(text)["input_ids"]) == tokens for text in texts)
    return texts


def reward(response: Iterable[int]) -> float:
    """The share of even token ids."""
    return fmean(token % 2 == 0 for token in response)


def our_steps(path: str, point: Point, texts: list[str], threads: int, logs: Path) -> Steps:
    from transformers import AutoTokenizer

    from qwenlong.cluster.placement import start_ray, start_workers

    window = point.prompt + point.response
    config = Config(
        policy=PolicyConfig(path=path, dtype="float32", window=window),
        rollout=RolloutConfig(threads=threads, kv_cache_gb=0.5, temperature=1.0, top_p=1.0),
        learner=LearnerConfig(threads=threads),
    )
    tokenizer = AutoTokenizer.from_pretrained(path)
    rope = Rope(theta=config.policy.tiny.rope_theta, window=window)
    steps = []
    with (
        start_ray(config) as reserved,
        start_workers(config, reserved, path, rope, window, logs) as workers,
    ):
        for number, text in enumerate(texts):
            example = Example(str(number), "benchmark", "", (text,), ("",))
            prompt = Prompt(example, tuple(tokenizer(text)["input_ids"]))
            steps.append(our_step(workers, config, prompt, point, number))
            print_step(f"ours, step {number} of {len(texts) - 1}", steps[-1])
    return steps


def our_step(
    workers: Workers, config: Config, prompt: Prompt, point: Point, number: int
) -> dict[str, float]:
    """One turn of the loop in ``qwenlong.train.loop.phase``, without its files."""
    from qwenlong.rollout.requests import requests_of
    from qwenlong.train.batch import advantages_of, batch_of

    stage = RlStage(
        context=point.prompt, response=point.response, steps=1, batch=point.group,
        group=point.group, learning_rate=LEARNING_RATE,
    )  # fmt: skip
    sampling = Sampling(point.group, point.response)
    clock = Clock()
    (rollouts,) = workers.engines.generate(requests_of([prompt], number), sampling)
    clock.lap("rollout")
    assert all(len(each.response_ids) == point.response for each in rollouts)
    scores = tuple(Score(reward(each.response_ids.tolist()), "even") for each in rollouts)
    groups = [Group(prompt, rollouts, scores)]
    advantages = advantages_of(groups, stage, config.learner)
    clock.lap("score")
    workers.learner.step(batch_of(groups, advantages, number, stage, config, Limits()))
    clock.lap("learn")
    workers.engines.load(number + 1)
    clock.lap("load")
    taken = clock.taken()
    return {"generate": taken["rollout"], **{p: taken[p] for p in ("score", "learn", "load")}}


def trl_steps(path: str, point: Point, rows: int, texts: list[str]) -> Steps:
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOTrainer

    steps: Steps = []
    spent = {"rollout": 0.0, "score": 0.0, "began": 0.0}

    class Timed(GRPOTrainer):
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            started = time.perf_counter()
            made = super()._generate_and_score_completions(inputs)
            spent["rollout"] = time.perf_counter() - started
            return made

    class Watch(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            spent["began"] = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            whole = time.perf_counter() - spent["began"]
            step = {
                "generate": spent["rollout"] - spent["score"],
                "score": spent["score"],
                "learn": whole - spent["rollout"],
                "load": 0.0,  # it generates with the weights that it trains
            }
            print_step(f"TRL, {rows} rows at once, step {len(steps)} of {len(texts) - 1}", step)
            steps.append(step)

    def scored(completion_ids: list[list[int]], **_: Any) -> list[float]:
        started = time.perf_counter()
        assert all(len(each) == point.response for each in completion_ids)
        rewards = [reward(each) for each in completion_ids]
        spent["score"] = time.perf_counter() - started
        return rewards

    trainer = common.trl_trainer(
        path, point, rows, Timed,
        reward_funcs=scored, callbacks=[Watch()],
        train_dataset=Dataset.from_dict({"prompt": texts}), shuffle_dataset=False,
        max_steps=len(texts), save_strategy="no", learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return steps


def print_step(what: str, step: dict[str, float]) -> None:
    parts = ", ".join(f"{part} {step[part]:.2f}" for part in PARTS)
    console.print(f"{what}: {sum(step.values()):.2f} s ({parts})", highlight=False)


def medians(steps: Steps) -> dict[str, float]:
    """Medians over the steps after the first; ``step`` is that of the whole step."""
    timed = [{**step, "step": sum(step.values())} for step in steps[1:]]
    return {part: median(step[part] for step in timed) for part in (*PARTS, "step")}


def main(
    point: Annotated[str, typer.Option(help="prompt/response/group")] = "4096/128/8",
    steps: Annotated[int, typer.Option(help="timed steps of each side")] = 3,
    threads: common.Threads = 2,
) -> None:
    """Compares a whole RL step of ours with one of TRL's GRPOTrainer."""
    common.quiet()
    at = Point.read(point)
    with tempfile.TemporaryDirectory() as scratch:
        path = never_ending_policy(Path(scratch), at.prompt + at.response)
        texts = prompt_texts(path, at.prompt, steps + 1)

        def of_trl(rows: int, texts: list[str]) -> Steps:
            return common.in_new_process(trl_steps, path, at, rows, texts, threads=threads)

        tried = {n: medians(of_trl(n, texts[:2]))["step"] for n in common.divisors(at.group)}
        rows = min(tried, key=lambda rows: tried[rows])
        theirs = of_trl(rows, texts)
        mine = our_steps(path, at, texts, threads, Path(scratch))
    ours, trl = medians(mine), medians(theirs)
    ratio = trl["step"] / ours["step"]
    title = f"Seconds of one RL step, {at} (prompt/response/group), medians"
    columns = {"": "{side}", **{name: f"{{{name}:.3f}}" for name in ours}}
    sides = [{"side": "ours", **ours}, {"side": f"TRL, {rows} rows at once", **trl}]
    common.print_table(title, columns, sides)
    console.print(f"TRL's step takes {ratio:.2f} times as long")
    measured = {
        **vars(at),
        "ratio": ratio,
        "ours_s": ours,
        "trl_s": trl,
        "trl_rows": rows,
        "trl_tried_s": tried,
        "steps": {"ours": mine, "trl": theirs},
    }
    common.write_result("step", measured, threads)


if __name__ == "__main__":
    typer.run(main)
