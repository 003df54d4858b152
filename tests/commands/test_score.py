"""`qwenlong score`: a file of model answers in, the same lines with their scores out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qwenlong.cli import main

ROOT = Path(__file__).parents[2]
RIGHT = {
    "kind": "extractive",
    "question": "Who?",
    "answers": ["Ada", "Lovelace"],
    "response": "<think>Hm.</think>\n\nTherefore, the answer is Ada.",
}
WRONG = {**RIGHT, "response": "Therefore, the answer is Bob."}
Run = Callable[..., tuple[int, list[Any], str]]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Run]:
    """Exit code, scored lines of stdout (or as text, where they are none) and stderr."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("COLUMNS", "120")

    def run(lines: list[Any] | bytes, *arguments: str) -> tuple[int, list[Any], str]:
        path = tmp_path / "answers.jsonl"
        path.write_bytes(lines if isinstance(lines, bytes) else written(lines))
        monkeypatch.setattr(sys, "argv", ["qwenlong", "score", str(path), *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfdbinary.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        return code, read(out), err.decode()

    yield run
    signal.signal(signal.SIGTERM, before)


def written(lines: list[Any]) -> bytes:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return "".join(f"{text}\n" for text in texts).encode()


def read(raw: bytes) -> list[Any]:
    lines = raw.decode().split("\n")
    return [json.loads(line) if line.startswith("{") else line for line in lines if line]


def test_the_same_lines_with_their_scores(run: Run) -> None:
    code, lines, err = run([RIGHT, {**WRONG, "extra": {"kept": [1, None]}, "id": 7}])
    assert (code, err) == (0, "")
    assert [line["score"]["value"] for line in lines] == [1.0, 0.0]
    score = lines[0].pop("score")
    assert lines[0] == RIGHT and list(lines[0]) == list(RIGHT)
    assert set(score) == {"value", "verifier", "breakdown"}
    assert score["verifier"] == "extractive"
    assert score["breakdown"]["why"].startswith("right:")
    assert lines[1]["extra"] == {"kept": [1, None]} and lines[1]["id"] == 7


def test_an_old_score_is_replaced_and_empty_lines_passed_over(run: Run) -> None:
    _, lines, _ = run(["", {**RIGHT, "score": 3}, "   ", "\r", WRONG])
    assert [line["score"]["value"] for line in lines] == [1.0, 0.0]


MALFORMED: dict[str, tuple[Any, str]] = {
    "no JSON": ("{kind", "not JSON: Expecting property name enclosed in double quotes"),
    "cut off": (json.dumps(RIGHT)[:-5], "not JSON"),
    "a list": ([1, 2], "must be an object, is a list"),
    "a text": ('"text"', "must be an object, is a text"),
    "deep": ("[" * 200_000, "not JSON that can be read"),
    "a number beyond reason": (f'{{"kind": {"9" * 5000}}}', "not JSON that can be read"),
    "no kind": ({**RIGHT, "kind": None}, "kind=null: must be a text"),
    "unknown kind": (
        {**RIGHT, "kind": "essay"},
        "kind='essay' of example 'line 2': must be one of",
    ),
    "kind to import": (
        {**RIGHT, "kind": "os:system"},
        "kind='os:system': only --kind takes a module:callable",
    ),
    "no question": ({k: v for k, v in RIGHT.items() if k != "question"}, "question is missing"),
    "no response": ({k: v for k, v in RIGHT.items() if k != "response"}, "response is missing"),
    "no answers": ({k: v for k, v in RIGHT.items() if k != "answers"}, "answers is missing"),
    "answers of numbers": ({**RIGHT, "answers": [5]}, "answers=[5]: must be a list of texts"),
    "answers a text": ({**RIGHT, "answers": "Ada"}, 'answers="Ada": must be a list of texts'),
    "answers empty": ({**RIGHT, "answers": []}, "answers=[]: at least one text is needed"),
    "answers blank": ({**RIGHT, "answers": [" "]}, 'answers=[" "]: at least one text is needed'),
    "response a list": ({**RIGHT, "response": ["Ada"]}, 'response=["Ada"]: must be a text'),
    "thinking a text": ({**RIGHT, "thinking": "yes"}, 'thinking="yes": must be true or false'),
    "metadata a list": ({**RIGHT, "metadata": [1]}, "metadata=[1]: must be an object"),
    "gold that cannot be read": (
        {**RIGHT, "kind": "official_docmath"},
        "example 'line 2': answers=['Ada']: must be a number in plain digits",
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_line_is_reported_and_the_rest_is_scored(what: str, run: Run) -> None:
    line, told = MALFORMED[what]
    code, lines, err = run([RIGHT, line if isinstance(line, str) else json.dumps(line), WRONG])
    assert code == 1
    assert [line["score"]["value"] for line in lines] == [1.0, 0.0]
    assert len(err.splitlines()) == 1
    assert f"answers.jsonl:2: {told}" in err, err


def test_bytes_that_are_no_text_are_a_malformed_line(run: Run) -> None:
    code, lines, err = run(written([RIGHT]) + b'{"kind": "\xff\xfe"}\n' + written([WRONG]))
    assert (code, len(lines)) == (1, 2)
    assert "answers.jsonl:2: not UTF-8 (byte 11 of the line)" in err


def test_odd_texts_survive(run: Run) -> None:
    odd = {
        **RIGHT,
        "question": "\u2028 \x85 漢字",
        "answers": ["\ud800", "ß\x00"],
        "note": "\udfff",
    }
    raw = b"\xef\xbb\xbf" + written([odd]).rstrip(b"\n")  # a mark at the start, no end of line
    code, lines, _ = run(raw)
    assert code == 0
    lines[0].pop("score")
    assert lines[0] == odd
    _, lines, _ = run([{**RIGHT, "question": "漢字"}])
    assert lines[0]["question"] == "漢字"


def test_every_malformed_line_counts(run: Run) -> None:
    code, lines, err = run(["x"] * 50, "--summary")
    assert (code, lines) == (1, [])
    assert "answers.jsonl:50:" in err
    assert [line.split() for line in err.splitlines()][-1] == ["malformed", "50"]


def test_an_empty_file_has_no_lines_and_no_mistake(run: Run) -> None:
    assert run(b"") == (0, [], "")


def test_kind_is_that_of_all_lines(run: Run) -> None:
    kindless = {key: value for key, value in WRONG.items() if key != "kind"}
    fooled = {**WRONG, "response": "</think>Therefore, the answer is not Ada."}
    code, lines, _ = run([fooled, {**kindless, "response": fooled["response"]}, RIGHT],
                         "--kind", "official_docqa")  # fmt: skip
    assert code == 0
    assert [line["score"]["value"] for line in lines] == [1.0, 1.0, 1.0]
    assert {line["score"]["verifier"] for line in lines} == {"official_docqa"}
    assert lines[0]["kind"] == "extractive" and "kind" not in lines[1]


def test_kind_may_be_a_callable(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules.py").write_text(
        "def long(example, response, thinking):\n"
        "    if 'Bob' in response: raise KeyError('Bob')\n"
        "    return len(response) > example.metadata['least']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    given = {**RIGHT, "metadata": {"least": 5}}
    code, lines, err = run(
        [given, {**WRONG, "least": 5}, {**given, "least": 9}], "--kind", "my_rules:long"
    )
    assert (code, len(lines)) == (1, 2)
    assert lines[0]["score"]["verifier"] == "my_rules:long" and lines[0]["score"]["value"] == 1.0
    assert "answers.jsonl:2: my_rules:long failed: KeyError: 'Bob'" in err


def test_a_callable_may_need_no_answers(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no_gold.py").write_text("def one(example, response, thinking):\n    return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    bare = {key: value for key, value in RIGHT.items() if key != "answers"}
    code, lines, _ = run([bare, {**RIGHT, "answers": []}], "--kind", "no_gold:one")
    assert (code, len(lines)) == (0, 2)


def test_what_format_asks_of_the_thinking_stands_in_the_line(run: Run) -> None:
    line = {"kind": "format", "question": "q", "thinking": "present"}
    given = [{**line, "response": "<think>x</think>\n\ny"}, {**line, "response": "y"}]
    given += [{**line, "thinking": "absent", "response": "y"}, {**line, "thinking": "some"}]
    code, lines, err = run([*given[:3], {**given[3], "response": "y"}])
    assert [line["score"]["value"] for line in lines] == [1.0, 0.0, 1.0]
    assert code == 1 and "must be present or absent" in err


def test_a_callable_may_stand_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "own_rule.py").write_text(
        "def half(example, response, thinking):\n    return 0.5\n"
    )
    (tmp_path / "a.jsonl").write_bytes(written([RIGHT]))
    # As the console script: with its own folder on the path and not the working directory.
    script = tmp_path / "bin" / "qwenlong"
    script.parent.mkdir()
    script.write_text(
        f"import sys\nsys.path.append({str(ROOT)!r})\nfrom qwenlong.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), "score", "a.jsonl", "--kind", "own_rule:half"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["score"]["value"] == 0.5


def test_what_a_verifier_needs_comes_as_metadata(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tell.py").write_text(
        "import json\nfrom qwenlong.types import Score\n"
        "def all(e, response, thinking):\n"
        "    told = dict(e.metadata, id=e.id, source=e.source, thinking=thinking)\n"
        "    return Score(1.0, 'tell', {'told': json.dumps(told)})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    line = {**RIGHT, "options": ["A. x"], "gold_citations": [1], "schema": {}, "score": 1,
            "metadata": {"schema": {"type": "object"}}}  # fmt: skip
    named = {**line, "id": "q7", "source": "mine", "thinking": True}
    _, lines, _ = run([line, named], "--kind", "tell:all")
    told = [json.loads(line["score"]["breakdown"]["told"]) for line in lines]
    known = {"options": ["A. x"], "gold_citations": [1], "schema": {"type": "object"}}
    assert told[0] == {**known, "id": "line 1", "source": "answers", "thinking": False}
    assert told[1] == {**known, "id": "q7", "source": "mine", "thinking": True}


def test_thinking_is_demanded_where_it_is_said(run: Run) -> None:
    plain = {**RIGHT, "response": "Therefore, the answer is Ada."}
    lines = [plain, {**plain, "thinking": True}, {**plain, "thinking": False}, RIGHT]
    opened = {**plain, "response": "<think>Therefore, the answer is Ada."}
    _, scored, _ = run([*lines, opened])
    assert [line["score"]["value"] for line in scored] == [1.0, 0.0, 1.0, 1.0, 0.0]
    _, scored, _ = run([*lines, opened], "--thinking")
    assert [line["score"]["value"] for line in scored] == [0.0, 0.0, 1.0, 1.0, 0.0]


def test_summary_is_apart_from_the_lines(run: Run, tmp_path: Path) -> None:
    lines = [RIGHT, WRONG, {**RIGHT, "source": "s1"}, {**WRONG, "source": "s1"}]
    lines += [{**RIGHT, "source": "s1"}, {**RIGHT, "kind": "official_docqa"}]
    code, scored, err = run([*lines, "x"], "--summary")
    assert (code, len(scored)) == (1, 6)
    table = [line.split() for line in err.splitlines()[1:]]
    assert table == [
        ["kind", "source", "lines", "accuracy", "mean", "score"],
        ["extractive", "answers", "2", "0.5000", "0.5000"],
        ["extractive", "s1", "3", "0.6667", "0.6667"],
        ["official_docqa", "answers", "1", "1.0000", "1.0000"],
        ["all", "6", "0.6667", "0.6667"],
        ["malformed", "1"],
    ]
    code, out, err = run(lines, "--summary", "--out", str(tmp_path / "scored.jsonl"))
    assert (code, err) == (0, "")
    assert [line.split() for line in out] == table[:-1]


def test_out_is_written_beside_and_renamed(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "scored.jsonl"
    out.write_text("old\n")
    code, shown, err = run([RIGHT, "x", WRONG], "--out", str(out))
    assert (code, shown) == (1, []) and "answers.jsonl:2:" in err
    assert [line["score"]["value"] for line in read(out.read_bytes())] == [1.0, 0.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "scored.jsonl"]


def test_a_run_that_is_broken_off_leaves_the_old_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stop.py").write_text("def now(*_):\n    raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "scored.jsonl"
    out.write_text("old\n")
    code, _, _ = run([RIGHT], "--kind", "stop:now", "--out", str(out))
    assert code not in (0, 2)
    assert out.read_text() == "old\n"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--kind", "essay"], "rule=essay: must be module:callable or one of"),
        (["--kind", "no_such_module:f"], "rule=no_such_module:f: cannot be imported"),
        (["--out", "{here}"], "is no file; name one"),
        (["--out", "/dev/null"], "is no file; name one"),
        (["--out", "{here}/absent/out.jsonl"], "cannot be written: No such file"),
        (["--out", "{here}/answers.jsonl"], "is the file to be scored; name another"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_bad_arguments_end_with_2_and_leave_nothing(
    arguments: list[str], told: str, run: Run, tmp_path: Path
) -> None:
    code, lines, err = run([RIGHT], *[each.format(here=tmp_path) for each in arguments])
    assert (code, lines) == (2, [])
    assert told in err and "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["answers.jsonl"]
    assert json.loads((tmp_path / "answers.jsonl").read_text()) == RIGHT


@pytest.mark.parametrize("name", ["absent.jsonl", "."])
def test_no_file_ends_with_2(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["qwenlong", "score", str(tmp_path / name)])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        main()
    signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 2
    assert len(capfd.readouterr().err.splitlines()) == 1


def process(*arguments: str, code: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    start = f"from qwenlong.cli import main\n{code}\nmain()"
    return subprocess.run(
        [sys.executable, "-c", start, "score", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **options,
    )  # fmt: skip


def test_it_starts_light(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(written([RIGHT]))
    heavy = ["torch", "ray", "vllm", "transformers", "omegaconf", "httpx", "numpy", "datasets"]
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print([m for m in {heavy} if m in sys.modules]))"
    )
    done = process(str(tmp_path / "a.jsonl"), "--summary", code=code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak_kb(lines: int) -> int:
        """ru_maxrss, which is in KB on Linux."""
        path = tmp_path / f"{lines}.jsonl"
        line = written([{**RIGHT, "response": "x" * 20_000 + str(RIGHT["response"])}])
        with path.open("wb") as file:
            for _ in range(lines):
                file.write(line)
        code = (
            "import atexit, resource, sys\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "atexit.register(lambda: print(peak(), file=sys.stderr))"
        )
        done = process(str(path), "--out", str(tmp_path / "out.jsonl"), code=code)
        assert done.returncode == 0, done.stderr
        return int(done.stderr)

    few, many = peak_kb(10), peak_kb(2_000)  # 40 MB
    assert many - few < 8_000


def test_a_pipe_that_closes_ends_it_quietly(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(written([RIGHT]) * 20_000)
    code = "from qwenlong.cli import main; main()"
    command = f"{sys.executable} -c '{code}' score {path} | head -n 2"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert len(done.stdout.splitlines()) == 2
    assert "Traceback" not in done.stderr


def test_progress_is_shown_in_a_terminal_for_a_big_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    line = written([{**RIGHT, "note": "x" * 2**20}])
    path.write_bytes(line * 10)
    leader, follower = os.openpty()
    start = "from qwenlong.cli import main; main()"
    arguments = ["score", str(path), "--out", str(tmp_path / "out.jsonl")]
    done = subprocess.Popen(
        [sys.executable, "-c", start, *arguments],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=follower, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while piece := _piece(leader):
        shown += piece
    assert done.wait(60) == 0
    os.close(leader)
    assert b"scoring a.jsonl" in shown and b"%" in shown


def _piece(leader: int) -> bytes:
    try:
        return os.read(leader, 4096)
    except OSError:  # the other end is closed
        return b""
