from __future__ import annotations

import json
import re
import signal
import time
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from loaded import Command
from sacrebleu.metrics import CHRF
from terminals import foreign_controls, on_terminal
from toys import TRANSFORMER, Trainer, assert_same_run

from s2scli.cli.app import run
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.sweep import SweepConfig
from s2scli.generate import generate
from s2scli.schema import build
from s2scli.sweep import SweepResult, sweep
from s2scli.sweeping.journal import read_journal
from s2scli.sweeping.trials import read_trials
from s2scli.toml import to_toml

QUICK = {"max_update": 18, "patience": 0, "threads": 1}
LINEAR = QUICK | {"lr_scheduler.name": "linear", "lr_scheduler.warmup_updates": 4}


@pytest.fixture(autouse=True)
def loaded_trials(loaded_s2s: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have trials run in processes that have torch loaded already."""
    monkeypatch.setattr("s2scli.sweeping.child.PROGRAM", (str(loaded_s2s),))


def space_file(folder: Path, searched: str, **settings: Any) -> Path:
    """A space of small Transformers; searched: what is searched, as TOML with sections of its own."""
    values = TRANSFORMER | QUICK | settings
    fixed: dict[str, Any] = {"train": {}}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        fixed.setdefault(f"train.{section}" if section else "train", {})[name] = value
    path = folder / "space.toml"
    path.write_text(to_toml(fixed).replace("[train]\n", f"[train]\n{searched}\n", 1))
    return path


def searched(space: Path, data: Path | None, folder: Path, **settings: Any) -> SweepResult:
    return sweep(build(SweepConfig, {"space": space, "data": data, "save_dir": folder, **settings}))


def test_a_trial_that_was_paused_has_the_bits_of_one_that_was_not(
    toy_data: Path, tmp_path: Path, trained: Trainer
) -> None:
    """The rungs are 2, 6 and 18; the schedule is a line down to update 18, whose length must not change on the way."""
    space = space_file(tmp_path, "seed = { choices = [4] }", **LINEAR)
    result = searched(space, toy_data, tmp_path / "sweep", scheduler="asha", min_update=2, max_trials=1)
    (trial,) = result.trials
    assert [item.updates for item in trial.results] == [2, 6, 18]
    trained("whole", **TRANSFORMER | LINEAR, seed=4)
    paused = Trainer(toy_data, tmp_path / "sweep/trials").checkpoint("0001")
    # The best figure so far may be that of a validation at a rung.
    assert_same_run(paused, trained.checkpoint("whole"), ignore=("best", "stale", "finished"))
    # And the log has the same losses.
    logs = [
        [event["loss"] for event in Trainer(toy_data, root).events(name, "train")]
        for root, name in ((tmp_path / "sweep/trials", "0001"), (tmp_path, "whole"))
    ]
    assert logs[0] == logs[1]


def test_the_search_ends_with_a_config_that_train_takes(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = space_file(tmp_path, "seed = { choices = [1, 2] }", max_update=4)
    folder = tmp_path / "sweep"
    words = ["sweep", str(space), str(toy_data), "--save-dir", str(folder), "--sampler", "grid"]
    assert run(words) == 0
    shown = capsys.readouterr()
    assert [line.split()[:2] for line in shown.out.splitlines()[1:3]] in (
        [["1", "4"], ["2", "4"]],
        [["2", "4"], ["1", "4"]],
    )
    figures = {}
    for number in (1, 2):
        lines = (folder / f"trials/000{number}/log.jsonl").read_text().splitlines()
        figures[number] = min(event["loss"] for event in map(json.loads, lines) if event["event"] == "valid")
    best = min(figures, key=lambda number: figures[number])
    assert f"best loss {figures[best]:.4f} (trial {best})" in shown.out
    settings = tomllib.loads((folder / "config.toml").read_text())
    assert settings["seed"] == best
    assert run(["train", "--config", str(folder / "config.toml"), "--save-dir", str(tmp_path / "again")]) == 0
    lines = (tmp_path / "again/log.jsonl").read_text().splitlines()
    again = [event["loss"] for event in map(json.loads, lines) if event["event"] == "valid"]
    assert min(again) == figures[best]


@pytest.mark.parametrize(
    ("searched", "flags", "message"),
    [
        ("seed = { choices = [1, 2] }", [], "nothing says when the search ends; give --max-trials"),
        (
            "sede = { choices = [1, 2] }",
            ["--max-trials", "1"],
            "[train] sede: unknown key; did you mean seed?",
        ),
        (
            "seed = { choices = [1, 2] }",
            ["--max-trials", "1", "--metric", "bleu"],
            "--metric bleu: is not logged",
        ),
        ("seed = { choices = [1, 2] }", ["--max-trials", "1", "--metric", "blue"], "did you mean bleu?"),
        (
            "seed = { choices = [1, 2] }",
            ["--max-trials", "1", "--metric", "other/loss"],
            'no trial validates on other besides its first split; set valid_subset = ["valid", "other"]',
        ),
        ("seed = { low = 1, high = 9, step = 2 }", ["--sampler", "gird"], "did you mean grid?"),
        (
            "clip_norm = { low = 1, high = 9 }",
            ["--sampler", "grid"],
            "[train] clip_norm: a grid needs to know",
        ),
        (
            "max_epoch = { choices = [1, 2] }\nmax_update = 0",
            ["--max-trials", "1", "--scheduler", "asha"],
            "max_update is not set under [train]",
        ),
        (
            "seed = { choices = [1, 2] }",
            ["--max-trials", "1", "--metric", "valid/loss"],
            "valid is the first split, whose figures have no prefix; give --metric loss",
        ),
        (
            "seed = { choices = [1, 2] }\nvalid_subset = ['valid2']",
            ["--max-trials", "1"],
            "has no split valid2, on which trials are compared, only train, valid",
        ),
        ("clip_norm = { low = 1, high = 9, step = nan }", ["--max-trials", "1"], "points and step are"),
        ("clip_norm = { low = 1, high = 9, step = inf }", ["--max-trials", "1"], "points and step are"),
        ("clip_norm = { low = 1, high = 9, points = true }", ["--max-trials", "1"], "points and step are"),
        (
            "seed = { low = 0, high = 2000000000 }",
            ["--sampler", "grid"],
            "[train] seed: a grid of 2,000,000,001 values",
        ),
        (
            "new_embeddings = { choices = ['source'] }\nadapter.name = 'lora'",
            ["--max-trials", "1"],
            "--adapter lora",
        ),
    ],
)
def test_what_cannot_be_searched_is_told_in_a_line(
    toy_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    searched: str,
    flags: list[str],
    message: str,
) -> None:
    space = tmp_path / "space.toml"
    space.write_text(f"[train]\n{'max_update = 9' if 'max_update' not in searched else ''}\n{searched}\n")
    assert run(["sweep", str(space), str(toy_data), "--save-dir", str(tmp_path / "sweep"), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "sweep").exists()


def test_a_metric_that_the_log_lacks_ends_the_search(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = space_file(tmp_path, "seed = { choices = [1, 2] }", max_update=1)
    words = ["sweep", str(space), str(toy_data), "--save-dir", str(tmp_path / "sweep"), "--max-trials", "1"]
    assert run([*words, "--metric", "coverage", "--goal", "min"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "--metric coverage: is no figure of the log; known: loss, ppl and give another --save-dir"
    )


def test_a_trial_that_cannot_be_trained_has_failed_with_its_line(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = space_file(tmp_path, "best_checkpoint_metric = { choices = ['loss', 'ppl'] }", max_update=1)
    text = space.read_text().replace(
        "[train.model]", "[train.model]\nencoder_attention_heads = { choices = [2, 3] }"
    )
    space.write_text(text)
    words = ["sweep", str(space), str(toy_data), "--save-dir", str(tmp_path / "sweep"), "--sampler", "grid"]
    assert run(words) == 0
    shown = capsys.readouterr()
    assert shown.err.count("has failed (") == 2
    assert "4 trials, 2 failed; 2 updates; best loss" in shown.out


def test_a_terminal_of_80_columns_shows_a_table_and_no_foreign_controls(
    tmp_path: Path, toy_data: Path
) -> None:
    space = space_file(tmp_path, "", max_update=1)
    searched = 'freeze = { choices = [["a\\u001b[31mb*"], ["encoder_layers.0.self*"]] }'
    space.write_text(space.read_text().replace("[train]\n", f"[train]\n{searched}\n"))
    words = ["sweep", str(space), str(toy_data), "--save-dir", str(tmp_path / "sweep"), "--max-trials", "2"]
    shown = on_terminal(words, columns=80)
    # What a table that moves sends: erase a line, go up, hide and show the cursor.
    plain = re.sub("\x1b\\[(2K|1A|\\?25[lh]|[0-9;]*m)", "", shown).replace("\r", "\n")
    assert not foreign_controls(plain)
    table, _, rest = plain.rpartition("best loss")
    assert max(map(len, table.split("\n"))) <= 80
    assert "running  freeze encoder_layers.0.self*" in table
    assert "running  freeze a\u241b[31mb*" in table
    assert "(trial 1)" in rest.split("\n")[0]


def test_trials_prepare_text_and_find_outputs_as_the_space_says(toy_data: Path, tmp_path: Path) -> None:
    texts = {f"{split}pref": str(toy_data.parent / split) for split in ("train", "valid")}
    space = space_file(tmp_path, "seed = { choices = [1, 2] }", max_update=3)
    preprocess = {"source_lang": "aa", "target_lang": "bb", **texts}
    found = to_toml({"preprocess": preprocess, "generate": {"beam": 2, "max_len_b": 10}})
    searched_too = found.replace(
        "[preprocess]", "[preprocess]\ntokenizer = { choices = ['word', 'character'] }"
    )
    space.write_text(space.read_text() + searched_too)
    result = searched(space, None, tmp_path / "sweep", sampler="grid", metric="chrf")
    assert len(result.trials) == 4
    assert not any(trial.failed for trial in result.trials)
    # Two datasets, each made once.
    logs = [path.read_text() for path in (tmp_path / "sweep/data").glob("*.made/output.log")]
    assert [log.count("dataset written") for log in logs] == [1, 1]
    references = (toy_data.parent / "valid.bb").read_text().splitlines()
    for trial in result.trials:
        lines = (tmp_path / f"sweep/trials/000{trial.number}/outputs-3.jsonl").read_text().splitlines()
        outputs = [json.loads(line)["text"] for line in lines]
        assert trial.figure == pytest.approx(CHRF().corpus_score(outputs, [references]).score)
    best = max(result.trials, key=lambda trial: trial.figure)
    prepared = tomllib.loads((tmp_path / "sweep/preprocess.toml").read_text())
    assert prepared["tokenizer"] == best.values["preprocess.tokenizer"]
    assert tomllib.loads((tmp_path / "sweep/generate.toml").read_text())["beam"] == 2


def test_outputs_are_compared_by_scores_alone(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.toml"
    space.write_text("[train]\nmax_update = 3\n[generate]\nbeam = { choices = [1, 2] }\n")
    assert run(["sweep", str(space), str(toy_data), "--save-dir", str(tmp_path / "sweep")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--metric loss: is no score of outputs" in line


DECODING = "[generate]\nmax_len_b = 10\nbeam = { choices = [1, 3] }\nlenpen = { choices = [0.5, 2.0] }\n"


def test_how_a_model_decodes_is_searched_without_training(
    toy_data: Path, toy_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.toml"
    space.write_text(DECODING)
    folder, model = tmp_path / "sweep", toy_runs / "transformer"
    words = ["sweep", str(space), str(toy_data), "--path", str(model), "--save-dir", str(folder)]
    words += ["--sampler", "grid", "--metric", "chrf"]
    before = sorted(model.iterdir())
    assert run(words) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].split() == ["trial", "chrf", "settings"]
    assert "4 trials; best chrf" in shown.out
    assert f"s2s generate --config {folder}/generate.toml --path {model} decodes with them" in shown.err
    trials = read_trials(read_journal(folder))
    references = (toy_data.parent / "valid.bb").read_text().splitlines()
    scores = {}
    for trial in trials:
        settings = {key.removeprefix("generate."): value for key, value in trial.values.items()}
        outputs = decoded(toy_data, model, max_len_b=10, **settings)
        scores[trial.number] = CHRF().corpus_score(outputs, [references]).score
        assert trial.figure == pytest.approx(scores[trial.number])
    assert {tuple(trial.values.values()) for trial in trials} == {(1, 0.5), (1, 2.0), (3, 0.5), (3, 2.0)}
    assert len(set(scores.values())) > 1
    # Nothing was trained, and the model is as it was.
    assert sorted(model.iterdir()) == before
    assert not [*folder.glob("trials/*/*.safetensors"), *folder.glob("*/train.toml")]
    best = max(scores, key=lambda number: (scores[number], -number))
    found = tomllib.loads((folder / "generate.toml").read_text())
    assert (found["beam"], found["lenpen"]) == tuple(trials[best - 1].values.values())
    assert not {"data", "path", "output"} & found.keys()
    assert not (folder / "config.toml").exists()
    # It is drawn over the trials, as there are no updates.
    assert run(["plot", str(folder)]) == 0
    shown = capsys.readouterr()
    assert "sweep: 4 trials" in shown.out
    assert "updates" not in shown.out
    # The folder is of this model.
    assert run([*words[:4], str(toy_runs / "recurrent"), *words[5:]]) == 2
    assert "holds a search with another path" in capsys.readouterr().err


def decoded(data: Path, model: Path, **settings: Any) -> list[str]:
    """The outputs of the validation set."""
    output = model.parent / "decoded.txt"
    values = {"data": data, "path": model, "gen_subset": "valid", "device": "cpu", "overwrite": True}
    generate(build(GenerateConfig, {**values, "output": output, **settings}))
    return output.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        (
            f"[train]\nseed = 1\n{DECODING}",
            [],
            "[train]: trials of --path {model} are not trained; leave it out",
        ),
        ("[train]\nseed = { choices = [1, 2] }\n", [], "[train]: trials of --path {model} are not trained"),
        (
            DECODING,
            ["--scheduler", "asha"],
            "--scheduler asha: trials of --path {model} are not trained, but go to",
        ),
        (DECODING, ["--max-total-updates", "9"], "are not trained; give --max-trials or --max-minutes"),
        (DECODING, ["--train-config", "space.toml"], "--train-config space.toml: trials of --path"),
        (DECODING, ["--metric", "loss"], "--metric loss: is no score of outputs"),
        (DECODING, ["--path", "none"], "none: no such checkpoint"),
        (DECODING.replace("beam", "beams"), [], "[generate] beams: unknown key; did you mean beam?"),
        ("[generate]\npath = 'x'\nbeam = { choices = [1] }\n", [], "[generate] path: each trial has its own"),
    ],
)
def test_what_a_search_without_training_cannot_be(
    toy_data: Path,
    toy_runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.toml").write_text(text)
    model = toy_runs / "transformer"
    words = ["sweep", "space.toml", str(toy_data), "--max-trials", "1"]
    given = {"--path": str(model), "--metric": "chrf"} | dict(zip(flags[::2], flags[1::2], strict=True))
    assert run([*words, *(word for pair in given.items() for word in pair)]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert message.format(model=model) in line
    assert not Path("sweep").exists()


def test_a_search_without_training_needs_data(
    toy_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "space.toml").write_text(DECODING)
    model = str(toy_runs / "transformer")
    assert run(["sweep", str(tmp_path / "space.toml"), "--path", model, "--metric", "chrf"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"--path {model}: needs DATA, whose validation set the trials answer")


def test_a_search_that_signals_have_ended_goes_on_to_the_same_trials(
    toy_data: Path, tmp_path: Path, loaded_s2s: Path
) -> None:
    """Ctrl-C in the first trial, SIGTERM in the second: each is saved, and goes on to the same bits."""
    space = space_file(tmp_path, "seed = { choices = [1, 2] }", max_update=60, log_interval=1)
    words = ["sweep", str(space), str(toy_data), "--sampler", "grid"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run([*words, "--save-dir", str(whole)]) == 0
    said = tmp_path / "said"
    for trial, number in ((1, signal.SIGINT), (2, signal.SIGTERM)):
        command = Command([*words, "--save-dir", str(stopped)], said, partial(use_program, str(loaded_s2s)))
        wait_for_updates(stopped / f"trials/000{trial}/log.jsonl")
        command.send_signal(number)
        assert command.wait() == 128 + number
        assert f"interrupted; {stopped} has what was done, repeat the command to go on" in said.read_text()
        results = [event["trial"] for event in read_journal(stopped) if event["event"] == "result"]
        assert results == [*range(1, trial)]
        made = Trainer(toy_data, stopped / "trials").checkpoint(f"000{trial}").run["update"]
        assert 0 < made < 60
    assert run([*words, "--save-dir", str(stopped)]) == 0
    found = [
        [
            (trial.values, trial.results[0].updates, trial.figure)
            for trial in read_trials(read_journal(folder))
        ]
        for folder in (whole, stopped)
    ]
    assert found[0] == found[1]
    for name in ("0001", "0002"):
        checkpoints = [Trainer(toy_data, folder / "trials").checkpoint(name) for folder in (whole, stopped)]
        assert_same_run(*checkpoints)


def use_program(path: str) -> None:
    """Have this process run its trials by a program."""
    import s2scli.sweeping.child

    s2scli.sweeping.child.PROGRAM = (path,)


def wait_for_updates(log: Path) -> None:
    """Wait until a run has logged an update."""
    end = time.monotonic() + 60
    while not (log.exists() and '"train"' in log.read_text(encoding="utf-8")):
        assert time.monotonic() < end, "no update is logged"
        time.sleep(0.01)
