"""Built sets and other files that are not as they should be: one line each; where a set goes."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from rich.console import Console
from transformers import PreTrainedTokenizerBase

from qwenlong.commands.data import check_sets, examples_at, show_set
from qwenlong.config import BuildConfig, SourceConfig
from qwenlong.data import built, rows
from qwenlong.data.build import build
from qwenlong.data.prompts import Renderer
from qwenlong.data.rows import Rejected
from qwenlong.data.rules import Rules
from qwenlong.rewards.registry import verifier
from qwenlong.types import Example, InputError

ROWS = [
    {"question": f"Where is {n}?", "document": f"It is in {n}.", "answer": f"{n}", "difficulty": d}
    for n, d in enumerate(["hard", 3, 0.5, True, float("nan")])
]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return path


@pytest.fixture
def rules(tokenizer: PreTrainedTokenizerBase) -> Rules:
    return Rules(Renderer(tokenizer), seed=0, check=verifier)


def made(mine: Path, rules: Rules, out: Path) -> Path:
    config = BuildConfig("tiny", [SourceConfig("jsonl", str(mine))])
    build(config, rules, out, lambda split, source, done: None)
    return out


def test_a_difficulty_that_is_a_number_is_a_column(mine: Path, rules: Rules) -> None:
    out = made(mine, rules, mine.parent / "out")
    columns = parquet.read_table(out / "train.parquet").to_pydict()
    assert columns["difficulty"] == [None, 3.0, 0.5, None, None]
    assert [json.loads(each)["difficulty"] for each in columns["metadata"][:4]] == [
        *("hard", 3, 0.5, True)
    ]


def test_folders_beside_a_set_are_left_alone(mine: Path, rules: Rules) -> None:
    folder = mine.parent
    for name in ("out.partial", ".out.partial", "out.tmp"):
        (folder / name).mkdir()
        (folder / name / "mine.txt").write_text("Mine.")
    before = sorted(path.name for path in folder.iterdir())
    out = made(mine, rules, folder / "out")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*before, "out"])
    assert (folder / "out.partial" / "mine.txt").is_file()
    assert out.stat().st_mode == (folder / "out.partial").stat().st_mode


def test_of_two_builds_at_once_one_is_kept(mine: Path, rules: Rules) -> None:
    """The second one ends while the first is still under way."""
    out = mine.parent / "out"
    config = BuildConfig("tiny", [SourceConfig("jsonl", str(mine))])
    inner: list[Path] = []

    def second(*_: object) -> None:
        if not inner:
            inner.append(out)
            made(mine, rules, out)

    with pytest.raises(InputError, match=rf"--out {out}: cannot be written: "):
        build(config, rules, out, second)
    assert [each.question for each in examples_at(out)] == [row["question"] for row in ROWS]
    assert sorted(path.name for path in mine.parent.iterdir()) == ["mine.jsonl", "out"]


def test_where_no_set_can_be_written(
    mine: Path, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"--out .*mine\.jsonl/x: cannot be written: "):
        made(mine, rules, mine / "x")
    (mine.parent / "here").mkdir()
    monkeypatch.chdir(mine.parent / "here")
    with pytest.raises(InputError, match=r"--out \.: is the working directory"):
        made(mine, rules, Path("."))
    assert made(mine, rules, Path("below/set")).is_dir()


def test_an_input_that_cannot_be_read_is_named(mine: Path, rules: Rules) -> None:
    mine.unlink()
    mine.symlink_to("/proc/self/mem")
    with pytest.raises(InputError, match=r"^sources\.0: .*mine\.jsonl: cannot be read: "):
        made(mine, rules, mine.parent / "out")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "not JSON"),
        ("[]", "not of format 1; build it again"),
        ('{"format": 2}', "not of format 1; build it again"),
        ('{"format": 1}', "is not as it was written; build it again"),
        ('{"format": 1, "splits": {"train": {}}}', "is not as it was written; build it again"),
        (
            '{"format": 1, "splits": {}, "sources": [3], "recipe": {}}',
            "is not as it was written; build it again",
        ),
    ],
)
def test_a_manifest_of_another_form(mine: Path, rules: Rules, text: str, why: str) -> None:
    out = made(mine, rules, mine.parent / "out")
    (out / built.MANIFEST).write_text(text)
    for use in (show_set, lambda out: list(examples_at(out)), lambda out: made(mine, rules, out)):
        with pytest.raises(InputError, match=rf"manifest\.json: {why}"):
            use(out)


def test_a_set_without_a_file_of_it(mine: Path, rules: Rules) -> None:
    out = made(mine, rules, mine.parent / "out")
    (out / "train.parquet").unlink()
    for read in (
        lambda: list(examples_at(out)),
        lambda: list(built.read(SourceConfig("built", str(out)), "train", len, 0)),
    ):
        with pytest.raises(InputError, match=r"train\.parquet: there is no such file"):
            read()
    with pytest.raises(InputError, match="holds no built set"):
        built.manifest_of(mine)


def test_a_parquet_file_of_no_set_is_refused(mine: Path) -> None:
    path = mine.parent / "other.parquet"
    parquet.write_table(pa.table({"id": ["a"], "text": ["b"]}), path)
    with pytest.raises(InputError, match=r"other\.parquet: is of no built set: .* are id, text; "):
        check_sets(path, mine, Console(quiet=True))


def test_a_line_that_cannot_be_read_ends_a_check(mine: Path) -> None:
    mine.write_text(mine.read_text() + "{}\n")
    with pytest.raises(InputError, match=r"mine\.jsonl:6: documents or .* is missing"):
        check_sets(mine, mine, Console(quiet=True))


def test_a_damaged_page_and_a_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    raw = pa.array([b"a", b"\xff\xfe", b"b"] * 5)
    texts = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    parquet.write_table(pa.table({"id": texts}), path)
    found = list(rows.parquet_rows(path))
    assert [item.where for item in found if isinstance(item, Rejected)] == [
        f"{path}: row {n}" for n in (2, 5, 8, 11, 14)
    ]
    assert found[1] == Rejected(f"{path}: row 2", "has a text that is not UTF-8 (byte 1 of it)")
    assert found[2] == (f"{path}: row 3", {"id": "b"})

    table = pa.table({"id": [f"{n}" * 50 for n in range(500)]})
    parquet.write_table(table, path, compression="none", use_dictionary=False)
    whole = bytearray(path.read_bytes())
    whole[200:4000] = b"\xff" * 3800
    path.write_bytes(whole)
    *_, last = rows.parquet_rows(path)
    assert isinstance(last, Rejected) and "\n" not in last.why
    assert last.why.startswith("the file is damaged and cannot be read from here on: ")


def test_what_a_check_did_not_compare_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwenlong.data.overlap.MOST_GRAMS", 20)
    path = tmp_path / "made.jsonl"
    row = {**ROWS[0], "source": "keychain", "document": " ".join(f"word{n}" for n in range(99))}
    path.write_text(f"{json.dumps(row)}\n")
    assert not check_sets(path, path, Console(width=60)).clean
    printed = capsys.readouterr().out
    assert "synthetic questions (1) were compared whole" in printed
    assert "one document n-gram in 16 was compared" in " ".join(printed.split())
    assert isinstance(next(examples_at(path)), Example)
