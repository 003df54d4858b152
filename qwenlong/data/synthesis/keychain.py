"""KeyChain: chains of keys, the true question at the end of one of them.

After LoongRL (Wang et al., arXiv 2510.19363): keys are identifiers of 32 hexadecimal digits that
lead from one to the next. The question names the first key only. At the end of its chain stands
the question to be answered, about a fact elsewhere in the documents; other chains end in other
questions about other facts of the same form.

``hide`` does the same to a real question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from random import Random

from qwenlong.data.length.distractors import Pool, drawn, group_of
from qwenlong.data.synthesis.corpus import UNSPACED, with_sentences
from qwenlong.data.synthesis.lexicon import Words, keys, uuids, values, words_of
from qwenlong.data.synthesis.sentences import reasoned
from qwenlong.data.synthesis.tasks import Draw, Question
from qwenlong.rewards.registry import kind_of, kinds
from qwenlong.rewards.wording import is_chinese
from qwenlong.types import Example, InputError


def keychain(draw: Draw) -> Question:
    """Hides a question of the task needles; ``draw.depth`` is that of its fact."""
    rng, words, joint = draw.rng, draw.words, draw.filler.joint
    needles = words_of("needles", words.language)
    thing = needles.draw(rng, "things")
    chains, length = (2, 2) if draw.short else (rng.randint(3, 5), rng.randint(3, 6))
    names, codes = keys(rng, chains, words.language), values(rng, chains)
    facts = needles.each(rng, "facts", {"key": names, "value": codes}, thing=thing)
    asks = needles.all("one")[:2]
    questions = [rng.choice(asks).format(thing=thing, key=name) for name in names]
    ways, links = _chains(questions, length, words, rng)
    others = facts[1:] + [link for way in links[1:] for link in way]
    banned = [*names, *codes, *(key for way in ways for key in way)]
    haystack = draw.bury([facts[0], *links[0], *others], 1, banned)
    follows = words.say("follows", chain=" → ".join(ways[0]), question=questions[0])
    found = reasoned(needles, facts[:1], joint, thing=thing, key=names[0], value=codes[0])
    return Question(
        task="keychain",
        text=words.draw(rng, "asks", key=ways[0][0]),
        haystack=haystack,
        gold=1 + length,
        answers=(codes[0],),
        reasoning=f"{follows}{joint}{found}",
        metadata={
            "depths": [haystack.depths[0]],
            "chain": ways[0],
            "chains": chains,
            "hidden_question": questions[0],
        },
    )


def why_not_hidden(example: Example) -> str:
    """Why the question of an example cannot be hidden; empty where it can."""
    if not kind_of(example).may_hide_question:
        hideable = (kind.name for kind in kinds().values() if kind.may_hide_question)
        return f"kind={example.kind}: hide=true takes {', '.join(hideable)} only"
    if not example.documents or example.metadata.get("messages"):
        return "hide=true needs documents to put the chain in"
    return "hide=true: is a chain of keys already" if "chain" in example.metadata else ""


def other_questions(example: Example, questions: Pool, seed: int) -> list[str]:
    """Two to four of the ``questions`` (a pool of no group) for the other chains of ``hide``.

    They are in the language of the example's own and hold none of its answers.
    """
    rng = Random(f"others {seed} {example.id}")
    most, chinese = rng.randint(2, 4), is_chinese(example.question)
    bare = replace(example, documents=())
    texts = (questions.texts[number] for number in drawn(questions, bare, "random", rng))
    fitting = (text for text in texts if text != example.question and is_chinese(text) == chinese)
    return list(islice(fitting, most))


def hide(example: Example, others: Sequence[str], seed: int) -> Example:
    """The example with its question hidden in its own documents, at the end of a chain of keys.

    The sentences, in Chinese for a Chinese question, else in English, stand in any documents; those
    that hold its chain become gold ones where gold is known. Its verifier no longer sees the words
    of the question, see ``why_not_hidden``. With them, an extractive answer may be a sentence that
    repeats the question; an answer to a hidden question must be given bare.

    Args:
        others: questions of other examples, one more chain each; see ``other_questions``.

    Raises:
        InputError: there are no others, or no documents.
    """
    if not others or not example.documents:
        lacks = "document to hide its question in" if others else "other question to lead astray"
        raise InputError(f"hide=true: has no {lacks}")
    words = words_of("keychain", "zh" if is_chinese(example.question) else "en")
    rng = Random(f"hide {seed} {example.id}")
    # In quotation marks, because not every real question ends in a question mark.
    quoted = [f"“{question}”" for question in (example.question, *others)]
    ways, links = _chains(quoted, rng.randint(3, 6), words, rng)
    put: dict[int, list[str]] = {}
    for link in rng.sample([link for way in links for link in way], sum(map(len, links))):
        put.setdefault(rng.randrange(len(example.documents)), []).append(link)
    joint = "" if words.language in UNSPACED else " "
    documents = []
    for at, text in enumerate(example.documents):
        title, line, body = text.partition("\n") if "\n" in text else ("", "", text)
        added = put.get(at)
        documents.append(title + line + with_sentences(body, added, joint, rng) if added else text)
    on_the_way = {at for at, added in put.items() if not set(links[0]).isdisjoint(added)}
    gold = on_the_way.union(example.gold_documents) if example.gold_documents else ()
    follows = words.say("follows", chain=" → ".join(ways[0]), question=example.question)
    return replace(
        example,
        id=f"keychain-{seed}-{example.id}",
        question=words.draw(rng, "asks", key=ways[0][0]),
        documents=tuple(documents),
        reasoning=f"{follows}\n{example.reasoning}" if example.reasoning else "",
        gold_documents=tuple(sorted(gold)),
        group=group_of(example),
        metadata={**example.metadata, "chain": ways[0], "hidden_question": example.question},
    )


def _chains(
    questions: Sequence[str], length: int, words: Words, rng: Random
) -> tuple[list[list[str]], list[list[str]]]:
    """The keys that lead to every question, and the sentences that say so."""
    identifiers = uuids(rng, len(questions) * length)
    ways = [identifiers[at : at + length] for at in range(0, len(identifiers), length)]
    links = []
    for way, question in zip(ways, questions, strict=True):
        links.append(words.each(rng, "links", {"key": way[:-1], "next": way[1:]}))
        links[-1].append(words.draw(rng, "ends", key=way[-1], question=question))
    return ways, links
