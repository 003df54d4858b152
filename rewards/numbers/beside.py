"""What may stand beside a number or date in scripts for which no list of denials is ever full.

In Chinese, Japanese, Korean, Arabic and Hindi (and whatever else is written in no Latin or Greek
letters) a word that is not known to be neutral is a reason to refuse: a copula, a counter, "about",
what the question says and what the gold answers say are known, and nothing else. So 以降, 的翌日,
이 아닙니다, ما عدا and के अलावा are refused without being named anywhere.

Texts here have gone through ``tidy``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from qwenlong.rewards.numbers.months import WEEKDAYS
from qwenlong.rewards.numbers.tidy import tidy
from qwenlong.rewards.numbers.units import CURRENCIES, MEANINGS

_GLUED = "\u1100-\u11ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af"
_SPACED = (
    "\u0400-\u052f\u0590-\u05ff\u0610-\u061a\u0620-\u065f\u066e-\u06d3\u06d5-\u06ff"
    "\u0900-\u0963\u0970-\u0dff\u0e00-\u0eff"
)
_RUN = re.compile(f"[{_GLUED}]+|[{_SPACED}]+")
_LONGEST_RUN, _LONGEST_PIECE = 120, 12

_CHINESE = (
    "是 为 為 在 于 於 共 有 共有 一共 总共 總共 总计 總計 合计 合計 计 約 约 大约 大約 约为"
    " 約為 大概 左右 了 的 年 月 日 公元 西元 元 该 這 这 此 即 就是 达 達 达到 達到 等于 增至"
    " 升至 降至 增加到 增加至 减少到 减少至 下降到 下降至 答案 最终 最終 因此 所以 正确 正確"
    " 结果 結果 数量 數量 人数 人數 金额 金額 总额 總額 总数 總數 数值 年份 日期 时间 時間 公司"
    " 同比 环比 環比 季 季度 被"
)
_COUNTERS = (
    "人 个 個 名 家 项 項 条 條 次 种 種 位 座 所 台 臺 本 部 件 只 隻 支 艘 辆 輛 架 间 間 届"
    " 屆 场 場 集 首 张 張 篇 户 戶 套 层 層 岁 歲 度 章 页 頁 期 第 つ 社 枚 冊 回 歳 才 匹 頭"
    " 軒 棟 校 店 か所 カ所 ヶ所 箇所"
)
_JAPANESE = (
    "です でした である であった だ だった は が の を に には となる となります となった"
    " となりました になります になった になりました およそ 計 全部で 合わせて ちょうど 頃 ごろ"
    " 円 あります ありました ある あった います いました いる いた した しました されました"
    " された 答え 回答 正解 年度"
)
_KOREAN = (
    "은 는 이 가 을 를 의 에 로 으로 입니다 이다 임 이었다 였다 이었습니다 였습니다 이에요 예요"
    " 명 개 건 원 년 년도 연도 월 일 번 회 곳 사 대 권 장 마리 살 세 가지 시간 분 초 총 약 대략"
    " 전체 모두 합계 정도 가량 정답 답 최종 따라서 그러므로 있다 있습니다 있었다 있었습니다"
    " 되었다 되었습니다 됐다 됐습니다 했다 했습니다 하였다 하였습니다 니다 습니다 다"
)
_ARABIC = (
    "هو هي كان كانت يكون تكون بلغ بلغت يبلغ تبلغ في من عام سنة عدد عددهم نسبة قيمة مبلغ حوالي"
    " تقريبا نحو قدره قدرها مقداره مقدار اجابة جواب نهائية نهائي صحيحة هذا ذلك هناك يوجد توجد"
    " اجمالي مجموع يساوي تساوي شخص اشخاص مرة مرات يوم شهر موافق تاريخ ميلادي ميلادية م ذلك فان"
)
_HINDI = (
    "है हैं था थी थे हुआ हुई हुए हो गया गई गए का की के को में ने कुल लगभग करीब यह वह इसका इसकी"
    " उत्तर सही जवाब अंतिम वर्ष साल सन ईस्वी ई तारीख संख्या राशि लोग व्यक्ति बार दर मूल्य इसलिए"
    " अतः बराबर रहा रही रहे"
)
_IN_DATES = (
    "自 从 從 起 至 到 截至 以来 以來 まで までに から 以来 부터 까지 منذ حتى से तक 上午 下午"
    " 午前 午後 晚上 오전 오후 صباحا مساء सुबह शाम"
)
"""By, until and since a date are that date."""
_PREFIXES = ("وال", "بال", "فال", "لل", "ال", "و", "ب", "ل", "ف")
_KINDS = frozenset("stop year in percent fraction decrease loss increase minus".split())
_DENIALS = re.compile(
    "[不非没沒無无未除错錯误誤假勿别別莫否]|以[外后後前降]|之[外后後前]|翌|前日|間違|違|でな|ない|なか"
    "|ません|じゃ|より|超|至少|至多|아니|아닙|아닌|않|없|이후|이전|이외|제외|틀|보다"
    r"|(?<!\w)(?:و?(?:لا|لم|لن|ليس|ليست|ما|غير|سوى|الا|عدا|دون|بعد|قبل|خطا|اكثر|اقل|اكبر|اصغر)"
    r"|नहीं|न|ना|मत|गलत|ग़लत|बिना|अलावा|सिवाय|छोड़कर|बाद|पहले|अधिक|कम|ज्यादा|आधा|दुगना)(?!\w)"
)
_NEXT = re.compile("次[年日月天周]")
"""次 is a counter, and these are the year or day after."""
_DIRECTED = re.compile(
    r"(?:多少|[几幾何])\w{0,3}[后後前]|몇 ?\w{1,3} ?[후전]|कितन[ेी] \w{1,12} (?:बाद|पहले)"
    r"|(?:بعد|قبل) كم"
)
_DIRECTIONS = frozenset("后 後 前 之后 之後 以后 以後 之前 以前 후 전 बाद पहले بعد قبل".split())


class Known(NamedTuple):
    """What a question and its gold answers say, so that an answer may say it, too."""

    text: str
    words: frozenset[str]
    gold: str


def _folded(words: str) -> frozenset[str]:
    return frozenset(tidy(words).split())


def _neutral() -> frozenset[str]:
    listed = _folded(" ".join((_CHINESE, _JAPANESE, _KOREAN, _ARABIC, _HINDI)))
    meant = (
        word
        for word, meaning in MEANINGS.items()
        if word[0] >= "\u0400" and (meaning.kind in _KINDS or meaning.measures & CURRENCIES)
    )
    return listed | frozenset(meant)


_NEUTRAL_IN_DATES = _neutral() | _folded(_IN_DATES) | frozenset(WEEKDAYS)
_NEUTRAL = _neutral() | _folded(_COUNTERS)
_SPACED_UNITS = frozenset(
    word for word, meaning in MEANINGS.items() if meaning.kind in ("measure", "to")
)


@lru_cache(maxsize=4096)
def known_of(question: str, answers: tuple[str, ...]) -> Known:
    """The words of a question, its denials apart, and of all its gold answers."""
    asked = tidy(question[:4000]).casefold()
    golds = tidy("\n".join(answer[:200] for answer in answers)).casefold()
    text = f"{_DENIALS.sub(' ', asked)} {golds}"
    words = frozenset(_RUN.findall(text))
    return Known(text, words | _DIRECTIONS if _DIRECTED.search(asked) else words, golds)


def stray(rest: str, known: Known, dated: bool = False) -> str:
    """The first words in ``rest``, which stands beside a number or date, that are not known."""
    if rest.isascii():
        return ""
    neutral = _NEUTRAL_IN_DATES if dated else _NEUTRAL
    for match in _RUN.finditer(rest.casefold()):
        run = match[0]
        if run in neutral or run in known.words:
            continue
        glued = run[0] >= "\u1100"
        known_by = _is_made_of if glued else _is_word
        if _NEXT.search(run) or not known_by(run, neutral, known):
            return run
    return ""


def _is_word(word: str, neutral: frozenset[str], known: Known) -> bool:
    """A neutral word, a unit or a word of the question, perhaps with "and" or an article."""
    bare = [word.removeprefix(prefix) for prefix in _PREFIXES if word.startswith(prefix)]
    return any(
        each in neutral or each in known.words or each in _SPACED_UNITS for each in (word, *bare)
    )


def _is_made_of(run: str, neutral: frozenset[str], known: Known) -> bool:
    """Whether a run without spaces falls into known pieces; of the question's, two glyphs each."""
    if len(run) > _LONGEST_RUN:
        return False
    ends = {0}
    for start in range(len(run)):
        if start not in ends:
            continue
        for end in range(start + 1, min(start + _LONGEST_PIECE, len(run)) + 1):
            piece = run[start:end]
            said = piece in (known.text if end - start > 1 else known.gold) or piece in known.words
            if said or piece in neutral:
                ends.add(end)
    return len(run) in ends
