"""Three examples of every published set against the raw files, read by hand and without a reader.

OTT-QA's are in test_ottqa.
"""

from __future__ import annotations

from qwenlong.types import Example
from tests.data.published import folder, one, whole


def starting(name: str, question: str) -> Example:
    """The first example of a set whose question begins so."""
    return next(each for each in whole(name)[0] if each.question.startswith(question))


def test_hotpotqa() -> None:
    media = one("hotpotqa", "5a8e0dbd554299068b959e3e")
    assert media.question == (
        "What type of media does Hot Pixel and PlayStation Portable have in common?"
    )
    assert (media.answers, media.kind) == (("video game",), "extractive")
    gold = [media.documents[at] for at in media.gold_documents]
    assert sorted(each.split("\n")[0] for each in gold) == ["Hot Pixel", "PlayStation Portable"]
    assert media.reasoning.endswith("part of the seventh generation of video games consoles.")
    assert any(each.startswith("DJMax Portable Hot Tunes\n") for each in media.documents)

    archivist = one("hotpotqa", "5ae1b2b9554299422ee99684")
    assert archivist.answers == ("Robert Digges Wimberly Connor",)
    assert len(archivist.documents) == 10
    assert "NARA also transmits votes of the Electoral College" in archivist.reasoning

    airports = one("hotpotqa", "5ac4a5de5542995c82c4ad6e")
    assert (airports.answers, airports.kind) == (("yes",), "yes_no")
    assert len(airports.gold_documents) == 2


def test_tatqa() -> None:
    total = one("tatqa", "4960801d-277d-4f79-8eca-c4d0200fa9d6")
    assert (total.kind, total.answers) == ("numeric", ("$1,496.5 million",))
    assert total.documents[0] == (
        "Years Ended September 30,\n"
        "Fixed Price | 2019: $  1,452.4 | 2018: $  1,146.2 | 2017: $  1,036.9\n"
        "Other | 2019: 44.1 | 2018: 56.7 | 2017: 70.8\n"
        "Total sales | 2019: $1,496.5 | 2018: $1,202.9 | 2017: $1,107.7"
    )
    assert total.documents[2].endswith("disaggregated by contract type (in millions):")
    assert total.gold_documents == (0, 2)

    change = one("tatqa", "eb787966-fa02-401f-bfaf-ccabf3828b23")
    assert (change.kind, change.answers) == ("numeric", ("-12.6 million",))
    assert change.reasoning == "44.1-56.7 = -12.6 million"
    assert change.group == total.group

    both = one("tatqa", "c3993366-da98-42f2-a5b2-3de28c4d0e10")
    assert (both.kind, both.answers) == ("list", ("73,260", "57,768"))
    assert both.metadata["ordered"] is True
    assert both.metadata["aliases"] == {
        "73,260": ["73,260 thousand"],
        "57,768": ["57,768 thousand"],
    }
    largest = one("tatqa", "f4142349-eb72-49eb-9a76-f3ccb1010cbc")
    assert (largest.kind, largest.answers) == ("extractive", ("2019",))


def test_finqa() -> None:
    volume = one("finqa", "finqa0")
    assert volume.question == (
        "what is the average payment volume per transaction for american express?"
    )
    assert (volume.kind, volume.answers) == ("numeric", ("127.4",))
    assert volume.metadata["rel_tolerance"] == 0.005
    (page,) = volume.documents
    assert (
        "\ncompany: american express | payments volume ( billions ): 637 | total volume"
        " ( billions ): 647 | total transactions ( billions ): 5.0 | cards ( millions ): 86\n"
    ) in page
    assert page.startswith("largest operators of open-loop") and page.endswith("amounts to the .")

    maturities = one("finqa", "finqa24")
    assert maturities.answers == ("2.75566",)
    assert maturities.metadata["scale"] == "fraction"

    advertising = one("finqa", "finqa318")
    assert (advertising.kind, advertising.answers) == ("yes_no", ("no",))
    assert advertising.question.startswith("does the company spend more on advertising in 2012")


def test_convfinqa() -> None:
    price = one("convfinqa", "Single_MRO/2007/page_134.pdf-1")
    assert price.question.split("\n") == [
        "On MRO, report of 2007, page 134. The questions follow on one another; answer the last of"
        " them, number 5.",
        "1. what was the weighted average exercise price per share in 2007?",
        "2. and what was it in 2005?",
        "3. what was, then, the change over the years?",
        "4. what was the weighted average exercise price per share in 2005?",
        "5. and how much does that change represent in relation to this 2005 weighted average"
        " exercise price?",
    ]
    assert (price.kind, price.answers) == ("numeric", ("1.42403",))
    assert price.documents[1].split("\n")[:2] == [
        "MRO, report of 2007, page 134",
        "weighted average exercise price per share | 2007: $ 60.94 | 2006: $ 37.84 | 2005: $ 25.14",
    ]
    assert price.gold_documents == (1,) and price.group.startswith("convfinqa:")
    assert price.reasoning.endswith("exercise price? x0 = 60.94 - 25.14; x0 / 25.14")

    costs = one("convfinqa", "Double_HII/2017/page_104.pdf")
    assert costs.answers == ("0.375",) and costs.gold_documents == (0, 1)
    assert costs.metadata["scale"] == "fraction"

    savings = one("convfinqa", "Single_IPG/2009/page_85.pdf-3")
    assert savings.answers == ("10.82621",) and savings.metadata["scale"] == "percent"
    assert savings.gold_documents == (0,)


def test_bamboo() -> None:
    entities = starting("bamboo", "How to get additional knowledge for entities?")
    assert entities.question.split("\n")[1:] == [
        "A. Making V&L model pre-trained.",
        "B. Supplementing image information.",
        "C. Build a bigger dataset.",
        "D. Supplementing textual information.",
    ]
    assert (entities.kind, entities.answers) == ("choice", ("B",))
    assert entities.documents[0].startswith("Introduction\nVision & Language (V&L), which is the")
    background = starting("bamboo", "What does the background mainly show?")
    assert background.answers == ("D",) and len(background.metadata["options"]) == 4
    assert background.metadata["options"][3] == "D. Core concepts in the experimental process."
    taxes = starting("bamboo", "What was the attitude of members when the issue of tax increase")
    assert taxes.answers == ("A",)
    assert taxes.metadata["options"][0] == "A. All of them disagree with tax rise."
    assert taxes.metadata["part"] == "meetingqa_4k"


def test_cuad() -> None:
    alco = "ALCOSTORESINC_12_14_2005-EX-10.26-AGENCY AGREEMENT"
    text = (folder("cuad") / "contracts" / f"{alco}.txt").read_text(encoding="utf-8")
    audit = one("cuad", f"{alco}: Audit Rights: spans")
    assert audit.answers == (
        "Such books and records shall be open for inspection and examination by Lessor and its"
        " respective representatives and/or accountants during the Company's normal business"
        " hours.",
    )
    assert audit.kind == "extractive" and audit.documents == (f"{alco}\n{text.strip()}",)
    assert one("cuad", f"{alco}: Audit Rights: answer").answers == ("yes",)
    assert one("cuad", f"{alco}: Non-Compete: answer").answers == ("no",)
    parties = one("cuad", f"{alco}: Parties: spans")
    assert parties.kind == "list" and len(parties.answers) == 5
    assert parties.answers[2] == "General Electric Capital Corporation"
    signed = one("cuad", f"{alco}: Agreement Date: answer")
    assert (signed.kind, signed.answers) == ("date", ("11/9/05",))
    accuray = "ACCURAYINC_09_01_2010-EX-10.31-DISTRIBUTOR AGREEMENT"
    law = one("cuad", f"{accuray}: Governing Law: answer")
    assert (law.kind, law.answers) == ("extractive", ("Germany",))
    assert f'"{accuray}"' in law.question and law.group == f"cuad:{accuray}"


def test_xquad() -> None:
    questions = {
        "en": "How many points did the Panthers defense surrender?",
        "zh": "黑豹队的防守丢了多少分？",
        "es": "¿Cuántos puntos dejaron escapar en defensa los Panthers?",
        "ar": "كم نقطة تخلى عنها دفاع البانثرز؟",
    }
    for language, question in questions.items():
        points = one("xquad", f"56beb4343aeaaa14008c925b-{language}")
        assert (points.question, points.answers) == (question, ("308",))
        assert points.group == "xquad:56beb4343aeaaa14008c925b"
        assert points.metadata["language"] == language
    funded = one("xquad", "56dfb5777aa994140058e022-ar")
    assert funded.answers == ("تسلا للإنارة الكهربائية والتصنيع",)
    assert funded.group == "xquad:56dfa0d84a1a83140091ebb7"
    assert (funded.metadata["title"], points.metadata["title"]) == ("Nikola_Tesla", "Super_Bowl_50")
    edict = one("xquad", "57107d73b654c5140001f91d-es")
    assert edict.answers == ("Edicto de Fontainebleau",)
    assert edict.documents[0][311:].startswith("Edicto de Fontainebleau")


def test_cmrc2018() -> None:
    makers = one("cmrc2018", "DEV_0_QUERY_0")
    assert makers.question == "《战国无双3》是由哪两个公司合作开发的？"
    assert makers.answers == ("光荣和ω-force",)
    assert makers.documents[0].startswith("《战国无双3》（）是由光荣和ω-force开发的")
    mode = one("cmrc2018", "DEV_0_QUERY_1")
    assert mode.answers == ("村雨城", "任天堂游戏谜之村雨城") and mode.group == makers.group
    # A spreadsheet made 39764.0 of a day.
    assert one("cmrc2018", "DEV_10_QUERY_2").answers == (
        "2008年11月12日中超联赛与山东鲁能的比赛中",
    )


def test_longbench() -> None:
    name = "longbench"
    growth = one(name, "d982b054f226d4ed1ccc41c2e42df05e1c62449d1b85e726")
    assert growth.question == "2020年浙江省的生产总值增长了多少？"
    assert (growth.kind, growth.answers) == ("numeric", ("3.6%",))
    assert growth.documents[0].startswith("政府工作报告")
    signed = one(name, "c1e727ece41ae67fbbd2b63916b7bf1235ac7fd9610f83c8")
    assert (signed.kind, signed.answers) == ("date", ("2014年11月4日",))
    proved = one(name, "61ada6c035b9191b469868778691b149f7ee8cb55c7aec0c")
    assert proved.kind == "summary"
    assert proved.answers == ("证明了王年方等三人与隆泉公司为挂靠关系。",)
    again = one(name, "063b7d6c23bc70fcd2d7114f86b790c88ab91fef00615f83")
    assert again.group == proved.group and again.answers == proved.answers


def test_fairytaleqa() -> None:
    weather = one("fairytaleqa", "Snow-man-1")
    assert weather.question == "How did the Snow Man describe the weather?"
    assert (weather.kind, weather.answers) == ("extractive", ("delightfully cold",))
    assert weather.gold_documents == (0,)
    assert weather.documents[0].startswith(
        'Snow man, section 1\n"It is so delightfully cold," said the Snow Man,'
    )
    wish = one("fairytaleqa", "Snow-man-4")
    assert wish.kind == "summary" and wish.gold_documents == (1,)
    assert wish.answers == (
        "move away from that place",
        "slide along on the ice",
        "move along the ice",
    )
    fishes = one("fairytaleqa", "a-fish-story-2")
    assert fishes.question == "Why didn't the fishes hunt on land anymore?"
    assert fishes.gold_documents == (0, 3) and fishes.kind == "summary"
    assert len(fishes.answers) == 2
