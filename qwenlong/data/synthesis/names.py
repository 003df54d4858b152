"""Keys, values and names for facts: drawn so that none of them contains another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TypeVar

from qwenlong.types import InputError

T = TypeVar("T")

_ADJECTIVES = {
    "en": "amber brass carved copper crimson crooked double dusty emerald faded folding gilded"
    " hollow indigo ivory jagged knotted lacquered marbled narrow oaken painted pewter polished"
    " quilted rusty scarlet silver slanted speckled striped tarnished velvet violet waxed woven",
    "zh": "琥珀 黄铜 雕花 紫铜 绯红 弯曲 双层 蒙尘 翡翠 褪色 折叠 镀金 空心 靛蓝 象牙 锯齿 打结"
    " 上漆 大理石 细长 橡木 彩绘 锡制 抛光 绗缝 生锈 朱红 白银 倾斜 斑点 条纹 丝绒 紫色 打蜡 编织",
}
_NOUNS = {
    "en": "anchor abacus barometer basket bellows brooch bucket cabinet candlestick casket chalice"
    " compass decanter drum easel fiddle flagon goblet hammock harp hourglass inkwell kettle ladle"
    " lantern locket mandolin medallion mirror parasol pendulum pitcher quill saddle sextant"
    " spindle statuette sundial tapestry telescope thimble trumpet urn weathervane whistle",
    "zh": "船锚 算盘 气压计 篮子 风箱 胸针 水桶 柜子 烛台 首饰盒 圣杯 罗盘 酒壶 手鼓 画架 提琴"
    " 高脚杯 吊床 竖琴 沙漏 墨水瓶 水壶 长勺 灯笼 吊坠 月琴 奖章 镜子 阳伞 钟摆 羽毛笔 马鞍"
    " 六分仪 纺锤 雕像 日晷 挂毯 望远镜 顶针 小号 瓮 风向标 口哨",
}
_BIRDS = {
    "en": "heron plover warbler bunting falcon kestrel starling wagtail swallow puffin cormorant"
    " curlew oriole nuthatch lapwing",
    "zh": "苍鹭 鸻 柳莺 鹀 游隼 红隼 椋鸟 鹡鸰 燕子 海鹦 鸬鹚 杓鹬 黄鹂 山雀 麦鸡",
}
_PLUMAGE = {
    "en": "ashen azure banded bronze chestnut cinnamon collared crested dappled golden mottled"
    " olive russet sable spotted tawny",
    "zh": "灰羽 蓝背 环颈 铜翅 栗腹 桂红 领纹 凤头 花斑 金眉 杂斑 橄榄 锈胸 黑喉 点斑 黄褐",
}
_SYLLABLES = {
    "en": (
        "bel cor dra fen gal hol kel lor mar nor pel quin rav sel tor ul ver wil yar zan",
        "a e i o u an en or il ar",
        "dara fell gate holm lund mere mora nesk quay rand stow thorpe vane wick yard zill",
    ),
    "zh": (
        "青 白 云 松 石 柳 霜 鹿 雁 芦 枫 竹 荷 梅 桐",
        "泉 溪 岭 屏 坪 渚 崖 洲 峪",
        "镇 港 堡 渡 关 寨",
    ),
}
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


def in_language(table: Mapping[str, T], language: str) -> T:
    """What a table of phrases has for a language.

    Raises:
        InputError: it has none.
    """
    if language not in table:
        raise InputError(f"language={language!r}: must be one of {', '.join(table)}")
    return table[language]


def keys(rng: Random, number: int, language: str) -> list[str]:
    """Things with an attribute, such as "amber lantern" or 琥珀灯笼."""
    return _apart(rng, number, lambda: _joined(rng, _ADJECTIVES, _NOUNS, language))


def birds(rng: Random, number: int, language: str) -> list[str]:
    """Kinds of birds that no book knows, such as "russet plover" or 锈胸柳莺."""
    return _apart(rng, number, lambda: _joined(rng, _PLUMAGE, _BIRDS, language))


def places(rng: Random, number: int, language: str) -> list[str]:
    """Made-up places, such as "Belamere" or 青泉镇."""
    parts = [part.split() for part in in_language(_SYLLABLES, language)]
    return _apart(rng, number, lambda: "".join(rng.choice(part) for part in parts).capitalize())


def values(rng: Random, number: int) -> list[str]:
    """Values of one shape, by chance 4829173 or KTR-4821."""
    if rng.random() < 0.5:
        return _apart(rng, number, lambda: str(rng.randrange(10**6, 10**7)))
    return _apart(
        rng, number, lambda: f"{''.join(rng.sample(_LETTERS, 3))}-{rng.randrange(1000, 10_000)}"
    )


def uuids(rng: Random, number: int) -> list[str]:
    """Identifiers of 32 hexadecimal digits."""
    return _apart(rng, number, lambda: f"{rng.getrandbits(128):032x}")


def _joined(
    rng: Random, firsts: Mapping[str, str], seconds: Mapping[str, str], language: str
) -> str:
    joint = " " if language == "en" else ""
    first, second = in_language(firsts, language).split(), seconds[language].split()
    return f"{rng.choice(first)}{joint}{rng.choice(second)}"


def _apart(rng: Random, number: int, draw: Callable[[], str]) -> list[str]:
    drawn: list[str] = []
    while len(drawn) < number:
        name = draw()
        if not any(name in other or other in name for other in drawn):
            drawn.append(name)
    return drawn
