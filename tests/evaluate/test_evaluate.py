"""Held-out questions: which are drawn, and how accuracy is counted by source and context."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
import yaml

from qwenlong.config.reading import load_config
from qwenlong.evaluate.evaluate import accuracies, draw_held_out, mean_over_sources
from qwenlong.train.inputs import Inputs, read_inputs
from qwenlong.train.metrics import add_stage
from qwenlong.types import Example, Group, Prompt, Score
from tests.arrays import rollout


def prompts(source: str, count: int) -> list[Prompt]:
    return [
        Prompt(Example(f"{source}-{i}", source, "Who?", ("Ann.",), ("Ann",)), (7,))
        for i in range(count)
    ]


def ids(drawn: list[Prompt]) -> list[str]:
    return [prompt.example.id for prompt in drawn]


def group(source: str, *values: float) -> Group:
    (prompt,) = prompts(source, 1)
    rollouts = tuple(rollout([1], [-1.0]) for _ in values)
    return Group(prompt, rollouts, tuple(Score(value, "exact") for value in values))


def test_a_source_behind_the_others_is_drawn_as_well() -> None:
    drawn = draw_held_out([*prompts("first", 500), *prompts("second", 30)], 20, seed=0)
    sources = [prompt.example.source for prompt in drawn]
    assert sources == ["first"] * 20 + ["second"] * 20


def test_a_draw_is_spread_over_the_whole_source_and_kept_in_order() -> None:
    drawn = draw_held_out(prompts("mine", 1003), 100, seed=0)
    places = [int(each.split("-")[1]) for each in ids(drawn)]
    assert places == sorted(set(places)) and len(places) == 100
    # One of every tenth part of the source, up to rounding.
    assert all(1003 * i // 100 <= place < 1003 * (i + 1) // 100 for i, place in enumerate(places))
    assert ids(draw_held_out(prompts("mine", 1003), 100, seed=0)) == ids(drawn)
    assert ids(draw_held_out(prompts("mine", 1003), 100, seed=1)) != ids(drawn)


def test_every_place_may_be_drawn() -> None:
    drawn = {name for seed in range(200) for name in ids(draw_held_out(prompts("a", 10), 3, seed))}
    assert drawn == set(ids(prompts("a", 10)))


@pytest.mark.parametrize("examples", [5, 6, 200])
def test_what_fits_is_taken_whole_and_in_its_order(examples: int) -> None:
    own = [x for pair in zip(prompts("a", 5), prompts("b", 5), strict=True) for x in pair]
    assert draw_held_out(own, examples, seed=3) == own


def test_accuracy_is_by_source_and_context_and_the_mean_is_unweighted() -> None:
    evaluated = {
        64: [group("a", 1.0), group("a", 0.0), group("b", 1.0), group("a", 0.5), group("a", 0.0)],
        128: [group("a", 1.0)],
    }
    by_source = accuracies(evaluated)
    assert by_source == {
        "a": {"64": {"value": 0.25, "n": 4}, "128": {"value": 1.0, "n": 1}},
        "b": {"64": {"value": 1.0, "n": 1}},
    }
    assert mean_over_sources(by_source) == {
        "64": {"value": 0.625, "n": 5}, "128": {"value": 1.0, "n": 1},
    }  # fmt: skip


def test_the_mean_of_one_source_is_its_accuracy() -> None:
    evaluated = {8: [group("a", *(float(i % 3 == 0) for i in range(n))) for n in (1, 2, 4, 7)]}
    assert mean_over_sources(accuracies(evaluated)) == accuracies(evaluated)["a"]


def inputs_of(folder: Path, policy: Path, examples: int) -> Inputs:
    """Two held-out sets of 30 short questions and 3 long ones each, one file after the other."""
    rng = Random(0)

    def text(words: int) -> str:
        return " ".join("".join(rng.choices("aeiouklmnst", k=3)) for _ in range(words))

    for name in ("first", "second"):
        words = [20] * 30 + [60] * 3
        lines = [
            {"id": f"{name}-{i}", "question": "Who?", "context": text(n), "answer": "Ann"}
            for i, n in enumerate(words)
        ]
        rows = (f"{json.dumps({**line, 'source': name})}\n" for line in lines)
        (folder / f"{name}.jsonl").write_text("".join(rows))
    experiment = {
        "policy": {"path": str(policy), "dtype": "float32"},
        "data": {
            "train": [{"source": "facts", "examples": 40, "min_tokens": 40, "max_tokens": 200}],
            "held_out": [
                {"source": "jsonl", "path": str(folder / f"{name}.jsonl")}
                for name in ("first", "second")
            ],
            "deduplicate": False,
        },
        "stages": {
            "one": {"kind": "rl", "context": 150, "response": 8, "steps": 1, "batch": 8, "group": 4}
        },
        "evaluation": {"contexts": [150, 240], "examples": examples},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False))
    return read_inputs(load_config(folder / "mine.yaml"), folder)


def test_a_run_evaluates_each_source_at_each_context_and_says_what_it_left_out(
    tmp_path: Path, tiny_policy: Path
) -> None:
    inputs = inputs_of(tmp_path, tiny_policy, examples=10)
    counts = {
        context: {name: sum(p.example.source == name for p in own) for name in ("first", "second")}
        for context, own in inputs.held_out.items()
    }
    assert counts == {150: {"first": 10, "second": 10}, 240: {"first": 3, "second": 3}}
    notes = [note for note in inputs.notes if note.startswith("evaluation")]
    assert notes == [
        f"evaluation at 150 tokens: 10 of 30 questions of {name}, spread over them all"
        " (evaluation.examples=10)"
        for name in ("first", "second")
    ]


def test_a_run_that_evaluates_everything_says_nothing(tmp_path: Path, tiny_policy: Path) -> None:
    inputs = inputs_of(tmp_path, tiny_policy, examples=30)
    assert [len(own) for own in inputs.held_out.values()] == [60, 6]
    assert not [note for note in inputs.notes if note.startswith("evaluation")]


def test_a_summary_has_sources_and_mean_beside_stages_of_earlier_versions() -> None:
    old = {"name": "untrained", "kind": "untrained", "accuracy": {"64": {"value": 0.0, "n": 9}}}
    accuracy = accuracies({64: [group("a", 1.0), group("b", 0.0), group("b", 0.0)]})
    summary = add_stage({"stages": [old]}, "one", "rl", accuracy, [], 2.5)
    assert summary["stages"][0] == old
    new = json.loads(json.dumps(summary))["stages"][1]
    assert new["accuracy"] == {"64": {"value": 0.5, "n": 3}}
    assert new["accuracy_by_source"] == {
        "a": {"64": {"value": 1.0, "n": 1}}, "b": {"64": {"value": 0.0, "n": 2}},
    }  # fmt: skip
