"""Logs and their digests, and what the figures of copying count."""

import json
from pathlib import Path

import pytest
from recipe_scripts import calls, copy_recipes, load, make, needs_make, verbs

logs = load("summarization/logs.py")
copied = load("summarization/copied.py")


def events(text: str) -> list[list[str]]:
    return [event.split() for event in text.removesuffix(" .").split(" . ")]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_digest_tells_what_the_log_says_and_nothing_else(split: str) -> None:
    for source, target in logs.days(300, split, 1):
        told = dict(part.split(" : ") for part in target.split(" ; "))
        found = {kind: text.replace(" and ", " , ").split(" , ") for kind, text in told.items()}
        expected: dict[str, list[str]] = {}
        for _, ship, *what in events(source):
            if what[:2] == ["came", "in"]:
                expected.setdefault("in", []).append(ship)
            elif what[0] == "left":
                expected.setdefault("left", []).append(f"{ship} for {what[2]}")
            elif what[0] == "is":
                expected.setdefault("repair", []).append(ship)
        assert found == expected
        assert list(found) == [kind for kind in ("in", "left", "repair") if kind in found]
        assert len(source.split()) < 100


def test_no_name_of_the_test_set_is_in_another() -> None:
    def names(split: str) -> set[str]:
        return {
            word
            for source, _ in logs.days(400, split, 1)
            for event in events(source)
            for word in (event[1], event[-1] if event[2] == "left" else event[1])
        }

    assert len(names("test")) > 1000
    assert not names("test") & (names("train") | names("valid"))


def test_the_figures_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unseen are kim, lee and kim again in the first line's reference; the second line's are all seen."""
    files = {
        "train.source": "the cat saw a dog\n",
        "train.target": "cat saw dog\n",
        "source": "the cat saw kim and lee\na dog\n",
        "reference": "kim kim and lee\ndog\n",
        "output": "kim saw kim saw kim saw\ndog\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    train, source, reference, output = (
        [str(tmp_path / name) for name in names]
        for names in (("train.source", "train.target"), ("source",), ("reference",), ("output",))
    )
    command = ["--train", *train, "--source", *source, "--reference", *reference]
    copied.main([*output, *command, "--json"])
    figures = json.loads(capsys.readouterr().out)["output"]
    # "and" is unseen too; of kim kim and lee the output has kim twice.
    assert figures["unseen"] == 50
    # kim, saw and dog; then kim saw is no bigram of the source, saw kim is.
    assert figures["copied-1"] == 100
    assert figures["copied-2"] == 50
    assert figures["copied-3"] == 0
    # kim saw kim, saw kim saw, and both again.
    assert figures["repeated"] == 50
    assert figures["whole"] == 50
    copied.main([*output, *command])
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["unseen", "output", "reference"]
    assert table[2].split()[1] == "100.00"


@needs_make
def test_long_logs_are_told_with_coverage_and_without(tmp_path: Path) -> None:
    copy_recipes(tmp_path, "output\n" * 200, "[]")
    done = make(tmp_path, "long", "SEED=2", "TRAIN_FLAGS=--threads 1", recipe="summarization")
    assert done.returncode == 0, done.stderr
    lines = calls(tmp_path)
    assert verbs(lines) == ["preprocess", *["train", "generate"] * 2, "score"]
    assert lines[1].endswith("run-copy --copy --max-update 400 --seed 2 --threads 1")
    assert "--coverage-loss-weight 1 --max-update 400 --seed 2" in lines[3]
    names = ("run-copy.hyp.txt", "run-coverage.hyp.txt", "baselines/lead-1.txt", "baselines/lead-3.txt")
    assert f"--sys {' '.join(f'work/long-2/{name}' for name in names)} " in lines[5]
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("run-")] == list(
        names[:2]
    )
    (test,) = (tmp_path / "recipes" / "summarization" / "work" / "generated" / "long").glob("test.source")
    assert all(14 <= len(events(line)) <= 20 for line in test.read_text().splitlines())
