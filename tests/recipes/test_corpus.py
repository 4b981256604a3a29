"""The generated corpus says what a careful speaker of the three languages would say."""

from pathlib import Path

import pytest
from recipe_scripts import load

corpus = load("translation/corpus.py")

SIZES = {"train": 3000, "valid": 200, "test": 200}


@pytest.mark.parametrize(
    ("number", "english", "german", "chinese"),
    [
        (0, "zero", "null", "零"),
        (1, "one", "eins", "一"),
        (2, "two", "zwei", "二"),
        (7, "seven", "sieben", "七"),
        (10, "ten", "zehn", "十"),
        (11, "eleven", "elf", "十一"),
        (12, "twelve", "zwölf", "十二"),
        (13, "thirteen", "dreizehn", "十三"),
        (16, "sixteen", "sechzehn", "十六"),
        (17, "seventeen", "siebzehn", "十七"),
        (20, "twenty", "zwanzig", "二十"),
        (21, "twenty-one", "einundzwanzig", "二十一"),
        (30, "thirty", "dreißig", "三十"),
        (44, "forty-four", "vierundvierzig", "四十四"),
        (66, "sixty-six", "sechsundsechzig", "六十六"),
        (77, "seventy-seven", "siebenundsiebzig", "七十七"),
        (99, "ninety-nine", "neunundneunzig", "九十九"),
        (100, "one hundred", "einhundert", "一百"),
        (101, "one hundred and one", "einhunderteins", "一百零一"),
        (105, "one hundred and five", "einhundertfünf", "一百零五"),
        (110, "one hundred and ten", "einhundertzehn", "一百一十"),
        (112, "one hundred and twelve", "einhundertzwölf", "一百一十二"),
        (200, "two hundred", "zweihundert", "二百"),
        (321, "three hundred and twenty-one", "dreihunderteinundzwanzig", "三百二十一"),
        (1000, "one thousand", "eintausend", "一千"),
        (1001, "one thousand and one", "eintausendeins", "一千零一"),
        (1010, "one thousand and ten", "eintausendzehn", "一千零一十"),
        (1100, "one thousand one hundred", "eintausendeinhundert", "一千一百"),
        (1205, "one thousand two hundred and five", "eintausendzweihundertfünf", "一千二百零五"),
        (2002, "two thousand and two", "zweitausendzwei", "两千零二"),
        (2016, "two thousand and sixteen", "zweitausendsechzehn", "两千零一十六"),
        (
            9999,
            "nine thousand nine hundred and ninety-nine",
            "neuntausendneunhundertneunundneunzig",
            "九千九百九十九",
        ),
    ],
)
def test_numbers(number: int, english: str, german: str, chinese: str) -> None:
    assert corpus.say_number(number) == (english, german, chinese)


def test_counting_two_things_takes_another_chinese_word() -> None:
    assert corpus.say_count(2)[2] == "两"
    assert corpus.say_count(12)[2] == "十二"
    assert corpus.say_count(102)[2] == "一百零二"


def test_every_number_has_its_own_words() -> None:
    for said in zip(*(corpus.say_number(number) for number in range(10000)), strict=True):
        assert len(set(said)) == 10000


@pytest.mark.parametrize(
    ("year", "english", "german", "chinese"),
    [
        (1800, "eighteen hundred", "achtzehnhundert", "一八〇〇"),
        (1850, "eighteen fifty", "achtzehnhundertfünfzig", "一八五〇"),
        (1905, "nineteen oh five", "neunzehnhundertfünf", "一九〇五"),
        (1994, "nineteen ninety-four", "neunzehnhundertvierundneunzig", "一九九四"),
        (2000, "two thousand", "zweitausend", "二〇〇〇"),
        (2001, "two thousand and one", "zweitausendeins", "二〇〇一"),
        (2010, "twenty ten", "zweitausendzehn", "二〇一〇"),
        (2016, "twenty sixteen", "zweitausendsechzehn", "二〇一六"),
    ],
)
def test_years(year: int, english: str, german: str, chinese: str) -> None:
    assert corpus.say_year(year) == (english, german, chinese)


@pytest.mark.parametrize(
    ("date", "english", "german", "chinese"),
    [
        (
            (1994, 3, 3),
            "the third of March, nineteen ninety-four",
            "dritten März neunzehnhundertvierundneunzig",
            "一九九四年三月三日",
        ),
        (
            (2020, 1, 1),
            "the first of January, twenty twenty",
            "ersten Januar zweitausendzwanzig",
            "二〇二〇年一月一日",
        ),
        (
            (1912, 12, 12),
            "the twelfth of December, nineteen twelve",
            "zwölften Dezember neunzehnhundertzwölf",
            "一九一二年十二月十二日",
        ),
        (
            (2005, 10, 31),
            "the thirty-first of October, two thousand and five",
            "einunddreißigsten Oktober zweitausendfünf",
            "二〇〇五年十月三十一日",
        ),
    ],
)
def test_dates(date: tuple[int, int, int], english: str, german: str, chinese: str) -> None:
    assert corpus.say_date(date) == (english, german, chinese)


@pytest.mark.parametrize(
    ("day", "english", "german"),
    [
        (2, "second", "zweiten"),
        (5, "fifth", "fünften"),
        (7, "seventh", "siebten"),
        (8, "eighth", "achten"),
        (9, "ninth", "neunten"),
        (11, "eleventh", "elften"),
        (17, "seventeenth", "siebzehnten"),
        (19, "nineteenth", "neunzehnten"),
        (20, "twentieth", "zwanzigsten"),
        (21, "twenty-first", "einundzwanzigsten"),
        (22, "twenty-second", "zweiundzwanzigsten"),
        (28, "twenty-eighth", "achtundzwanzigsten"),
        (30, "thirtieth", "dreißigsten"),
    ],
)
def test_ordinals(day: int, english: str, german: str) -> None:
    assert (corpus.english_ordinal(day), corpus.german_ordinal(day)) == (english, german)


@pytest.mark.parametrize(
    ("time", "english", "german", "chinese"),
    [
        ((1, 0, ""), "one o'clock", "ein Uhr", "一点"),
        ((2, 0, "afternoon"), "two o'clock in the afternoon", "zwei Uhr nachmittags", "下午两点"),
        ((12, 0, ""), "twelve o'clock", "zwölf Uhr", "十二点"),
        ((1, 5, ""), "five past one", "fünf nach eins", "一点零五分"),
        (
            (7, 15, "morning"),
            "quarter past seven in the morning",
            "Viertel nach sieben morgens",
            "早上七点一刻",
        ),
        (
            (7, 20, "evening"),
            "twenty past seven in the evening",
            "zwanzig nach sieben abends",
            "晚上七点二十分",
        ),
        ((7, 25, ""), "twenty-five past seven", "fünf vor halb acht", "七点二十五分"),
        ((7, 30, ""), "half past seven", "halb acht", "七点半"),
        ((12, 30, ""), "half past twelve", "halb eins", "十二点半"),
        ((11, 35, ""), "twenty-five to twelve", "fünf nach halb zwölf", "十一点三十五分"),
        ((12, 45, ""), "quarter to one", "Viertel vor eins", "十二点三刻"),
        ((9, 55, ""), "five to ten", "fünf vor zehn", "九点五十五分"),
    ],
)
def test_times(time: tuple[int, int, str], english: str, german: str, chinese: str) -> None:
    assert corpus.say_time(time) == (english, german, chinese)


def test_sums_add_up_in_words() -> None:
    assert corpus.say_sum((2, 2)) == ("two plus two is four", "zwei plus zwei ist vier", "二加二等于四")


def test_a_sentence_is_composed_in_each_language() -> None:
    (template,) = (item for item in corpus.TEMPLATES if item.en.startswith("The {e}"))
    values = {
        "e": ("meeting", "Die Besprechung", "会议"),
        "n": corpus.say_number(12),
        "t": corpus.say_time((7, 30, "evening")),
    }
    assert corpus.compose(template, values) == (
        "The meeting in room twelve starts at half past seven in the evening.",
        "Die Besprechung in Raum zwölf beginnt um halb acht abends.",
        "十二号房间的会议晚上七点半开始。",
    )


def test_the_seed_decides_the_corpus() -> None:
    assert corpus.generate(SIZES, 1) == corpus.generate(SIZES, 1)
    assert corpus.generate(SIZES, 1) != corpus.generate(SIZES, 2)


def test_splits_are_disjoint_and_the_mapping_is_one_to_one() -> None:
    made = corpus.generate(SIZES, 3)
    assert {split: len(sentences) for split, sentences in made.items()} == SIZES
    everything = [sentence for sentences in made.values() for sentence in sentences]
    for language in zip(*everything, strict=True):
        assert len(set(language)) == len(everything)


def test_a_test_sentence_holds_values_its_template_never_had_in_training() -> None:
    (template,) = (item for item in corpus.TEMPLATES if item.en.startswith("Please open"))
    dealt = corpus.deal(template.slots["n"], corpus.Random(1))
    splits = {split: {value for group in groups for value in group} for split, groups in dealt.items()}
    assert set.union(*splits.values()) == set(range(1, 1000))
    assert sum(len(values) for values in splits.values()) == 999
    assert all(dealt["test"])

    pages = {
        split: {sentence[0] for sentence in sentences if sentence[0].startswith("Please open")}
        for split, sentences in corpus.generate(SIZES, 1).items()
    }
    assert pages["test"]
    assert not pages["test"] & pages["train"]


def test_files_are_aligned_text(tmp_path: Path) -> None:
    assert corpus.main(["--out", str(tmp_path / "new"), "--train", "50", "--valid", "10", "--test", "5"]) == 0
    counts = {path.name: path.read_bytes().count(b"\n") for path in (tmp_path / "new").iterdir()}
    expected = {"train": 50, "valid": 10, "test": 5}
    assert counts == {f"{split}.{lang}": n for split, n in expected.items() for lang in ("en", "de", "zh")}


def test_tens_of_thousands_of_pairs() -> None:
    made = corpus.generate({"train": 30000, "valid": 0, "test": 0}, 1)
    assert len({sentence[0] for sentence in made["train"]}) == 30000


def test_too_many_sentences_are_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert corpus.main(["--out", str(tmp_path / "file"), "--train", "5"]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    tiny = (corpus.Template("{n}", "{n}", "{n}", {"n": corpus.numbers(0, 9)}),)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "TEMPLATES", tiny)
        with pytest.raises(ValueError, match="cannot make 20 distinct train sentences"):
            corpus.generate({"train": 20, "valid": 0, "test": 0}, 1)
