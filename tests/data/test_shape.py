"""Prompts of the length asked for: what must not be lengthened or cut, and that it is counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwenlong.config import BuildConfig, SourceConfig
from qwenlong.config.checks import check_build
from qwenlong.config.reading import load_config
from qwenlong.data.length.shape import shape_of, unlabelled
from qwenlong.data.pipeline import prompts_of
from qwenlong.data.prompts import Renderer, documents_text
from qwenlong.data.rules import Rules, Tally
from qwenlong.data.splits import Side
from qwenlong.data.synthesis import TASKS
from qwenlong.data.synthesis.corpus import Corpus, corpus_of, of_running_text
from qwenlong.types import Example, InputError, Prompt
from tests.data.conftest import BOOK
from tests.data.solvers import SOLVERS

MIX = Path(__file__).parents[2] / "experiments" / "mix_tiny.yaml"
CUT = ("cited", "needles", "keychain", "multihop")


@pytest.fixture
def rules(hotpot_renderer: Renderer) -> Rules:
    return Rules(hotpot_renderer, 0, on_error="skip")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    if not BOOK.is_file():
        pytest.skip(f"{BOOK} is not on this machine")
    return of_running_text(BOOK.read_text(encoding="utf-8-sig").splitlines()[:6_000])


@pytest.fixture(scope="module")
def text(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n\n".join(each.text for each in corpus.texts), encoding="utf-8")
    return path


def made(kind: str, corpus: Corpus, rules: Rules, tokens: int, count: int = 8) -> list[Example]:
    return list(TASKS[kind](corpus, count, tokens, rules.renderer.count_tokens, 0))


def shaped(
    examples: Sequence[Example], spec: SourceConfig, rules: Rules
) -> tuple[list[Prompt], Tally]:
    tally = Tally(spec.source)
    corpus = corpus_of(Path(spec.corpus))[0].texts if spec.corpus else ()
    texts = [text.text for text in corpus]
    shape = shape_of(spec, lambda: iter(examples), rules, tally, lambda: texts)
    return [prompt for example in examples if (prompt := shape(example))], tally


@pytest.mark.parametrize("kind", [*TASKS, "facts"])
@pytest.mark.parametrize("distractors", ["hard", "random"])
def test_a_synthetic_source_is_lengthened_by_text_alone(
    kind: str, distractors: str, rules: Rules
) -> None:
    spec = SourceConfig(kind, lengthen=4_096, distractors=distractors)
    with pytest.raises(InputError, match=rf"^distractors={distractors}: .*{kind} .* text alone"):
        shaped([], spec, rules)


@pytest.mark.parametrize("kind", TASKS)
def test_running_text_leaves_the_answer_of_a_synthetic_task_right(
    kind: str, corpus: Corpus, text: Path, rules: Rules
) -> None:
    examples = made(kind, corpus, rules, 1_500)
    spec = SourceConfig("built", corpus=str(text), lengthen=6_000, distractors="text")
    prompts, _ = shaped(examples, spec, rules)
    assert len(prompts) == len(examples)
    for prompt in prompts:
        assert 0.98 * 6_000 <= len(prompt.ids) <= 6_000
        assert solved(kind, prompt.example) == prompt.example.metadata["stated"]


def test_built_synthetic_examples_are_refused_and_real_ones_are_not(
    corpus: Corpus, rules: Rules
) -> None:
    examples = made("counting", corpus, rules, 600)
    spec = SourceConfig("built", lengthen=2_000, distractors="random")
    with pytest.raises(InputError, match="examples of counting are lengthened by text alone"):
        shaped(examples, spec, rules)
    own = [replace(e, id=f"own {e.id}", source="tables", metadata={}) for e in examples]
    assert len(shaped(own, spec, rules)[0]) == len(own)
    named = [replace(example, source="mine") for example in examples]
    assert len(shaped(named, replace(spec, source="jsonl"), rules)[0]) == len(named)


@pytest.mark.parametrize("over_long", ["middle", "keep_gold"])
@pytest.mark.parametrize("kind", TASKS)
def test_no_cut_makes_the_answer_of_a_synthetic_task_wrong(
    kind: str, over_long: str, corpus: Corpus, rules: Rules
) -> None:
    examples = made(kind, corpus, rules, 2_500, 12)
    before = {example.id: example for example in examples}
    rules = replace(rules, context=2_000, over_long=over_long)
    prompts, tally = shaped(examples, SourceConfig(kind), rules)
    assert len(prompts) == tally.cut.total() == len(examples) - tally.left_out.total()
    assert kind in CUT or not prompts
    if kind == "cited" and over_long == "keep_gold":
        assert prompts
    for prompt in prompts:
        example, old = prompt.example, before[prompt.example.id]
        assert solved(kind, example) == example.metadata["stated"]
        cited = [len(each.metadata.get("gold_citations", ())) for each in (example, old)]
        assert cited[0] == cited[1]
    told = {reason.split(": ")[1].split(" (")[0] for reason in tally.left_out}
    assert told <= {"answer cut out", "needs all of its text"}


def solved(kind: str, example: Example) -> str:
    """By what the prompt shows."""
    documents: Sequence[str] = example.documents
    if kind == "cited":
        documents = [f"{n}\n{text}" for n, text in enumerate(documents, 1)]
    return SOLVERS[kind](documents, example.question)


@pytest.mark.parametrize("label", ["Passage {}\n", "[{}] ", "[{}]\n", "段落{}\n", "Document {}: "])
def test_own_numbers_of_passages_give_way_to_those_of_the_prompt(label: str, rules: Rules) -> None:
    bare = ("Ann sailed.", "Bob stayed.", "It was Ann.")
    own = tuple(label.format(n) + text for n, text in enumerate(bare, 1))
    example = Example("q", "m", "Who sailed?", own, ("Ann",), "citation",
                      metadata={"gold_citations": [1, 3]})  # fmt: skip
    assert unlabelled(example).documents == bare
    ((prompt,), _) = shaped([example], SourceConfig("jsonl"), rules)
    assert documents_text(prompt.example) == "[1] Ann sailed.\n\n[2] Bob stayed.\n\n[3] It was Ann."
    others = replace(example, documents=own[::-1])
    assert unlabelled(others) is others
    plain = replace(example, kind="extractive")
    assert unlabelled(plain) is plain
    named = replace(example, metadata={"gold_citations": ["a"]})
    assert unlabelled(named) is named


def test_one_example_of_which_no_prompt_can_be_made_is_counted(
    rules: Rules, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"question": f"Q{n}?", "document": f"Ledger {n} lists boats. " * 40, "answer": f"x{n}"}
        for n in range(20)
    ]
    rows[7]["answer"] = "ledger"
    rows[8]["question"] = "Why? " * 900
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = SourceConfig("jsonl", str(path), lengthen=1_200, distractors="random")
    rules = replace(rules, over_long="middle")
    tally = Tally("jsonl")
    prompts = list(prompts_of(spec, Side("train"), rules, tally))
    assert len(prompts) == tally.taken == 18
    few, unfit = sorted(tally.left_out, reverse=True)
    assert few.startswith("lengthen=1200: too few documents are not its own and hold no answer")
    assert unfit == "context=1200: does not fit even without its documents"
    with pytest.raises(InputError, match=r"too few documents .*on_error=skip would leave it out"):
        list(prompts_of(spec, Side("train"), replace(rules, on_error="stop"), Tally("jsonl")))


def test_a_length_beyond_the_context_is_refused() -> None:
    sources = [SourceConfig("xquad", "x"), SourceConfig("xquad", "x", lengthen=3_000)]
    check_build(BuildConfig("t", sources, context=3_000))
    check_build(BuildConfig("t", sources))
    with pytest.raises(InputError, match=r"^sources\.1\.lengthen=3000: must not be beyond .*2999"):
        check_build(BuildConfig("t", sources, context=2_999))
    for key in ("data.train.1", "data.held_out.0"):
        load_config(MIX, [f"{key}.lengthen=1408"])
        with pytest.raises(InputError, match=rf"{key}\.lengthen=1409: must not be beyond .*1408"):
            load_config(MIX, [f"{key}.lengthen=1409"])
