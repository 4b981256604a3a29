"""The generated data is right, and what its test lines need cannot be remembered from training."""

import json
import os
import random
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from recipe_scripts import RECIPES, load

spelling = load("g2p/spelling.py")
grammar = load("inflection/grammar.py")
facts = load("qa/facts.py")
clauses = load("srl/clauses.py")
logs = load("summarization/logs.py")
dialogues = load("dialogue/dialogues.py")
sounds = load("speech/sounds.py")
digits = load("speech_translation/digits.py")
shapes = load("captions/shapes.py")
tongues = load("low_resource/tongues.py")

SIZES = {"train": 600, "valid": 60, "test": 60}
GENERATORS = (
    "captions/shapes.py",
    "g2p/spelling.py",
    "inflection/grammar.py",
    "low_resource/tongues.py",
    "qa/facts.py",
    "speech/sounds.py",
    "speech_translation/digits.py",
    "srl/clauses.py",
    "summarization/logs.py",
)


def written(folder: Path) -> dict[str, bytes]:
    """What the files in a folder, and in those within it, hold."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("script", GENERATORS)
def test_a_seed_gives_the_same_files_again_and_another_seed_others(script: str, tmp_path: Path) -> None:
    for name, seed, hashes in (("one", "1", "1"), ("again", "1", "2"), ("other", "2", "1")):
        sizes = ["--train", "50", "--valid", "10", "--test", "12", "--seed", seed]
        command = [sys.executable, str(RECIPES / script), "--out", str(tmp_path / name), *sizes]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": hashes})
    files = written(tmp_path / "one")
    assert files == written(tmp_path / "again")
    assert all((tmp_path / "other" / name).read_bytes() != text for name, text in files.items())
    # A manifest's first line names its columns.
    numbers = {
        name: text.count(b"\n") - name.endswith(".tsv") for name, text in files.items() if "/" not in name
    }
    assert {numbers[name] for name in numbers if name.startswith("test")} == {12}
    assert len({numbers[name] for name in numbers if name.startswith("train")}) == 1


@pytest.mark.parametrize(
    ("word", "pronunciations"),
    [
        ("cat", ["K AE1 T"]),
        ("bite", ["B AY1 T"]),
        ("cite", ["S AY1 T"]),
        ("gem", ["JH EH1 M"]),
        ("quain", ["K W EY1 N"]),
        ("shack", ["SH AE1 K"]),
        ("rasi", ["R AE1 Z IH0"]),
        ("rassi", ["R AE1 S IH0"]),
        ("bronade", ["B R AH0 N EY1 D"]),
        ("tollobee", ["T AH0 L AH0 B IY1"]),
        ("max", ["M AE1 K S"]),
        ("maxo", ["M AE1 K S AH0", "M AE1 G Z AH0"]),
    ],
)
def test_words_are_pronounced_by_the_rules(word: str, pronunciations: list[str]) -> None:
    assert spelling.pronounce(word) == pronunciations


def test_every_test_word_has_a_consonant_and_vowel_that_training_did_not_show() -> None:
    words = spelling.generate(SIZES, 1)
    shown = {pair for word in words["train"] for pair in spelling.pairs(word)}
    assert {split: len(words[split]) for split in SIZES} == SIZES
    assert all(spelling.pairs(word) - shown for word in [*words["test"], *words["valid"]])
    assert not any(spelling.pairs(word) - shown and word in words["test"] for word in words["valid"])
    assert any(len(said) == 2 for said in words["train"].values())


@pytest.mark.parametrize(
    ("stem", "tags", "lemma", "form"),
    [
        ("talok", "N DAT PL", "talok", "taloklarda"),
        ("talok", "N ACC SG", "talok", "taloga"),
        ("miro", "N ACC SG", "miro", "mirona"),
        ("bet", "N GEN PL", "bet", "betlerin"),
        ("deke", "V PST 1 PL", "dekeme", "gedekemiz"),
        ("drat", "V FUT 3 SG", "dratma", "dradrat"),
        ("mirut", "V PST 3 PL", "mirutma", "gemirutlar"),
    ],
)
def test_forms_follow_the_grammar(stem: str, tags: str, lemma: str, form: str) -> None:
    bundle = tuple(tags.split())
    assert (grammar.lemma_of(stem, bundle), grammar.inflect(stem, bundle)) == (lemma, form)


def test_no_training_form_has_a_test_forms_tags_on_a_stem_that_ends_alike() -> None:
    keys = {}
    for split, pairs in grammar.generate(SIZES, 1).items():
        assert len({source for source, _ in pairs}) == SIZES[split]
        lemmas = [source.split(maxsplit=1) for source, _ in pairs]
        # The infinitive's ending is two letters.
        keys[split] = {(lemma[-3] if tags.startswith("<V>") else lemma[-1], tags) for lemma, tags in lemmas}
    assert not any(keys[one] & keys[other] for one, other in combinations(keys, 2))


def test_answers_stand_in_the_sentence_beside_what_was_asked_about() -> None:
    lines = facts.generate(SIZES, 1)
    for line, answers in lines["train"].items():
        question, sentence = line.split(" <sep> ")
        assert answers[0] in sentence
        if asked := re.fullmatch(r"Where was (.+) born\?", question):
            assert re.search(rf"{asked[1]} (was born )?in {answers[0]} in \d+", sentence)
        if asked := re.fullmatch(r"Who wrote (.+)\?", question):
            assert re.search(rf"{answers[0]} wrote {asked[1]} in", sentence)
            assert answers[1] == answers[0].split()[-1]
    words = {
        split: {word for line in found for word in re.findall(r"\w+", line)} for split, found in lines.items()
    }
    names = {word for word in words["test"] if not word.islower()} - {
        "Who",
        "What",
        "When",
        "Where",
        "The",
        "In",
    }
    assert len(names) > 50
    assert not names & (words["train"] | words["valid"])


def test_brackets_hold_the_sentence_and_verbs_meet_new_constructions() -> None:
    shown = {}
    for split, pairs in clauses.generate(SIZES, 1).items():
        keys = set()
        for source, target in pairs:
            plain = [word for word in target.split() if not word.startswith("[") and word != "]"]
            assert plain == [word for word in source.split() if word not in ("<v>", "</v>")]
            verb = re.search(r"<v> (\w+) </v>", source)
            assert verb is not None
            assert f"[V {verb[1]} ]" in target
            keys.add((verb[1], tuple(re.findall(r"\[(\S+)", target))))
        shown[split] = keys
    assert not shown["train"] & shown["test"]
    assert not shown["train"] & shown["valid"]
    assert {verb for verb, _ in shown["test"]} <= {verb for verb, _ in shown["train"]}


@pytest.mark.parametrize(
    "generator", [spelling, grammar, facts, clauses, logs, dialogues, sounds, shapes, digits]
)
def test_a_folder_that_cannot_be_is_a_line(
    generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    arguments = ["--out", str(tmp_path / "file"), "--train", "2", "--valid", "1", "--test", "1"]
    assert generator.main(arguments) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_cmudict_is_split_by_stems_and_keeps_all_pronunciations(tmp_path: Path) -> None:
    cmudict = load("g2p/cmudict.py")
    lines = ["dog D AO1 G", "dog's D AO1 G Z", "dogs D AO1 G Z # plural", "a AH0", "a(2) EY1", "!mark X"]
    letters = "bdfglmnprst"
    lines += [f"{one}a{two} {one.upper()} AE1 {two.upper()}" for one in letters for two in letters]
    words = cmudict.read(lines)
    assert words["a"] == ["AH0", "EY1"]
    assert words["dogs"] == ["D AO1 G Z"]
    assert "!mark" not in words
    assert len({cmudict.split_of(word) for word in ("dog", "dogs", "dog's")}) == 1
    cmudict.write(words, tmp_path)
    found: dict[str, str] = {}
    for split in ("train", "valid", "test"):
        spelled = (tmp_path / f"{split}.graphemes").read_text().splitlines()
        said = (tmp_path / f"{split}.phonemes").read_text().splitlines()
        assert len(spelled) == len(said) > 0
        found.update(zip((line.replace(" ", "") for line in spelled), [split] * len(spelled), strict=True))
        if split != "train":
            listed = [
                json.loads(line) for line in (tmp_path / f"{split}.refs.jsonl").read_text().splitlines()
            ]
            assert [entry["pronunciations"][0] for entry in listed] == said
    assert found.keys() == words.keys()


def test_what_is_said_in_a_test_recording_is_not_said_in_training_nor_by_its_speaker() -> None:
    said = list(sounds.utterances(SIZES, 1))
    for split in ("valid", "test"):
        others = [item for item in said if item[0] != split]
        for _, _, speaker, text in (item for item in said if item[0] == split):
            assert all(speaker.name != other.name and text != words for _, _, other, words in others)
    assert {word for item in said if item[0] == "test" for word in item[3]} <= {
        word for item in said if item[0] == "train" for word in item[3]
    }


def test_sounds_are_those_of_their_letters() -> None:
    """Where the strongest frequencies are tells vowels apart; a plosive begins with silence."""
    speaker = sounds.Speaker("one", 120.0, 1.0, 1.0)
    strongest = {}
    for vowel in "aiu":
        sound = sounds.Voice(speaker, 3).letter(vowel)
        spectrum = np.abs(np.fft.rfft(sound, 8000))
        strongest[vowel] = (int(spectrum[:1000].argmax()), int(spectrum[1500:].argmax()) + 1500)
    assert abs(strongest["a"][0] - 730) < 130
    assert abs(strongest["i"][0] - 300) < 90
    assert abs(strongest["i"][1] - 2200) < 250
    assert abs(strongest["u"][0] - 330) < 90
    assert not sounds.Voice(speaker, 3).letter("t")[:200].any()


@pytest.mark.parametrize("seed", range(5))
def test_each_word_has_a_twin_that_sounds_almost_as_it_does(seed: int) -> None:
    words = sounds.lexicon(random.Random(seed))
    assert len(set(words)) == len(words) == sounds.WORDS
    for one, other in zip(words[::2], words[1::2], strict=True):
        ((letter, near),) = (pair for pair in zip(one, other, strict=True) if pair[0] != pair[1])
        assert (letter, near) in sounds.NEAR


def test_a_speakers_sounds_differ_as_twins_do() -> None:
    """The second formant of a, at 1,200 Hz, is where that of o is, at 900, in some of its sounds, and in few."""
    voice = sounds.Voice(sounds.Speaker("one", 100.0, 1.0, 1.0), 1)
    middles = [np.log([hertz * voice._varied() for _ in range(4000)]) for hertz in (1200, 900)]
    assert [middle.std() for middle in middles] == pytest.approx([sounds.VARIATION] * 2, rel=0.05)
    # A normal deviate beyond half of the distance between both, in deviations: 1.2.
    assert np.mean(middles[0] < np.log([1200, 900]).mean()) == pytest.approx(0.115, abs=0.02)


def test_training_shows_each_shape_and_relation_but_no_sentence_of_the_test_set() -> None:
    found = list(shapes.scenes({"train": 3000, "valid": 60, "test": 60}, random.Random(1)))
    said = {split: {str(scene) for name, scene in found if name == split} for split in SIZES}
    assert not said["train"] & (said["test"] | said["valid"])
    assert not said["test"] & said["valid"]
    words = {split: {word for text in said[split] for word in text.split()} for split in said}
    assert words["test"] <= words["train"]
    assert len(words["train"]) == len({"a", "of"} | {*shapes.SIZES, *shapes.COLOURS, *shapes.KINDS}) + 2


@pytest.mark.parametrize("relation", shapes.PLACES)
def test_shapes_are_where_and_what_the_sentence_says(relation: str) -> None:
    """Where the pixels of each colour are, and how many."""
    one, other = shapes.Shape("large", "red", "square"), shapes.Shape("small", "blue", "ring")
    picture = shapes.paint(shapes.Scene((one, other), relation), random.Random(4)).astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 90)
    blue = (picture[..., 2] > 150) & (picture[..., 0] < 90)
    (row, column), (other_row, other_column) = (np.argwhere(colour).mean(0) for colour in (red, blue))
    difference = {"above": other_row - row, "left of": other_column - column}
    assert difference[relation] > 8
    assert red.sum() > 2 * blue.sum() > 0


def test_related_languages_say_the_same_and_no_text_says_it_twice() -> None:
    files = dict(tongues.generate(SIZES, parent=300, mono=400, seed=3))
    assert {name: len(lines) for name, lines in files.items() if name.endswith(".aa")} == {
        "train.aa": 600,
        "valid.aa": 60,
        "test.aa": 60,
        "parent.train.aa": 300,
        "parent.valid.aa": 60,
        "parent.test.aa": 60,
        "mono.aa": 400,
    }
    of_aa = [line for name, lines in files.items() if name.endswith(".aa") for line in lines]
    assert len(set(of_aa)) == len(of_aa)
    assert not {*files["test.bb"]} & {*files["mono.bb"], *files["train.bb"]}
    stems = tongues.make_stems(random.Random(3))
    shifted = [
        one.translate(tongues.SHIFTS) == other
        for kind in tongues.NUMBERS
        for one, other in zip(stems["bb"][kind], stems["cc"][kind], strict=True)
    ]
    # Four standard deviations of a binomial of 718 draws.
    assert abs(sum(shifted) / len(shifted) - tongues.RELATED) < 4 * (0.16 / len(shifted)) ** 0.5
    # A verb at the end, with the ending of the past where aa has its own.
    for aa, bb in zip(files["test.aa"], files["test.bb"], strict=True):
        assert "ed " not in aa or bb.endswith(f"{tongues.ENDINGS['bb'][2]} .")


def test_a_domain_says_some_of_its_words_in_another_way() -> None:
    files = dict(tongues.generate(SIZES, parent=0, mono=0, domain=200, seed=3))
    assert {name for name in files if name.startswith(("parent", "mono"))} == set()
    assert len(files["domain.train.bb"]) == 200
    stems = tongues.make_stems(random.Random(3))
    same = [
        [one == other for one, other in zip(stems["bb"][kind], stems["domain"][kind], strict=True)]
        for kind in ("noun", "adjective")
    ]
    assert abs(1 - np.mean(same[0]) - tongues.TERMS) < 4 * (0.21 / len(same[0])) ** 0.5
    assert all(same[1])
    assert not {*files["domain.test.aa"]} & {*files["domain.train.aa"], *files["train.aa"]}
