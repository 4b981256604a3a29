"""What all recipes do alike, on a copy of them with a stand-in for `s2s` that notes how it is called."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from recipe_scripts import ENVIRONMENT, calls, command, copy_recipes, load, make, needs_make, verbs

pytestmark = needs_make

SCORES = """[{"name": "SER", "score": 30.5, "higher_is_better": false},
 {"name": "PER", "score": 7, "higher_is_better": false}]"""
TEXTS = [f"{split}.{ending}" for split in ("train", "valid", "test") for ending in ("graphemes", "phonemes")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_recipes(tmp_path, "half\nwhole\n", SCORES)
    (tmp_path / "data").mkdir()
    for name in TEXTS:
        (tmp_path / "data" / name).write_text("a b\n")
    return tmp_path


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What is said of an error, make's own report of the failed target aside."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if not line.startswith("make")]


@pytest.mark.parametrize("recipe", ["g2p", "inflection", "qa", "srl"])
def test_a_recipe_makes_its_own_data_once(folder: Path, recipe: str) -> None:
    for name in ("prepare", "prepare"):
        done = make(folder, name, recipe=recipe)
        assert done.returncode == 0, done.stderr
    (call,) = calls(folder)
    assert call.startswith("preprocess")
    source = call.split("--train-source ")[1].split()[0]
    assert (folder / "recipes" / recipe / source).stat().st_size > 100_000
    generated = {path.name for path in (folder / "recipes" / recipe / "work" / "generated").iterdir()}
    assert generated == {"default", "default.made"}
    listing = make(folder, recipe=recipe).stdout
    assert all(f"make {target} " in listing for target in ("score", "check", "smoke", "clean"))


def test_generated_data_that_was_interrupted_is_made_again(folder: Path) -> None:
    part = folder / "recipes" / "g2p" / "work" / "generated" / "default.part"
    part.mkdir(parents=True)
    (part / "train.graphemes").write_text("h a l")
    assert make(folder, "data").returncode == 0
    assert not part.exists()
    assert len((part.parent / "default" / "train.graphemes").read_text().splitlines()) > 8000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("data", "DATA=data is not an absolute path, as it must be"),
        ("{folder}/datum", "DATA={folder}/datum: there is no such folder"),
        ("{folder}/two words", "make cannot handle a path with a space"),
        ("{folder}/data/train.phonemes", "DATA={folder}/data/train.phonemes: there is no such folder"),
    ],
)
def test_a_folder_that_cannot_be_is_said_in_a_line(folder: Path, data: str, said: str) -> None:
    (line,) = errors(make(folder, "score", f"DATA={data.format(folder=folder)}"))
    assert said.format(folder=folder) in line
    assert not (folder / "calls").exists()


def test_a_file_that_is_missing_is_said_in_a_line(folder: Path) -> None:
    (folder / "data" / "valid.phonemes").unlink()
    (line,) = errors(make(folder, "score", f"DATA={folder}/data"))
    assert line.startswith(f"error: DATA={folder}/data: wanted in that folder, plain or .gz: train.graphemes")
    assert line.endswith("found: train.graphemes train.phonemes valid.graphemes test.graphemes test.phonemes")
    assert not (folder / "calls").exists()


def test_files_of_a_language(folder: Path) -> None:
    (line,) = errors(make(folder, "score", f"DATA={folder}/data", "LANGUAGE=german", recipe="inflection"))
    assert "german.train.src german.valid.src german.test.src german.train.tgt" in line
    assert line.endswith("found: none")


def test_a_download_with_another_checksum_is_refused_and_the_right_one_taken(folder: Path) -> None:
    text = "".join(
        f"{one}a{two} {one.upper()} AE1 {two.upper()}\n" for one in "bdfglmnp" for two in "rstklmn"
    )
    download, table = folder / "cmudict.dict", folder / "recipes" / "g2p" / "cmudict.tsv"
    digest = hashlib.sha256(text.encode()).hexdigest()
    table.write_text(f"cmudict.dict\t{len(text)}\t{digest}\n")
    arguments = ("cmudict", f"BASE_URL=file://{folder}")
    download.write_text(text.replace("AE1", "AE2"))
    (line,) = errors(make(folder, *arguments))
    assert line.startswith(f"error: file://{download}: has sha256 ")
    assert line.endswith(f"{digest} is listed; repeat the command, or check the table")
    assert not (folder / "recipes" / "g2p" / "work" / "download" / "cmudict.dict").exists()

    download.write_text(text)
    done = make(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert verbs(calls(folder)) == ["preprocess", "train", "generate", "score", "score"]
    download.unlink()
    assert make(folder, *arguments).returncode == 0
    assert verbs(calls(folder)) == ["score"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_being_written_when_make_was_interrupted_is_written_again(
    folder: Path, number: signal.Signals
) -> None:
    (folder / "slow").touch()
    with subprocess.Popen(
        command(folder, "check", f"DATA={folder}/data", f"WORK={folder}/out", recipe="g2p"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not (folder / "reached").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, number)
        process.communicate()
    assert process.returncode != 0
    assert not (folder / "out" / "run.hyp.txt").exists()
    assert verbs(calls(folder)) == ["preprocess", "train", "generate"]
    (folder / "slow").unlink()
    done = make(folder, "check", f"DATA={folder}/data", f"WORK={folder}/out")
    assert done.returncode == 0, done.stderr
    assert verbs(calls(folder)) == ["generate", "score"]
    assert (folder / "out" / "run.hyp.txt").read_text() == "half\nwhole\n"


def test_scores_are_held_to_what_is_expected(folder: Path) -> None:
    arguments = ("check", f"DATA={folder}/data", f"WORK={folder}/out")
    done = make(folder, *arguments, "EXPECT_WER=31")
    assert "ser is 30.50, expected at most 31.00: ok\nper is 7.00, expected at most inf: ok" in done.stdout
    (line,) = errors(make(folder, *arguments, "EXPECT_PER=6.5"))
    assert line.endswith("run.score.json: per is 7.00, expected at most 6.50")
    (line,) = errors(make(folder, *arguments, "EXPECT_PER=low"))
    assert line == "error: per low: the limit is not a number"


def test_all_right_answers_of_a_line_are_its_references(folder: Path) -> None:
    listed = folder / "data" / "test.refs.jsonl"
    listed.write_text('{"word": "ab", "pronunciations": ["AE B", "EY B"]}\n')
    arguments = ("score", f"DATA={folder}/data", f"WORK={folder}/out")
    assert make(folder, *arguments).returncode == 0
    references = folder / "out" / "test.references.jsonl"
    assert references.read_text() == '["AE B", "EY B"]\n'
    # Once as JSON, once to read.
    _, call = (line for line in calls(folder) if line.startswith("score"))
    assert f"--ref {references} " in call
    assert call.endswith("--metrics ser,per")

    listed.write_text('{"word": "ab"}\n')
    (line,) = errors(make(folder, *arguments))
    assert line.startswith(f"error: {listed}:1: no list of texts in the field pronunciations:")
    assert not references.exists()


def test_references_are_read_line_by_line() -> None:
    references = load("references.py")
    lines = [json.dumps({"answers": ["ä", "b"]}), json.dumps({"answers": ["c"]})]
    assert list(references.listed(lines, "x", "answers")) == ['["ä", "b"]', '["c"]']
    for wrong in ("", "[]", "{}", '{"answers": "a"}', '{"answers": []}', '{"answers": [1]}'):
        with pytest.raises(SystemExit, match="x:2: no list of texts in the field answers"):
            list(references.listed([lines[0], wrong], "x", "answers"))


def test_models_are_compared_and_their_flags_are_remembered(folder: Path) -> None:
    makefile = folder / "recipes" / "g2p" / "Makefile"
    added = "MODELS := plain large\nFLAGS_large := --encoder-layers 2\n"
    makefile.write_text(added + makefile.read_text() + "\ncompare: $(BASELINE_FILES)\n\t$(compare)\n")
    arguments = ("compare", f"DATA={folder}/data", f"WORK={folder}/out")
    done = make(folder, *arguments)
    assert done.returncode == 0, done.stderr
    lines = calls(folder)
    assert verbs(lines) == ["preprocess", *["train", "generate"] * 2, "score"]
    assert "--save-dir" in lines[1]
    assert "--encoder-layers" not in lines[1]
    assert lines[3].endswith("run-large --encoder-layers 2")
    systems = ("run-plain.hyp.txt", "run-large.hyp.txt", "baselines/letters.txt")
    assert f"--sys {' '.join(f'{folder}/out/{name}' for name in systems)}" in lines[5]
    makefile.write_text(makefile.read_text().replace("layers 2", "layers 3"))
    assert make(folder, *arguments).returncode == 0
    assert verbs(calls(folder)) == ["train", "generate", "score"]
    (line,) = errors(make(folder, "train", "MODEL=small"))
    assert "MODEL=small is not one of the recipe's models: plain large" in line
