"""The dialogue recipe: its dialogues, what is true in them, answers without a model, and what its Makefile calls."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import recipe_scripts
from recipe_scripts import RECIPES, calls, copy_recipes, load, needs_make, verbs

from s2scli.data.dialogue import DialogueForm
from s2scli.data.source_form import SourceForm

dialogues = load("dialogue/dialogues.py")
sys.modules["dialogues"] = dialogues
truth = load("dialogue/truth.py")
backwards = load("dialogue/backwards.py")
baselines = load("dialogue/baselines.py")

SIZES = {"train": 300, "valid": 20, "test": 60}
BOOKING = {"item": "a table", "people": "four", "place": "Old Mill", "day": "Friday"}


def test_a_seed_gives_the_same_files_again_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed, hashes in (("one", "1", "1"), ("again", "1", "2"), ("other", "2", "1")):
        sizes = ["--train", "50", "--valid", "10", "--test", "12", "--seed", seed]
        script = str(RECIPES / "dialogue" / "dialogues.py")
        command = [sys.executable, script, "--out", str(tmp_path / name), *sizes]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": hashes})
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert set(files) == {"train.jsonl", "valid.jsonl", "test.jsonl", "test.facts.jsonl"}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert all((tmp_path / "other" / name).read_bytes() != text for name, text in files.items())
    test = [json.loads(line) for line in files["test.jsonl"].splitlines()]
    assert len(test) == 12
    assert files["test.facts.jsonl"].count(b"\n") == sum(
        dialogue["speakers"].count("SYSTEM") for dialogue in test
    )


@pytest.mark.parametrize(
    ("question", "facts"),
    [
        (("opens", "Blue Lantern", "Friday", 20), {"act": "opens", "day": "Friday", "time": "11 am"}),
        (("opens", "Old Mill", "Monday", 20), {"act": "opens", "day": "Monday", "time": "5:30 pm"}),
        (("closes", "Blue Lantern", "Saturday", 20), {"act": "closes", "day": "Saturday", "time": "11 pm"}),
        (("closes", "Palm House", "Sunday", 20), {"act": "closes", "day": "Sunday", "time": "7:30 pm"}),
        (("opens", "Blue Lantern", "Monday", 20), {"act": "closed", "day": "Monday"}),
        (("open at", "Green Pepper", "Sunday", 24), {"act": "closed", "day": "Sunday"}),
        (("costs", "Little Opera", "Sunday", 24), {"act": "costs", "price": "56"}),
        # From 9:00 to 17:00: half hours 18 to 34.
        (("open at", "Sea Museum", "Friday", 17), {"act": "is not open"}),
        (("open at", "Sea Museum", "Friday", 18), {"act": "is open", "from": "9 am", "time": "5 pm"}),
        (("open at", "Sea Museum", "Friday", 33), {"act": "is open"}),
        (("open at", "Sea Museum", "Friday", 34), {"act": "is not open", "from": "9 am", "time": "5 pm"}),
    ],
)
def test_what_has_to_be_said_is_what_the_table_of_places_says(
    question: tuple[str, str, str, int], facts: dict[str, str]
) -> None:
    found = dialogues.tell(*question)
    assert {**found, **facts, "place": question[1]} == found


OPENS = {"act": "opens", "place": "Blue Lantern", "day": "Friday", "time": "11 am"}
CONFIRM = {"act": "confirm", **BOOKING, "time": "7 pm", "name": "Meyer"}
WHOLE = "a table for four at the Old Mill on Friday at 7 pm in the name of Meyer"
OTHER_TIME = {"act": "other time", "from": "5:30 pm", "until": "11:30 pm", **BOOKING}


@pytest.mark.parametrize(
    ("answer", "facts", "expected"),
    [
        ("On Friday the Blue Lantern opens at 11 am.", OPENS, True),
        ("The Blue Lantern opens at 11 am on Friday.", OPENS, True),
        ("It opens at 11 am.", OPENS, True),
        ("On Friday the Blue Lantern opens at 11 pm.", OPENS, False),
        ("On Sunday the Blue Lantern opens at 11 am.", OPENS, False),
        ("On Friday the Old Mill opens at 11 am.", OPENS, False),
        ("It opens at 11:30 am.", OPENS, False),
        ("It closes at 11 am.", OPENS, False),
        ("The Blue Lantern is closed on Friday.", OPENS, False),
        ("It opens at 11 am. It opens at 11 am.", OPENS, False),
        ("It opens.", OPENS, False),
        ("", OPENS, False),
        (f"So that is {WHOLE}. Shall I book it?", CONFIRM, True),
        (f"{WHOLE.capitalize()}. Is that right?", CONFIRM, True),
        (f"I have booked {WHOLE}.", CONFIRM, False),
        (f"{WHOLE.replace('four', 'five').capitalize()}. Is that right?", CONFIRM, False),
        (f"{WHOLE.replace(' on Friday', '').capitalize()}. Is that right?", CONFIRM, False),
        (f"{WHOLE.replace('Meyer', 'Weber').capitalize()}. Is that right?", CONFIRM, False),
        ("A table for four at the Old Mill on Friday. At what time?", {"act": "time", **BOOKING}, True),
        ("A table at the Old Mill on Friday. At what time?", {"act": "time", **BOOKING}, False),
        (
            "A table for four at the Old Mill on Friday at 7 pm. At what time?",
            {"act": "time", **BOOKING},
            False,
        ),
        (
            "A table for four at the Old Mill on Friday. But the Old Mill is open from 5:30 pm to 11:30 pm then. "
            "At what time?",
            OTHER_TIME,
            True,
        ),
        (
            "A table for four at the Old Mill on Friday. But the Sea Museum is open from 5:30 pm to 11:30 pm then. "
            "At what time?",
            OTHER_TIME,
            False,
        ),
        (
            "A table for four at the Old Mill on Friday. I am sorry, it is open from 5:30 pm to 11 pm only. "
            "What other time?",
            OTHER_TIME,
            False,
        ),
        ("You are welcome.", {"act": "welcome"}, True),
    ],
)
def test_an_answer_is_true_or_not(answer: str, facts: dict[str, str], expected: bool) -> None:
    assert truth.is_true(answer, facts) is expected


def test_what_the_generator_says_is_true_and_bookings_can_be() -> None:
    splits = dialogues.make_splits(SIZES, 3)
    turns = {name: {tuple(item.turns) for item in items} for name, items in splits.items()}
    assert {name: len(items) for name, items in turns.items()} == SIZES
    assert not turns["test"] & turns["train"]
    acts: Counter[str] = Counter()
    for dialogue in (item for items in splits.values() for item in items):
        answers = dialogue.turns[1::2]
        assert len(answers) == len(dialogue.facts)
        for answer, facts in zip(answers, dialogue.facts, strict=True):
            assert truth.is_true(answer, facts), (answer, facts)
            acts[facts["act"]] += 1
            if facts["act"] == "booked":
                start, end = dialogues.PLACES[facts["place"]].hours[facts["day"]]
                hour, minutes, half = re.fullmatch(r"(\d+)(:30)? ([ap]m)", facts["time"]).groups()
                time = 2 * (int(hour) % 12 + (12 if half == "pm" else 0)) + bool(minutes)
                assert start <= time < end
    assert set(acts) == set(dialogues.FORMS)
    shares = truth.shares(["It opens at 11 am.", ""], [OPENS, OPENS])
    assert shares == {"score": 50.0, "answers": 2, "by_act": {"opens": 50.0}}


def test_backwards_twice_is_forwards() -> None:
    line = '{"turns": ["a", "b", "猫"], "speakers": ["X", "Y", "X"], "id": 3}'
    assert json.loads(backwards.backwards(line))["turns"] == ["猫", "b", "a"]
    assert backwards.backwards(backwards.backwards(line)) == line
    assert backwards.backwards('{"turns": []}') == '{"turns": []}'


def test_retrieval_finds_the_source_of_the_largest_cosine() -> None:
    splits = dialogues.make_splits({"train": 25, "test": 10}, 4)
    form = SourceForm(dialogue=DialogueForm())
    sources, asked = (
        [
            " <turn> ".join(item.turns[max(0, at - 3) : at])
            for item in splits[name]
            for at in range(1, len(item.turns), 2)
        ]
        for name in ("train", "test")
    )

    def counts(source: str) -> Counter[str]:
        last = source.split(" <turn> ")[-1]
        return Counter(re.findall(r"\w+", f"{source} {last}".lower()))

    found_in = Counter(word for source in sources for word in set(counts(source)))

    def vector(source: str) -> dict[str, float]:
        return {
            word: number * math.log(len(sources) / found_in[word])
            for word, number in counts(source).items()
            if word in found_in
        }

    def cosine(one: dict[str, float], other: dict[str, float]) -> float:
        product = sum(weight * other.get(word, 0.0) for word, weight in one.items())
        return product / (math.hypot(*one.values()) * math.hypot(*other.values()) or 1.0)

    retrieval = baselines.Retrieval(sources, form)
    vectors = [vector(source) for source in sources]
    for source in asked:
        cosines = [cosine(vector(source), other) for other in vectors]
        assert cosines[retrieval.nearest(source)] == pytest.approx(max(cosines))


# --- the Makefile

SCORES = '[{"name": "BLEU", "score": 30.5, "higher_is_better": true}]'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_recipes(tmp_path, "It opens at 11 am.\n" * 2, SCORES)
    # The stand-in's datasets hold nothing that the real one could read.
    (tmp_path / "recipes" / "dialogue" / "baselines.py").write_text(
        "import pathlib, sys\n"
        "out = pathlib.Path(sys.argv[3])\n"
        "out.mkdir(parents=True, exist_ok=True)\n"
        "for name in ('reference', 'frequent', 'repeat', 'retrieval'):\n"
        "    (out / f'{name}.txt').write_text('It opens at 11 am.\\n' * 2)\n"
    )
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "valid", "test"):
        for name in (f"{split}.jsonl", f"{split}.zh.jsonl"):
            (data / name).write_text('{"turns": ["a", "b"], "speakers": ["USER", "SYSTEM"]}\n')
    (data / "test.facts.jsonl").write_text(f"{json.dumps(OPENS)}\n" * 2)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return recipe_scripts.make(folder, f"DATA={folder}/data", *arguments, recipe="dialogue")


@needs_make
def test_all_ways_of_answering_are_made_once(folder: Path) -> None:
    done = make(folder, "compare", "SPEAKER=SYSTEM", "CONTEXT=5")
    assert done.returncode == 0, done.stderr
    lines = calls(folder)
    order = verbs(lines)
    commands = "preprocess train generate preprocess train generate generate generate score"
    assert order == commands.split()
    forward, reverse = lines[0], lines[3]
    assert "--context-turns 5" in forward
    assert "--speakers --target-speaker SYSTEM" in forward
    assert "--source-lang context --target-lang response" in forward
    assert "--context-turns 1 --target-speaker USER --source-lang response --target-lang context" in reverse
    assert ["--sampling" in line for line in lines[5:8]] == [False, True, True]
    assert ["backwards/run" in line for line in lines[5:8]] == [True, False, True]
    assert lines[-1].count(".txt") == 9  # seven systems, the reference as one more, and as what it is

    assert make(folder, "compare", "SPEAKER=SYSTEM", "CONTEXT=5").returncode == 0
    assert verbs(calls(folder)) == ["score"]
    assert (
        make(folder, "compare", "SPEAKER=SYSTEM", "CONTEXT=5", "MMI_FLAGS=--rerank-weight 1").returncode == 0
    )
    assert verbs(calls(folder)) == ["generate", "generate", "score"]


@needs_make
def test_a_training_that_was_interrupted_is_taken_up(folder: Path) -> None:
    (folder / "fail").touch()
    assert make(folder, "check").returncode != 0
    (folder / "fail").unlink()
    calls(folder)
    assert make(folder, "check").returncode == 0
    assert verbs(calls(folder)) == ["train", "generate", "score"]


@needs_make
def test_check_holds_answers_to_the_facts(folder: Path) -> None:
    done = make(folder, "check", "EXPECT_TRUTH=90", "EXPECT_BLEU=30")
    assert done.returncode == 0, done.stderr
    assert "truth is 100.00, expected at least 90.00: ok" in done.stdout
    assert "bleu is 30.50" in done.stdout
    (folder / "output").write_text("It opens at 9 am.\n" * 2)
    false = make(folder, "check", "EXPECT_TRUTH=90", f"WORK={folder}/other")
    assert false.returncode != 0
    assert "truth is 0.00, expected at least 90.00" in false.stderr

    (folder / "data" / "test.facts.jsonl").unlink()
    assert make(folder, "check", f"WORK={folder}/third").returncode == 0
    assert "has no test.facts.jsonl" in make(folder, "truth", f"WORK={folder}/third").stderr


@needs_make
def test_a_language_is_a_setting_and_everybody_answers_unless_said(folder: Path) -> None:
    assert make(folder, "score", "LANGUAGE=zh").returncode == 0
    lines = calls(folder)
    assert f"--train-file {folder}/data/train.zh.jsonl" in lines[0]
    assert "--target-speaker" not in lines[0]
    assert "--tokenize" not in lines[-1]  # what fits the text
    lacking = make(folder, "score", "LANGUAGE=en")
    assert lacking.returncode != 0
    assert "wanted in that folder, plain or .gz: train.en.jsonl" in lacking.stderr
