"""Built sets: what is asked for is there, once, the same every time, and nothing vanishes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from qwenlong.config import BuildConfig, DataConfig, SourceConfig
from qwenlong.data import built
from qwenlong.data.build import build
from qwenlong.data.pipeline import load
from qwenlong.data.prompts import Renderer
from qwenlong.data.rules import Rules
from qwenlong.rewards.registry import verifier
from qwenlong.types import Example, InputError

WORDS = [f"{a}{b}" for a in ("bara", "delo") for b in ("fim", "gus", "kol", "nir", "pez")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus of running text, questions over documents of a folder, and a file with faults."""
    lines = [
        f"{'. '.join(f'Once the {a} {b} stood by the {c} {i}' for c in WORDS)}.\n\n"
        for i, (a, b) in enumerate((a, b) for a in WORDS for b in WORDS)
    ]
    (tmp_path / "corpus.txt").write_text("".join(lines))
    rows = [question(i) for i in range(40)]
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    faulty = [
        json.dumps(rows[0]),
        "{",
        json.dumps({**rows[1], "answers": ["many"], "kind": "numeric"}),
        json.dumps(rows[2]),
    ]
    (tmp_path / "faulty.jsonl").write_text("".join(f"{line}\n" for line in faulty))
    return tmp_path


def question(i: int) -> dict[str, Any]:
    return {
        "id": f"q{i}",
        "question": f"How many boats has harbour {i}?",
        "documents": [f"Harbour {i} has {1000 + i} boats.", f"The mayor of place {i} likes wool."],
        "answers": [str(1000 + i)],
        "kind": "numeric",
    }


@pytest.fixture
def rules(tokenizer: PreTrainedTokenizerBase) -> Rules:
    return Rules(Renderer(tokenizer), seed=0, check=verifier)


def config(folder: Path, *sources: SourceConfig, **rest: Any) -> BuildConfig:
    return BuildConfig("tiny", list(sources or (mine(folder), needles(folder))), **rest)


def mine(folder: Path, **rest: Any) -> SourceConfig:
    return SourceConfig("documents", str(folder / "mine.jsonl"), **rest)


def needles(folder: Path, **rest: Any) -> SourceConfig:
    corpus = str(folder / "corpus.txt")
    return SourceConfig("needles", corpus=corpus, **{"examples": 30, "max_tokens": 450, **rest})


def made(config: BuildConfig, rules: Rules, out: Path) -> dict[str, Any]:
    return build(config, rules, out, lambda split, source, done: None)


def examples(out: Path, split: str = "train") -> list[Example]:
    return [built.example_of(row) for _, row in built.rows(out / f"{split}.parquet")]  # type: ignore[misc]


def test_what_is_asked_for_is_there(folder: Path, rules: Rules) -> None:
    spec = config(folder, mine(folder, weight=3), needles(folder, weight=1), examples=40)
    manifest = made(spec, rules, folder / "out")
    assert manifest["splits"]["train"]["examples"] == 40
    assert [source["splits"]["train"]["taken"] for source in manifest["sources"]] == [30, 10]
    found = examples(folder / "out")
    assert [each.source for each in found] == ["mine"] * 30 + ["needles"] * 10
    for each in found:
        verifier(each)
    first = found[0]
    assert first.documents[0] == "Harbour 0 has 1000 boats." and first.answers == ("1000",)


def test_the_same_seed_gives_the_same_bytes(folder: Path, rules: Rules) -> None:
    spec = config(folder, mine(folder, lengthen=400, distractors="random"), needles(folder))
    one, two = (made(spec, rules, folder / name) for name in ("one", "two"))
    assert one == two
    for name in ("train.parquet", built.MANIFEST):
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()
    other = made(spec, replace(rules, seed=1), folder / "three")
    assert other["splits"]["train"]["sha256"] != one["splits"]["train"]["sha256"]


def test_lengths_are_exact_and_come_back_the_same(folder: Path, rules: Rules) -> None:
    spec = config(
        folder, mine(folder, lengthen=500, distractors="text", corpus=str(folder / "corpus.txt"))
    )
    made(spec, rules, folder / "out")
    for _, row in built.rows(folder / "out" / "train.parquet"):  # type: ignore[misc]
        assert 490 <= row["tokens"] <= 500
        again = rules.renderer.prompt(built.example_of(row))
        assert len(again.ids) == row["tokens"]
        gold = row["gold_documents"]
        assert any(row["answers"][0] in row["documents"][i] for i in gold)


def test_a_set_that_is_there_is_left_as_it_is(folder: Path, rules: Rules) -> None:
    out = folder / "out"
    first = made(config(folder), rules, out)
    written = (out / "train.parquet").stat().st_mtime_ns
    assert made(config(folder), rules, out) == first
    assert (out / "train.parquet").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="holds another set"):
        made(config(folder, examples=5), rules, out)
    (folder / "mine.jsonl").write_text(json.dumps(question(1)))
    with pytest.raises(InputError, match="holds another set"):
        made(config(folder), rules, out)


def test_held_out_groups_are_apart(folder: Path, rules: Rules) -> None:
    out = folder / "out"
    manifest = made(config(folder, held_out=0.25), rules, out)
    train, held_out = examples(out), examples(out, "held_out")
    assert manifest["splits"]["held_out"]["examples"] == len(held_out)
    own = [{each.id for each in part if each.source == "mine"} for part in (train, held_out)]
    assert own[0] | own[1] == {f"mine:{i}" for i in range(1, 41)} or len(own[0] | own[1]) == 40
    assert not own[0] & own[1] and len(own[1]) == 10
    # A text that was cut to fill may be down to its first words.
    texts = [
        {text for each in part for text in each.documents if len(text) > 40}
        for part in (train, held_out)
    ]
    assert texts[0] & texts[1] == set()


def test_nothing_vanishes(folder: Path, rules: Rules) -> None:
    faulty = SourceConfig("documents", str(folder / "faulty.jsonl"))
    with pytest.raises(
        InputError, match=r"^sources\.0: .*faulty\.jsonl:2: not JSON.*on_error=skip"
    ):
        made(config(folder, faulty), rules, folder / "out")
    assert not list(folder.glob("out*"))
    manifest = made(config(folder, faulty), replace(rules, on_error="skip"), folder / "out")
    became = manifest["sources"][0]["splits"]["train"]
    assert became["taken"] == 2 and sum(became["left_out"].values()) == 2
    assert any("not JSON" in reason for reason in became["left_out"])
    assert any("must be a number" in reason for reason in became["left_out"])


def test_repeated_examples_are_left_out(folder: Path, rules: Rules) -> None:
    twice = (mine(folder), mine(folder))
    manifest = made(config(folder, mine(folder)), replace(rules, deduplicate=True), folder / "one")
    assert manifest["splits"]["train"]["examples"] == 40
    rows = [question(0), {**question(0), "id": "again"}]
    (folder / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    manifest = made(config(folder, twice[0]), replace(rules, deduplicate=True), folder / "two")
    assert manifest["splits"]["train"]["examples"] == 1
    assert manifest["sources"][0]["splits"]["train"]["left_out"] == {
        "repeats an earlier example": 1
    }


def test_bounds_and_context(folder: Path, rules: Rules) -> None:
    lengths = sorted(len(rules.renderer.prompt(each).ids) for each in own_examples(folder, rules))
    bound = lengths[len(lengths) // 2]
    manifest = made(config(folder, mine(folder, max_tokens=bound)), rules, folder / "short")
    assert manifest["splits"]["train"]["longest"] <= bound
    left_out = manifest["sources"][0]["splits"]["train"]["left_out"]
    assert sum(left_out.values()) == 40 - manifest["splits"]["train"]["examples"]
    cut = replace(rules, context=bound, over_long="middle")
    manifest = made(config(folder, mine(folder)), cut, folder / "cut")
    assert manifest["splits"]["train"]["examples"] == 40
    assert manifest["splits"]["train"]["longest"] <= bound


def own_examples(folder: Path, rules: Rules) -> Sequence[Example]:
    prompts, _ = load(DataConfig(train=[mine(folder)]), "train", rules)
    return [prompt.example for prompt in prompts]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (SourceConfig("tatq"), r"sources\.0\.source=tatq: must be one of .*tatqa"),
        (SourceConfig("tatqa", path="/no/such"), r"sources\.0: .*/no/such"),
        (SourceConfig("needles", examples=3, max_tokens=450), r"sources\.0\.corpus=null"),
    ],
)
def test_a_source_that_cannot_be_read_leaves_nothing(
    source: SourceConfig, told: str, folder: Path, rules: Rules
) -> None:
    with pytest.raises(InputError, match=told):
        made(config(folder, source), rules, folder / "out")
    assert not list(folder.glob("out*"))


def test_too_few_for_a_weight(folder: Path, rules: Rules) -> None:
    spec = config(folder, mine(folder, weight=9), needles(folder, weight=1), examples=500)
    with pytest.raises(InputError, match=r"sources\.0\.weight=9: asks for 450 examples .* has 40"):
        made(spec, rules, folder / "out")


def test_a_built_set_is_a_source_and_is_checked(folder: Path, rules: Rules) -> None:
    out = folder / "out"
    made(config(folder, held_out=0.25), rules, out)
    source = SourceConfig("built", str(out))
    data = DataConfig(train=[source], held_out=[source])
    train, _ = load(data, "train", rules)
    held_out, _ = load(data, "held_out", rules)
    assert [prompt.example for prompt in train] == examples(out)
    assert [prompt.example for prompt in held_out] == examples(out, "held_out")
    raw = bytearray((out / "train.parquet").read_bytes())
    raw[100] ^= 1
    (out / "train.parquet").write_bytes(raw)
    with pytest.raises(InputError, match=r"train\.parquet: is not the file"):
        load(data, "train", rules)


def test_a_set_in_two_lists_is_parted_by_its_documents(folder: Path, rules: Rules) -> None:
    data = DataConfig(train=[mine(folder)], held_out=[mine(folder)])
    train, _ = load(data, "train", rules)
    held_out, _ = load(data, "held_out", rules)
    assert (len(train), len(held_out)) == (32, 8)
    assert not {p.example.id for p in train} & {p.example.id for p in held_out}
    alone, _ = load(DataConfig(train=[mine(folder)]), "train", rules)
    assert len(alone) == 40
