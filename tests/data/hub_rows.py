"""Rows of the sets on the hub: their true columns and nesting, with made-up contents."""

from __future__ import annotations

import json
from typing import Any

from qwenlong.data.registry import PUBLISHED
from qwenlong.data.rows import Source

Row = dict[str, Any]


def _docqa(source: str, ability: str, question: str, gold: str, index: int) -> Row:
    content = (
        "Please read the following text and answer the question below.\n\n<text>\nThe mill of Orrow"
        f" made 32.4 tons.\n</text>\n\n{question}\n\nFormat your response as follows: …"
    )
    return {
        "data_source": source,
        "prompt": [{"content": content, "role": "user"}],
        "ability": ability,
        "reward_model": {"ground_truth": gold, "style": "rule"},
        "extra_info": {"index": index, "input_length": 12},
    }


CHOICES = "What is the correct answer to this question: Who mills?\nChoices:\n(A) Bo\n(B) Ada"
DOCQA = [
    _docqa("docmath_v1", "doc-math", "How many tons?", "Therefore, the answer is 32.4.", 3),
    _docqa("long_toc_choices_0_20000", "doc-mc", CHOICES, "The correct answer is (B).", 4),
    _docqa("multihoprag_v1", "doc-qa", "Is it a mill?", "Therefore, the answer is Yes.", 5),
    _docqa("musique_v1", "doc-qa", "Whose mill?", "Therefore, the answer is Orrow.", 6),
]
DOCMATH = [
    {
        "question_id": "complong-testmini-0",
        "source": "",
        "original_question_id": "",
        "question": "By how many million did sales change?",
        "paragraphs": ["Notes.", "| sales | 2017 | 2018 |\n| x | 60 | 29 |", "In millions."],
        "table_evidence": [1],
        "paragraph_evidence": [2],
        "python_solution": "def solution():\n    return 29 - 60",
        "ground_truth": -31.0,
    }
]
FRAMES = [
    {
        "Prompt": "Who led the town in which Ada Orrow was born?",
        "Answer": "Bo Tarn",
        "reasoning_types": "Multiple constraints",
        "wiki_links": "['https://en.wikipedia.org/wiki/Ada_Orrow']",
        "wiki_items": [
            {"link": "u1", "title": "Ada Orrow", "text": "Born in Tarn."},
            {"link": "u2", "title": "Tarn", "text": "Led by Bo Tarn."},
        ],
    }
]
HOTPOT: list[Row] = [
    {
        "id": "5a8b",
        "question": "Are Orrow and Tarn both towns?",
        "answer": "yes",
        "type": "comparison",
        "level": "hard",
        "supporting_facts": {"title": ["Tarn", "Orrow"], "sent_id": [0, 7]},
        "context": {
            "title": ["Mill", "Orrow", "Tarn"],
            "sentences": [["A mill."], ["Orrow is a town.", " It is old."], ["Tarn is a town."]],
        },
    }
]
WIKI = [
    {
        **HOTPOT[0],
        "answer": "Bo Tarn",
        "evidences": [["Orrow", "founder", "Ada"], ["Ada", "father", "Bo Tarn"]],
    }
]
MUSIQUE: list[Row] = [
    {
        "id": "2hop__11_22",
        "paragraphs": [
            {"idx": 0, "title": "Mill", "paragraph_text": "Made of oak.", "is_supporting": False},
            {"idx": 1, "title": "Orrow", "paragraph_text": "Ada owned it.", "is_supporting": True},
            {"idx": 2, "title": "Ada", "paragraph_text": "Born in 1960.", "is_supporting": True},
        ],
        "question": "When was the owner of Orrow born?",
        "question_decomposition": [
            {"id": 11, "question": "Orrow >> owner", "answer": "Ada", "paragraph_support_idx": 1},
            {
                "id": 22,
                "question": "When was #1 born?",
                "answer": "1960",
                "paragraph_support_idx": 2,
            },
        ],
        "answer": "1960",
        "answer_aliases": ["in 1960", "1960"],
        "answerable": True,
    }
]
STORY = {"text": "A summary.", "tokens": ["A", "summary"], "url": "w", "title": "The Mill"}
NARRATIVE = [
    {
        "document": {
            "id": "00fb",
            "kind": "gutenberg",
            "url": "http://x",
            "file_size": 30,
            "word_count": 6,
            "start": "Ada",
            "end": "done",
            "summary": STORY,
            "text": "Ada ground the corn until dusk. Done.",
        },
        "question": {"text": "What did Ada do?", "tokens": ["What", "did", "Ada", "do", "?"]},
        "answers": [
            {"text": "She ground the corn", "tokens": ["She"]},
            {"text": "Grinding corn", "tokens": ["Grinding"]},
        ],
    }
]


def said(
    spans: tuple[str, ...] = (), yes: bool | None = None, form: str = "", no: bool = False
) -> Row:
    return {
        "unanswerable": no,
        "extractive_spans": list(spans),
        "yes_no": yes,
        "free_form_answer": form,
        "evidence": ["We use oak."] if spans else [],
        "highlighted_evidence": [],
    }


def people(*answers: Row) -> Row:
    ids = [f"a{place}" for place in range(len(answers))]
    return {"answer": list(answers), "annotation_id": ids, "worker_id": ids}


QASPER_ANSWERS = [
    people(said(("oak",)), said(form="Oak"), said(no=True)),
    people(said(("oak", "ash"))),
    people(said(yes=False), said(yes=False), said(yes=True)),
    people(said(no=True)),
    people(said(form="They take the boards of the old mill and plane them")),
]
QASPER = [
    {
        "id": "1909.00001",
        "title": "On Mills",
        "abstract": "We build mills.",
        "full_text": {
            "section_name": ["Introduction", "Method"],
            "paragraphs": [["Mills are old."], ["We use oak.", "And ash."]],
        },
        "qas": {
            "question": ["Which wood?", "Which woods?", "Is it new?", "Who paid?", "How?"],
            "question_id": [f"q{place}" for place in range(5)],
            "nlp_background": ["two"] * 5,
            "topic_background": [""] * 5,
            "paper_read": ["no"] * 5,
            "search_query": [""] * 5,
            "question_writer": ["w"] * 5,
            "answers": QASPER_ANSWERS,
        },
        "figures_and_tables": {"caption": ["Figure 1"], "file": ["1.png"]},
    }
]


def _longbench(dataset: str, question: str, context: str, *answers: str) -> Row:
    return {
        "input": question,
        "context": context,
        "answers": list(answers),
        "length": 9,
        "dataset": dataset,
        "language": "en",
        "all_classes": None,
        "_id": f"{dataset}-1",
    }


LONGBENCH = [
    _longbench("hotpotqa", "Who?", "Passage 1:\nA\nAda.\n\nPassage 2:\nB\nBo.\n", "Ada", "Ada O."),
    _longbench("qasper", "Is it?", "A paper.", "Unanswerable"),
    _longbench("qasper_e", "Which?", "A paper of oak.", "oak"),
    _longbench("narrativeqa", "Why did she go?", "A story.", "to see Bo"),
    _longbench("multifieldqa_zh", "谁？", "一篇文章。", "是阿达。"),
    _longbench("dureader", "谁？", "文章1\n标题:a\n内容。\n文章2\n标题:b\n阿达。", "阿达。"),
]
LONGBENCH_V2: list[Row] = [
    {
        "_id": "66eb",
        "domain": "Single-Document QA",
        "sub_domain": "Literary",
        "difficulty": "hard",
        "length": "short",
        "question": "Who mills?",
        "choice_A": "Bo",
        "choice_B": "Ada",
        "choice_C": "Both",
        "choice_D": "Nobody",
        "answer": "B",
        "context": "Ada mills.",
    }
]
ARTICLES = [
    {
        "title": title,
        "author": "Ada",
        "source": "The Orrow Post",
        "published_at": "2023-10-07T12:00:00+00:00",
        "category": "business",
        "url": f"https://x/{title}",
        "body": body,
    }
    for title, body in [("Mill", "Bo bought it."), ("Oak", "Oak fell."), ("Ash", "Ash rose fast.")]
]
FACTS = [{**{k: v for k, v in a.items() if k != "body"}, "fact": "It is so."} for a in ARTICLES[:2]]
MULTIHOP: list[Row] = [
    {
        "query": "Who bought the mill while oak fell?",
        "answer": "Bo",
        "question_type": "inference_query",
        "evidence_list": FACTS,
    },
    {
        "query": "Did oak fall and ash rise?",
        "answer": "Yes",
        "question_type": "comparison_query",
        "evidence_list": FACTS,
    },
    {
        "query": "Who said that ash rose slowly in Tarn?",
        "answer": "Insufficient information.",
        "question_type": "null_query",
        "evidence_list": [],
    },
]
TALK = [
    {"role": "user", "content": "write a poem about mills"},
    {"role": "assistant", "content": "The mill turns slowly by the stream"},
    {"role": "user", "content": "Prepend x7Q to the 1st (1 indexed) poem about mills."},
]
MRCR = [
    {
        "prompt": json.dumps(TALK),
        "answer": "x7QThe mill turns slowly by the stream",
        "random_string_to_prepend": "x7Q",
        "n_needles": 2,
        "desired_msg_index": 1,
        "total_messages": 3,
        "n_chars": 99,
    }
]


def _golong(ability: str, question: str, items: list[str], label: str, mode: str = "") -> Row:
    content = f"Read this.\n\nAda mills, Bo bakes.\n\n{question}\n\nAnswer behind [Answer]."
    return {
        "data_source": "longbench_pro",
        "prompt": [{"role": "user", "content": content}],
        "ability": ability,
        "reward_model": {
            "ground_truth": {"doc_ids": items, "golden_label": label, "summary": "English"}
        },
        "extra_info": {"reward_mode": mode, "question": question},
    }


TABLE = json.dumps({"columns": ["who"], "data": [["Ada"], ["Bo"]]})
PICK = "Who mills?\n(A) Ada\n(B) Bo"
GOLONG = [
    _golong("Precise Long-Range Information Retrieval", "Who?", [], "Ada", "EM"),
    _golong("Evidence-Grounded Comprehension and Reasoning", PICK, [], "A"),
    _golong("High-Recall Exhaustive Retrieval and Verification", "Who?", ["Ada", "Bo"], ""),
    _golong("Numerical Extraction and Quantitative Reasoning", "How many?", [], "2"),
    _golong("Multi-Table Structured Extraction", "Who?", [], TABLE),
    _golong("Fragment-Level Structured Matching and Induction", "Which?", ["Ada", "Bo"], ""),
    _golong("Dimension-Quantified Retrieval and Graded Ranking", "Rank.", ["Bo", "Ada"], ""),
    _golong("Sequence Reconstruction and Ordering", "Sort.", ["Ada", "Bo"], ""),
    _golong("Long Document Summarization", "Sum up.", ["Ada mills and Bo bakes."], ""),
]

SETS: dict[str, tuple[Source, list[Row], list[str]]] = {
    "docqa_rl": (PUBLISHED["docqa_rl"], DOCQA, ["numeric", "choice", "yes_no", "extractive"]),
    "docmath": (PUBLISHED["docmath"], DOCMATH, ["numeric"]),
    "frames": (PUBLISHED["frames"], FRAMES, ["extractive"]),
    "hotpotqa": (PUBLISHED["hotpotqa"], HOTPOT, ["yes_no"]),
    "wikimultihop": (PUBLISHED["wikimultihop"], WIKI, ["extractive"]),
    "musique": (PUBLISHED["musique"], MUSIQUE, ["extractive"]),
    "narrativeqa": (PUBLISHED["narrativeqa"], NARRATIVE, ["summary"]),
    "qasper": (PUBLISHED["qasper"], QASPER, ["extractive", "list", "yes_no", "yes_no", "summary"]),
    "longbench": (
        PUBLISHED["longbench"],
        LONGBENCH,
        ["extractive", "yes_no", "extractive", "summary", "summary", "summary"],
    ),
    "longbench_v2": (PUBLISHED["longbench_v2"], LONGBENCH_V2, ["choice"]),
    "multihoprag": (PUBLISHED["multihoprag"], MULTIHOP, ["extractive", "yes_no", "yes_no"]),
    "mrcr": (PUBLISHED["mrcr"], MRCR, ["summary"]),
    "golongrl": (
        PUBLISHED["golongrl"],
        GOLONG,
        "extractive choice list numeric list list order order summary".split(),
    ),
}
"""Source, rows, and the kinds of the examples that they give."""
