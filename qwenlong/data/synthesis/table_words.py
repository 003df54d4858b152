"""Words and sentences for tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OPERATIONS = ("sum", "difference", "ratio", "argmax", "count")


@dataclass(frozen=True)
class Phrases:
    titles: tuple[str, ...]
    corner: str
    columns: tuple[str, ...]
    goods: tuple[str, ...]
    listed: str
    asks: Mapping[str, tuple[str, ...]]
    """By operation; ``between`` is a difference of two tables."""
    works: Mapping[str, str]


PHRASES = {
    "en": Phrases(
        (
            "Goods landed at {place} in {year}",
            "Stores kept at {place} in {year}",
            "Trade of {place} in {year}",
        ),
        "Goods",
        ("Crates", "Barrels", "Sacks", "Bundles", "Chests", "Jars"),
        tuple(
            "barley salt wool copper timber tallow cork resin indigo ginger raisins flax hops"
            " vinegar candles leather paper glass".split()
        ),
        ", ",
        {
            "sum": (
                'What is the sum of the column "{column}" in the table "{title}"?',
                'Add up all numbers under "{column}" in the table "{title}". What do they make?',
            ),
            "difference": (
                'In the table "{title}", by how much is the number of {high} under "{column}"'
                " above that of {low}?",
                'Take the number of {low} from that of {high} under "{column}" in the table'
                ' "{title}". What is left?',
            ),
            "between": (
                'By how much is the number of {row} under "{column}" in the table "{more}" above'
                ' that in the table "{less}"?',
                'Under "{column}", what is the number of {row} in the table "{more}" minus that in'
                ' the table "{less}"?',
            ),
            "ratio": (
                'In the table "{title}", divide the number of {high} under "{column}" by that of'
                " {low}. Round to two decimals.",
                'How many times the number of {low} is that of {high} under "{column}" in the'
                ' table "{title}"? Give two decimals.',
            ),
            "argmax": (
                'Which goods have the largest number under "{column}" in the table "{title}"?',
                'In the table "{title}", which row is highest in the column "{column}"?',
            ),
            "count": (
                'How many rows of the table "{title}" have more than {limit} under "{column}"?',
                'Count the rows of the table "{title}" with a number above {limit} in the column'
                ' "{column}".',
            ),
        },
        {
            "sum": 'The column "{column}" of the table "{title}" gives {sum} = {answer}.',
            "difference": 'In the table "{title}", {high} has {a} under "{column}" and {low} has'
            " {b}. The difference is {a} - {b} = {answer}.",
            "between": 'Under "{column}", {row} has {a} in the table "{more}" and {b} in the table'
            ' "{less}". The difference is {a} - {b} = {answer}.',
            "ratio": 'In the table "{title}", {high} has {a} under "{column}" and {low} has {b}.'
            " {a} / {b} is {answer}, rounded to two decimals.",
            "argmax": 'The largest number under "{column}" in the table "{title}" is {most}. It'
            " stands in the row of {answer}.",
            "count": 'In the table "{title}", these rows have more than {limit} under "{column}":'
            " {rows}. Their number is {answer}.",
        },
    ),
    "zh": Phrases(
        ("{year}年{place}到港货物表", "{year}年{place}库存货物表", "{year}年{place}贸易表"),
        "货物",
        ("箱数", "桶数", "袋数", "捆数", "罐数", "筐数"),
        tuple(
            "大麦 食盐 羊毛 铜锭 木材 牛脂 软木 松脂 靛青 生姜 葡萄干 亚麻 香料 陈醋 蜡烛 皮革 纸张"
            " 玻璃".split()
        ),
        "、",
        {
            "sum": (
                "表“{title}”中“{column}”一列的总和是多少？",
                "把表“{title}”里“{column}”一列的所有数字相加，结果是多少？",
            ),
            "difference": (
                "在表“{title}”中，{high}的“{column}”比{low}多多少？",
                "在表“{title}”中，用{high}的“{column}”减去{low}的“{column}”，结果是多少？",
            ),
            "between": (
                "{row}的“{column}”在表“{more}”中比在表“{less}”中多多少？",
                "就“{column}”而言，用表“{more}”中{row}的数字减去表“{less}”中{row}的数字，结果是多少？",
            ),
            "ratio": (
                "在表“{title}”中，{high}的“{column}”除以{low}的“{column}”是多少？保留两位小数。",
                "在表“{title}”中，{high}的“{column}”相当于{low}的多少倍？保留两位小数。",
            ),
            "argmax": (
                "表“{title}”中哪种货物的“{column}”最大？",
                "在表“{title}”中，“{column}”一列数字最大的是哪一行的货物？",
            ),
            "count": (
                "表“{title}”中有几行的“{column}”大于{limit}？",
                "请数一数，表“{title}”中“{column}”超过{limit}的有几行？",
            ),
        },
        {
            "sum": "表“{title}”的“{column}”一列相加：{sum} = {answer}。",
            "difference": "在表“{title}”中，{high}的“{column}”是{a}，{low}的是{b}。"
            "差为{a} - {b} = {answer}。",
            "between": "{row}的“{column}”在表“{more}”中是{a}，在表“{less}”中是{b}。"
            "差为{a} - {b} = {answer}。",
            "ratio": "在表“{title}”中，{high}的“{column}”是{a}，{low}的是{b}。"
            "{a} / {b}保留两位小数为{answer}。",
            "argmax": "表“{title}”的“{column}”一列中最大的数是{most}。它在{answer}那一行。",
            "count": "表“{title}”中“{column}”大于{limit}的有：{rows}。一共{answer}行。",
        },
    ),
}
