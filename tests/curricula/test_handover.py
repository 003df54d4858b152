"""What a run prepares for its phases: bands, mixes, and what earlier phases leave to replay."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qwenlong.config.reading import load_config
from qwenlong.curricula.curriculum import Curriculum
from qwenlong.train.inputs import Inputs, read_inputs
from qwenlong.types import InputError, Prompt
from tests.curricula.made import group, ids

FACTS = {"source": "facts", "min_tokens": 40}
RECITAL = {"source": "recital", "examples": 30, "min_tokens": 6, "max_tokens": 30}


@pytest.fixture(scope="module")
def prepared_of(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory):
    def prepared(**stages: dict) -> Inputs:
        folder = tmp_path_factory.mktemp("experiment")
        first = {"kind": "rl", "response": 8, "steps": 3, "batch": 8, "group": 4}
        named = {name: {"kind": "rl", **stage} for name, stage in stages.items()}
        name = next(iter(named))
        experiment = {
            "policy": {"path": str(tiny_policy), "dtype": "float32"},
            "data": {
                "train": [{**FACTS, "examples": 120, "max_tokens": 200}, RECITAL],
                "held_out": [{**FACTS, "examples": 20, "max_tokens": 200}],
            },
            "stages": {**named, name: {**first, **named[name]}},
        }
        (folder / "mine.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False))
        return read_inputs(load_config(folder / "mine.yaml"), folder)

    return prepared


def lengths(prompts: list[Prompt]) -> tuple[int, int]:
    every = [len(prompt.ids) for prompt in prompts]
    return min(every), max(every)


def test_bands_and_all_that_is_shorter(prepared_of) -> None:
    prepared = prepared_of(
        one={"context": 120},
        two={"context": 180},
        same={"context": 180},
        wide={"context": 240, "lengths": "up_to"},
    )
    one, two, same, wide = (list(prepared.phase_prompts[k]) for k in prepared.phase_prompts)
    assert lengths(one)[1] <= 120
    assert lengths(two)[0] > 120 and lengths(two)[1] <= 180
    # Phases of the same context share their band.
    assert ids(same) == ids(two)
    assert lengths(wide)[0] == lengths(one)[0] and 180 < lengths(wide)[1] <= 240
    assert set(ids(wide)) > set(ids(one)) | set(ids(two))
    assert len(set(ids(wide))) == len(wide)
    assert prepared.earlier_prompts("one") == []
    assert ids(prepared.earlier_prompts("two")) == ids(one)
    # What comes back may be of the phase's own lengths, too.
    assert ids(prepared.earlier_prompts("same")) == ids(one) + ids(two)
    assert ids(prepared.earlier_prompts("wide")) == ids(one) + ids(two)


def test_a_mix_leaves_sources_out(prepared_of) -> None:
    prepared = prepared_of(
        one={"context": 160, "mix": {"recital": 1.0}},
        two={"context": 160, "mix": {"recital": 1.0, "facts": 1.0}},
    )
    assert {p.example.source for p in prepared.phase_prompts["one"]} == {"recital"}
    assert {p.example.source for p in prepared.phase_prompts["two"]} == {"recital", "facts"}
    assert {p.example.source for p in prepared.earlier_prompts("two")} == {"recital"}


def test_a_source_of_other_lengths_is_refused(prepared_of) -> None:
    with pytest.raises(InputError, match=r"stages\.two\.mix\.recital=2\.0: no example"):
        prepared_of(one={"context": 190}, two={"context": 240, "mix": {"recital": 2.0}})


def test_phase_two_replays_what_phase_one_has_trained_on(prepared_of) -> None:
    prepared = prepared_of(one={"context": 120}, two={"context": 240, "sampler": {"replay": 0.5}})
    first, second = (
        Curriculum(
            prepared.config.phases[i],
            prepared.config.learner,
            prepared.phase_prompts[name],
            prepared.earlier_prompts(name),
            f"0 {name}",
        )
        for i, name in enumerate(("one", "two"))
    )
    trained: set[str] = set()
    for version in range(3):
        first.start_step(version)
        drawn = first.draw()
        trained |= set(ids(drawn))
        first.observe([group(each, [0.0, 1.0, 0.0, 0.0], version) for each in drawn])
        first.finish_step()
    second.continue_from(first.state())
    second.start_step(3)
    drawn = second.draw()
    assert len(drawn) == 2
    old = [each for each in drawn if len(each.ids) <= 120]
    assert len(old) == 1 and set(ids(old)) <= trained
