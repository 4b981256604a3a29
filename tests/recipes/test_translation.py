"""The translation recipe's Makefile, with a stand-in for `s2s` that notes how it is called."""

import json
import subprocess
from pathlib import Path

import pytest
import recipe_scripts
from recipe_scripts import calls, copy_recipes, load, needs_make, verbs

from s2scli.sweeping.space_file import read_space

check = load("check.py")
speed = load("translation/speed.py")
STEPS = ["preprocess", "train", "generate", "score"]
# What makes a student, wide and narrow, and its outputs; what is measured in the end: four commands, three times.
STUDENTS = ["preprocess", "train", "average", "generate", "trim", "train", "generate"]
MEASURED = ["generate"] * 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_recipes(tmp_path, "output\n", '[{"name": "BLEU", "score": 31.5}]')
    for name in ("train", "val", "test"):
        for language in ("en", "zh", "de"):
            (tmp_path / f"{name}.{language}").write_text("a line\n")
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = (f"DATA={folder}", f"WORK={folder}/out")
    return recipe_scripts.make(folder, *settings, *arguments, recipe="translation")


@needs_make
def test_each_step_runs_once_and_only_what_a_setting_touches_runs_again(folder: Path) -> None:
    assert make(folder, "check", "EXPECT_BLEU=31.5").returncode == 0
    lines = calls(folder)
    assert verbs(lines) == STEPS
    assert f"--train-source {folder}/train.en --train-target {folder}/train.de" in lines[0]
    assert f"--valid-source {folder}/val.en" in lines[0]
    assert "--tokenize auto" in lines[3]

    make(folder, "score")
    assert verbs(calls(folder)) == ["score"]  # to print the scores
    make(folder, "check", "BEAM=1")
    assert verbs(calls(folder)) == ["generate", "score"]
    make(folder, "check", "BEAM=1", "TRAIN_FLAGS=--adam-betas '(0.9, 0.98)' --seed 2")
    lines = calls(folder)
    assert verbs(lines) == STEPS[1:]
    assert lines[0].endswith("--adam-betas (0.9, 0.98) --seed 2")


@needs_make
def test_an_interrupted_training_is_taken_up(folder: Path) -> None:
    (folder / "fail").touch()
    assert make(folder, "check").returncode != 0
    assert verbs(calls(folder)) == ["preprocess", "train"]
    (folder / "fail").unlink()
    assert make(folder, "check").returncode == 0
    assert verbs(calls(folder)) == STEPS[1:]


@needs_make
def test_chinese_and_averaging_are_settings(folder: Path) -> None:
    assert make(folder, "check", "PAIR=en-zh", "AVERAGE=5").returncode == 0
    lines = calls(folder)
    assert verbs(lines) == ["preprocess", "train", "average", "generate", "score"]
    assert "--target-lang zh" in lines[0]
    assert "--keep-last-epochs 5" in lines[1]
    assert "--path " + str(folder / "out/run/checkpoint_average.safetensors") in lines[3]
    assert "--tokenize auto" in lines[4]  # what fits the text


@needs_make
def test_text_in_pieces_is_scored_in_whole_words(folder: Path) -> None:
    """The data of `published` is in pieces: output and the dataset's references are joined by s2s itself."""
    assert make(folder, "check", "VOCAB_SIZE=", "PIECES=subword-nmt", "TOKENIZE=none").returncode == 0
    lines = calls(folder)
    assert lines[0].endswith("--joined-dictionary --tokenizer word --pieces subword-nmt")
    assert lines[3].startswith(f"score {folder}/out/data --gen-subset test --sys {folder}/out/run.hyp.txt")
    assert "--ref" not in lines[3]
    published = (folder / "recipes/translation/Makefile").read_text().split("published:")[1]
    assert "PIECES=subword-nmt" in published


@needs_make
def test_a_student_learns_what_its_teacher_makes_of_the_sources(folder: Path) -> None:
    (folder / "output").write_text("said\n" * 4)  # a text of one line, read four times to measure
    done = make(folder, "student")
    assert done.returncode == 0, done.stderr
    lines = calls(folder)
    teachers = ["preprocess", "train", "average", "generate"]
    assert verbs(lines) == [*teachers, "generate", *STUDENTS, "score", *MEASURED]
    teacher, student = f"{folder}/out/teacher/run", f"{folder}/out/student"
    best = f"{teacher}/checkpoint_average.safetensors"
    assert "--vocab-size 8000" in lines[0]
    assert f"--config tiny.toml --save-dir {teacher} " in lines[1]
    text = f"{student}/text"
    assert lines[4] == f"generate --path {best} --input {folder}/train.en --output {text}/train.de --beam 5"
    assert f"--train-source {text}/train.en --train-target {text}/train.de" in lines[5]
    assert lines[5].endswith(f"--vocab-from {best} --shortlist 100")
    assert (folder / "out/student/text/train.de").read_text() == "said\n" * 4
    assert (folder / "out/student/text/valid.de").resolve() == folder / "val.de"  # what people have written
    assert "--config student.toml" in lines[6]
    assert lines[6].endswith(f"--init-encoder {best}")
    run, narrow = f"{student}/run/checkpoint_average.safetensors", f"{student}/narrow"
    units = "--encoder-ffn-embed-dim 64 --decoder-ffn-embed-dim 64"
    assert lines[9] == f"trim {run} {units} --output {student}/trimmed.safetensors"
    assert f"--config narrow.toml --save-dir {narrow}" in lines[10]
    learns = f"--criterion distillation --teacher {best}"
    assert lines[10].endswith(f"--finetune-from-model {student}/trimmed.safetensors {units} {learns}")
    systems = f"{teacher}.hyp.txt {student}/run.hyp.txt {narrow}.hyp.txt"
    assert f"--ref {folder}/test.de --sys {systems}" in lines[12]
    flags = "--shortlist 15 --shortlist-frequent 50 --max-len-a 1.5 --max-len-b 5"
    assert lines[15].endswith(f"--path {run} --beam 1 {flags}")
    assert lines[16].endswith(f"--path {narrow} --beam 1 {flags}")
    assert "lines/s" in done.stdout

    make(folder, "student", "UNITS=96")
    lines = calls(folder)
    assert verbs(lines) == [*STUDENTS[4:], "score", *MEASURED]
    assert "--encoder-ffn-embed-dim 96 --decoder-ffn-embed-dim 96" in lines[1]

    make(folder, "student", "STUDENT_FLAGS=--lr 0.001", "STUDENT_GENERATE_FLAGS=")
    lines = calls(folder)
    assert verbs(lines) == [*STUDENTS[1:], "score", *MEASURED]
    assert lines[0].endswith("--lr 0.001")


@needs_make
def test_a_student_of_another_teacher_with_a_vocabulary_of_its_own(folder: Path) -> None:
    (folder / "output").write_text("said\n" * 4)
    assert make(folder, "student", "TEACHER=/models/large", "FIRST=", "VOCAB_SIZE=4000").returncode == 0
    lines = calls(folder)
    assert verbs(lines) == ["generate", "generate", *STUDENTS, "score", *MEASURED]
    assert all("--path /models/large" in line for line in lines[:2])
    assert "--vocab-size 4000" in lines[2]
    assert lines[2].endswith("--joined-dictionary --shortlist 100")
    assert "--init-encoder" not in lines[3]
    student = f"{folder}/out/student"
    assert "--criterion" not in lines[7]
    assert f"--sys {student}/teacher.hyp.txt {student}/run.hyp.txt {student}/narrow.hyp.txt" in lines[9]
    make(folder, "student", "TEACHER=/models/larger", "FIRST=", "VOCAB_SIZE=4000")
    assert verbs(calls(folder))[:9] == ["generate", "generate", *STUDENTS]


@needs_make
def test_settings_are_searched_over_those_of_the_config(folder: Path) -> None:
    assert make(folder, "sweep", "CONFIG=demo.toml", "SWEEP_FLAGS=--max-trials 5").returncode == 0
    lines = calls(folder)
    assert verbs(lines) == ["preprocess", "sweep", "plot"]
    found = f"{folder}/out/sweep"
    flags = f"--train-config demo.toml --save-dir {found} --max-trials 5"
    assert lines[1] == f"sweep space.toml {folder}/out/data {flags}"
    recipe = folder / "recipes/translation"
    space = read_space(recipe / "space.toml", recipe / "config.toml")
    assert {dimension.key.rpartition(".")[2] for dimension in space.dimensions} == {
        "lr",
        "warmup_updates",
        "dropout",
    }


def test_speeds_are_shown_beside_the_first() -> None:
    shown = speed.shown([[50.0, 40.0, 60.0], [100.0, 130.0, 125.0]], ["--beam 5", "--beam 1"])
    assert shown.splitlines()[1:] == [
        "     50.0  [40.0, 60.0]    1.00  --beam 5",
        "    125.0  [100.0, 130.0]    2.50  --beam 1",
    ]
    assert speed.measured(["cat"], ["one", "two"], 2) > 0
    for script, said in (
        ("cat; exit 3", "exit code 3 after 6 lines of 6"),
        ("head -n 5", "after 5 lines of 6"),
    ):
        with pytest.raises(SystemExit, match=said):
            speed.measured(["sh", "-c", script], ["one", "two"], 2)


@needs_make
def test_what_is_wrong_is_said(folder: Path) -> None:
    too_low = make(folder, "check", "EXPECT_BLEU=40")
    assert too_low.returncode != 0
    assert "bleu is 31.50, expected at least 40.00" in too_low.stderr

    (folder / "val.de").unlink()
    lacking = make(folder, "data")
    assert lacking.returncode != 0
    assert "train.de valid.de test.de; found: train.en train.de val.en test.en test.de" in lacking.stderr

    assert "PAIR=ende is not a pair" in make(folder, "data", "PAIR=ende").stderr


def test_check_reads_scores(tmp_path: Path) -> None:
    scores = tmp_path / "score.json"
    scores.write_text(json.dumps([{"name": "BLEU", "score": 30.0}, {"name": "chrF2", "score": 55.25}]))
    assert check.check(scores, "chrf2", 55) == "chrf2 is 55.25, expected at least 55.00: ok"
    with pytest.raises(SystemExit, match=r"bleu is 30\.00, expected at least 30\.10"):
        check.check(scores, "bleu", 30.1)
    scores.write_text(json.dumps([{"name": "BLEU", "score": None}, {"name": "chrF2", "score": 55.25}]))
    with pytest.raises(SystemExit, match="bleu is not finite"):
        check.check(scores, "bleu", 1)
    with pytest.raises(SystemExit, match="no ter; it holds bleu, chrf2"):
        check.check(scores, "ter", 0)
