"""The texts of a user's file or folder, as a corpus for one side of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from qwenlong.data.hashes import key_of
from qwenlong.data.own import documents
from qwenlong.data.rows import Rejected, RowError
from qwenlong.data.synthesis.corpus import Corpus, Text, of_documents, of_running_text
from qwenlong.types import InputError, Split


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
