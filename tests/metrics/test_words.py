"""The unit of metrics over words fits the text, and the signature says what it is."""

from __future__ import annotations

import pytest

from s2scli.components import METRICS
from s2scli.metrics.base import MetricOptions
from s2scli.metrics.words import bleu_tokenizer, characters, looks_latin

CHINESE, JAPANESE, THAI = "今天天气很好。", "これはペンです。", "วันนี้อากาศดี"
UNSPACED = {"zh": CHINESE, "ja": JAPANESE, "th": THAI, "my": "ဒီနေ့ကောင်းတယ်", "km": "ថ្ងៃនេះល្អ", "lo": "ມື້ນີ້ດີ"}
SPACED = {
    "ru": "Сегодня хорошая погода в городе",
    "el": "Σήμερα ο καιρός είναι καλός",
    "hi": "आज मौसम बहुत अच्छा है",
    "ar": "الطقس جميل اليوم هنا",
    "he": "מזג האוויר יפה היום",
    "ko": "오늘 날씨가 아주 좋네요",
    "am": "ዛሬ አየሩ በጣም ጥሩ ነው",
}
OVER_WORDS = ("ter", "wer", "rouge1", "rouge2", "rougel", "rougelsum", "f1", "chrf++", "distinct1", "length")


@pytest.mark.parametrize("name", OVER_WORDS)
@pytest.mark.parametrize("text", UNSPACED.values(), ids=UNSPACED)
def test_characters_are_words_where_there_are_no_spaces(name: str, text: str) -> None:
    score = METRICS[name]().score([text, text[:-2]], [[text, text]], [text, text])
    assert {"tok:char", "unit:char"} & {*score.signature.split("|")}
    # One of two lines lacks its last characters: over white space all of that line would be wrong.
    if name in ("ter", "wer"):
        assert 0 < score.value < 30
    elif name.startswith(("rouge", "f1")):
        assert 70 < score.value < 100


@pytest.mark.parametrize("text", UNSPACED.values(), ids=UNSPACED)
def test_marks_stay_with_their_letters(text: str) -> None:
    parts = characters(text)
    assert "".join(parts) == text
    assert len(parts) >= 3
    assert "\u0e49" not in parts  # a tone mark of Thai


@pytest.mark.parametrize("text", SPACED.values(), ids=SPACED)
def test_rouge_reads_every_script(text: str) -> None:
    """A perfect output of Cyrillic, Greek, … was 0: the words of the original are runs of a-z and 0-9."""
    words = text.split()
    for name in ("rouge1", "rouge2", "rougel", "rougelsum"):
        assert METRICS[name]().score([text], [[text]]).value == pytest.approx(100)
        assert METRICS[name]().sentence(text, [text]) == pytest.approx(100)
    half = METRICS["rouge1"](MetricOptions(stem=True)).score([" ".join(words[:2])], [[text]])
    precision, recall = 1, 2 / len(words)
    assert half.value == pytest.approx(200 * precision * recall / (precision + recall))
    assert "tok:unicode|stem:no" in half.signature
    assert "tok:rouge|stem:yes" in METRICS["rouge1"](MetricOptions(stem=True)).score(["a"], [["a"]]).signature


def test_names_in_other_scripts_do_not_make_a_text_another() -> None:
    assert looks_latin(
        ["Die Straße von Łódź nach Москва ist sehr, sehr lang und führt über très viele Brücken"]
    )
    assert looks_latin(["123", None, ""])
    assert not looks_latin(["Москва: WHO"])


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [(CHINESE, "zh"), ("東京は大きいです", "char"), (THAI, "char"), ("plain words", "13a"), ("", "13a")],
)
def test_bleu_takes_the_tokenizer_that_fits_the_references(text: str, tokenizer: str) -> None:
    assert bleu_tokenizer([text]) == tokenizer
    score = METRICS["bleu"]().score([text], [[text]])
    assert f"tok:{tokenizer}|" in score.signature
    wanted = METRICS["bleu"](MetricOptions(tokenize=tokenizer)).score([text], [[text]])
    assert (score.value, score.signature) == (wanted.value, wanted.signature)
    assert METRICS["bleu"]().sentence(text, [text]) == pytest.approx(100 if text else 0)


def test_what_is_asked_for_goes_over_what_the_text_looks_like() -> None:
    assert "tok:13a" in METRICS["bleu"](MetricOptions(tokenize="13a")).score([CHINESE], [[CHINESE]]).signature
    assert "unit" not in METRICS["ter"](MetricOptions(tokenize="13a")).score([CHINESE], [[CHINESE]]).signature
    assert "unit:char" in METRICS["ter"](MetricOptions(tokenize="zh")).score(["a"], [["a"]]).signature
