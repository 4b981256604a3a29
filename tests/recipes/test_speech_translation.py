"""German numerals of spoken digits, and the recognizer that a model's encoder begins as."""

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from recipe_scripts import calls, copy_recipes, load, make, needs_make, verbs

digits = load("speech_translation/digits.py")
numerals = load("speech_translation/numerals.py")

WORDS = {word: str(value) for value, word in enumerate(numerals.ONES)} | {"ein": "1"}


def read(text: str) -> str:
    """The digits of German numerals, told from the grammar of numbers: the ones, "und", the tens."""
    found, words = "", text.split()
    while words:
        word = words.pop(0)
        if words[:1] == ["und"]:
            found += str(numerals.TENS.index(words[1]) + 2) + WORDS[word]
            words = words[2:]
        elif word in numerals.TENS:
            found += f"{numerals.TENS.index(word) + 2}0"
        elif word in numerals.TEENS:
            found += f"1{numerals.TEENS.index(word)}"
        else:
            found += WORDS[word]
    return found


@pytest.mark.parametrize(
    ("said", "german"),
    [
        ("24", "vier und zwanzig"),
        ("247", "vier und zwanzig sieben"),
        ("1705", "siebzehn null fünf"),
        ("5031", "fünfzig ein und dreißig"),
        ("00", "null null"),
        ("1", "eins"),
        ("101112", "zehn elf zwölf"),
        ("166776", "sechzehn sieben und sechzig sechs und siebzig"),
        ("96", "sechs und neunzig"),
    ],
)
def test_numbers_that_a_german_would_say(said: str, german: str) -> None:
    assert numerals.german([int(digit) for digit in said]) == german


def test_the_digits_can_be_told_from_the_numerals() -> None:
    for length in (1, 2, 3, 4):
        for said in product(range(10), repeat=length):
            assert read(numerals.german(said)) == "".join(map(str, said))


def test_what_is_said_in_the_test_set_is_not_said_in_training() -> None:
    found = list(digits.numbers({"train": 1500, "valid": 60, "test": 60}, 1))
    said = [text for _, text in found]
    assert len(set(said)) == len(said)
    assert {len(text) for text in said} == {3, 4, 5, 6}
    of_training = {word for split, text in found if split == "train" for word in text}
    assert of_training == set(numerals.DIGITS) == set(digits.KEYS)


def test_each_key_has_the_tones_of_its_row_and_its_column() -> None:
    """As on every telephone: 1 is 697 and 1,209 Hz, 0 is 941 and 1,336 Hz."""
    expected = {"one": (697, 1209), "five": (770, 1336), "nine": (852, 1477), "zero": (941, 1336)}
    for digit, tones in expected.items():
        spectrum = np.abs(np.fft.rfft(digits.dialled([digit], 3), digits.RATE))
        found = int(spectrum[600:1050].argmax()) + 600, int(spectrum[1050:1600].argmax()) + 1050
        # The pitch of a telephone is 3 % off at most, and a short tone is no line.
        assert found == pytest.approx(tones, rel=0.04)
    assert len(set(digits.KEYS.values())) == 10


def test_keys_are_heard_one_after_the_other() -> None:
    sound = digits.dialled(["three"] * 4, 5)
    loud = np.convolve(np.abs(sound), np.ones(160) / 160, "same")
    level = (loud.max() + loud.min()) / 3
    begins = np.flatnonzero(np.diff((loud > level).astype(int)) == 1)
    assert len(begins) == 4
    assert 4 * 0.1 < len(sound) / digits.RATE < 0.1 + 4 * 0.26


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("paths\ttranscript\tspeaker", "wav/a.wav wav/b.wav\ttwo four\tann"),
        ("id\taudio\ttgt_text", "u1\twav/a.wav wav/b.wav\ttwo four"),
        ("path\tseconds\ttranscript", "wav/a.wav wav/b.wav\t0.3\ttwo four"),
    ],
)
def test_a_manifest_keeps_its_recordings_wherever_it_is(tmp_path: Path, header: str, row: str) -> None:
    source, target = tmp_path / "data/train.tsv", tmp_path / "out/train.tsv"
    source.parent.mkdir()
    source.write_text(f"{header}\n{row}\n")
    assert numerals.main(["--manifest", str(source), "--out", str(target)]) == 0
    both = f"{tmp_path}/data/wav/a.wav {tmp_path}/data/wav/b.wav"
    assert target.read_text().splitlines() == ["audio\ttgt_text", f"{both}\tvier und zwanzig"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("audio\ttext\na.wav\ttwo\n", ":1: has not the columns audio or path"),
        ("audio\ttranscript\na.wav\ttwo ten\n", ":2: ten is no digit: zero one"),
        ("audio\ttranscript\na.wav\t\n", ":2: nothing is no digit"),
        ("", ":1: has not the columns"),
    ],
)
def test_what_is_no_manifest_of_digits_is_a_line(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "train.tsv", tmp_path / "out.tsv"
    source.write_text(text)
    assert numerals.main(["--manifest", str(source), "--out", str(target)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {source}{said}")
    assert not target.exists()


@needs_make
def test_the_encoder_begins_as_that_of_a_recognizer_of_the_same_recordings(tmp_path: Path) -> None:
    copy_recipes(tmp_path, "vier und zwanzig\n", '[{"name": "WER", "score": 1, "higher_is_better": false}]')
    data = tmp_path / "data"
    data.mkdir()
    draw = random.Random(1)
    for split in ("train", "valid", "test"):
        rows = [f"{number}.wav\t{' '.join(draw.choices(numerals.DIGITS, k=3))}\n" for number in range(3)]
        (data / f"{split}.connected.tsv").write_text("".join(["paths\ttranscript\n", *rows]))
    done = make(tmp_path, "check", f"DATA={data}", f"WORK={tmp_path}/out", recipe="speech_translation")
    assert done.returncode == 0, done.stderr
    found = calls(tmp_path)
    assert verbs(found) == ["preprocess", "preprocess", "train", "train", "generate", "score"]
    german, english = sorted(found[:2], key=lambda call: "recognizer" in call)
    assert f"--train-file {tmp_path}/out/numerals/train.tsv" in german
    assert f"--train-file {data}/train.connected.tsv" in english
    for flag in ("--num-mel-bins 40", "--cmvn global", "--source-type audio", "--tokenizer word"):
        assert flag in german
        assert flag in english
    assert f"--save-dir {tmp_path}/out/recognizer/run" in found[2]
    assert f"--init-encoder {tmp_path}/out/recognizer/run" in found[3]
    both = (call.split("--config ")[1].split()[0] for call in found[2:4])
    assert {Path(name).name for name in both} == {"config.toml"}
    arguments = (f"DATA={data}", f"WORK={tmp_path}/out", "MODEL=plain")
    assert make(tmp_path, "score", *arguments, recipe="speech_translation").returncode == 0
    plain = calls(tmp_path)
    assert verbs(plain) == ["train", "generate", "score", "score"]
    assert "--init-encoder" not in plain[0]
