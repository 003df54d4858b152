"""The texts that synthetic tasks are hidden in: documents, or running text in paragraphs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import groupby
from pathlib import Path
from random import Random

from qwenlong.data.own import documents
from qwenlong.data.rows import Rejected, RowError
from qwenlong.data.words import key_of
from qwenlong.types import InputError, Split

MOST_CHARACTERS = 2**25
"""The most that is kept of a corpus, about 8 M tokens; of a larger one, an even sample."""
LONGEST_TEXT = 2000
"""Characters of a text; a longer one is cut at the ends of sentences."""

_SENTENCE_END = re.compile(
    r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bNo)(?<!\bvs)(?<!\b[A-Z])"
    r"[.!?]['\"”’)\]]{0,3}\s+(?=[^\sa-z,;:.?!)])"
    r"|[。！？]{1,3}['\"”’』」）)]{0,3}"
)
_BREAK = re.compile(r"\s+|(?<=[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef])")
_CLOSED = tuple(".!?。！？'\"”’)]』」）")
UNSPACED = ("zh", "ja")
"""Languages without a blank between sentences."""


@dataclass(frozen=True)
class Text:
    """A document, or a part of one. An empty title means none, an empty language any."""

    title: str
    text: str
    language: str = ""
    whole: int = 0
    """A key of the document that it is a part of: a split keeps the parts together."""


@dataclass(frozen=True)
class Corpus:
    """Texts in their order; running text is drawn from in this order, documents at random."""

    texts: tuple[Text, ...]
    left_out: int = 0
    """Characters that there was no room for."""
    running: bool = False


def of_documents(documents: Iterable[Text], most: int = MOST_CHARACTERS) -> Corpus:
    """A corpus of titled documents, each on its own; at most ``most`` characters are held.

    A long document becomes several texts, "Title", "Title (2)" and so on.
    """
    return Corpus(*_bounded(documents, most))


def of_running_text(
    lines: Iterable[str], language: str = "", most: int = MOST_CHARACTERS
) -> Corpus:
    """A corpus of untitled paragraphs; a blank line ends one, and lines are joined within it.

    Args:
        lines: such as an open file, or one string a paragraph with blank ones between.
    """
    joint = "" if language in UNSPACED else " "
    texts = (
        Text("", joint.join(" ".join(line.split()) for line in paragraph), language)
        for blank, paragraph in groupby(lines, lambda line: not line.strip())
        if not blank
    )
    return Corpus(*_bounded(texts, most), running=True)


def sentence_ends(text: str) -> tuple[int, ...]:
    """Where sentences end, the blank behind them included; the last is the end of ``text``."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    return tuple(ends)


def word_ends(text: str) -> tuple[int, ...]:
    """Where ``text`` can be cut without cutting a word: at blanks and after Chinese characters."""
    return tuple(match.end() for match in _BREAK.finditer(text) if match.end())


def inserted(text: str, added: Iterable[tuple[int, str]], joint: str) -> str:
    """The text with sentences put in, each behind a number of characters.

    Whatever separates sentences there, a blank or a line break, is put on both sides. A sentence
    that is added to a text without an end, such as a table's row, gets its own line.
    """
    whole = ""
    last = 0
    for at, sentence in sorted(added, key=lambda entry: entry[0]):
        whole += text[last:at]
        gap = whole[len(whole.rstrip()) :] or joint
        if at == len(text) and not text.endswith(_CLOSED):
            gap = "\n"
        if whole and not whole.endswith(gap):
            whole += gap
        whole += sentence if at == len(text) else sentence + gap
        last = at
    return whole + text[last:]


def with_sentences(text: str, added: Sequence[str], joint: str, rng: Random) -> str:
    """The text with each sentence at its beginning or at the end of a sentence, by chance."""
    ends = (0, *sentence_ends(text))
    return inserted(text, sorted((rng.choice(ends), sentence) for sentence in added), joint)


def _parts(text: Text) -> Iterator[Text]:
    """The text in parts of at most LONGEST_TEXT characters; nothing where it is blank."""
    whole, title = text.text.strip(), " ".join(text.title.split())
    start, number = 0, 1
    while start < len(whole):
        window = whole[start : start + LONGEST_TEXT + 1]
        end = len(window)
        if end > LONGEST_TEXT:
            # A part ends where a sentence ends, else a word, else anywhere.
            ends = ([at for at in of(window) if at < end] for of in (sentence_ends, word_ends))
            end = next((inside[-1] for inside in ends if inside), LONGEST_TEXT)
        if part := window[:end].strip():
            named = f"{title} ({number})" if title and number > 1 else title
            yield Text(named, part, text.language, text.whole)
            number += 1
        start += end


def _bounded(texts: Iterable[Text], most: int) -> tuple[tuple[Text, ...], int]:
    """Parts of at most ``most`` characters, sampled evenly, in order; the characters left out."""
    rng = Random("corpus")
    kept: list[tuple[float, int, Text]] = []
    size = left_out = 0
    for number, part in enumerate(part for text in texts for part in _parts(text)):
        heappush(kept, (rng.random(), number, part))
        size += len(part.text)
        while size > most:
            dropped = len(heappop(kept)[2].text)
            size -= dropped
            left_out += dropped
    return tuple(part for _, _, part in sorted(kept, key=lambda entry: entry[1])), left_out


def corpus_of(
    path: Path,
    split: Split | None = None,
    note: Callable[[str], object] = lambda _: None,
    language: str = "",
) -> tuple[Corpus, list[Rejected]]:
    """The texts of a file or folder, of a split its own, and the files that are no text.

    A fifth is the held-out split's. One plain text is running text and divided by place; of all
    others a document is whole on one side, and so are those of the same words.

    Args:
        note: called with what else there is to say.

    Raises:
        InputError: it cannot be read, or cannot be divided.
    """
    corpus, rejected = _whole(path, language)
    if corpus.left_out:
        held = sum(len(text.text) for text in corpus.texts)
        note(
            f"corpus={path}: a sample of {held:,} of its {held + corpus.left_out:,} characters is"
            " used"
        )
    if split is None:
        return corpus, rejected
    wholes = sorted({text.whole for text in corpus.texts})
    if len(wholes) > 1:
        held_out = set(wholes[: max(1, len(wholes) // 5)])
        texts = [t for t in corpus.texts if (t.whole in held_out) == (split == "held_out")]
    else:
        border = len(corpus.texts) * 4 // 5
        texts = [*(corpus.texts[border:] if split == "held_out" else corpus.texts[:border])]
    if not texts:
        raise InputError(f"corpus={path}: a single short text, which no two splits can share")
    return replace(corpus, texts=tuple(texts)), rejected


def _whole(path: Path, language: str) -> tuple[Corpus, list[Rejected]]:
    if path.is_file() and path.suffix == ".txt":
        return _running_text(path, language), []
    rejected: list[Rejected] = []

    def texts() -> Iterator[Text]:
        for item in documents.documents(path):
            if isinstance(item, Rejected):
                rejected.append(item)
            else:
                yield Text(item.title, item.text, whole=key_of(item.text))

    corpus = of_documents(texts())
    if not corpus.texts:
        raise InputError(f"corpus={path}: no txt, Markdown, HTML, PDF or JSONL with text is there")
    return corpus, rejected


def _running_text(path: Path, language: str) -> Corpus:
    start = b""
    try:
        with path.open("rb") as raw:
            start = raw.read(4096)
        with path.open(encoding=documents.encoding_of(start)) as file:
            return of_running_text(file, language)
    except UnicodeDecodeError as error:
        why = documents.undecoded(error.encoding, start)
    except RowError as error:
        why = str(error)
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    raise InputError(f"corpus={path}: {why}")
