"""A component of each kind, from outside the package by one row, goes through the command line."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

OUTSIDE = Path(__file__).parents[1] / "helpers" / "outside"


S2S = Callable[..., str]


@pytest.fixture(scope="module")
def s2s(loaded_s2s: Path) -> S2S:
    """Run command lines in a folder; gives what they print. code: what the last of them ends with."""

    def run(folder: Path, *lines: str, code: int = 0, **environment: str) -> str:
        said = ""
        for number, line in enumerate(lines, 1):
            done = subprocess.run(
                [loaded_s2s, *shlex.split(line)],
                capture_output=True,
                text=True,
                cwd=folder,
                env=os.environ | environment,
                timeout=120,
                check=False,
            )
            wanted = code if number == len(lines) else 0
            assert done.returncode == wanted, done.stderr
            said += done.stdout if wanted == 0 else done.stderr
        return said

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, s2s: S2S) -> Path:
    """A dataset with the tokenizer from outside, and a run of each model that has something from outside."""
    folder = tmp_path_factory.mktemp("outside")
    words = ["ba", "be", "bi", "bo"]
    for split, number in (("train", 24), ("valid", 4)):
        lines = ["-".join(words[(i + j) % 4] for j in range(1 + i % 3)) for i in range(number)]
        for side in ("aa", "bb"):
            (folder / f"{split}.{side}").write_text("".join(f"{line}\n" for line in lines))
    train = "--max-update 3 --threads 1 --device cpu --log-interval 1"
    s2s(
        folder,
        "preprocess --source-lang aa --target-lang bb --trainpref train --validpref valid --tokenizer hyphens"
        f" --destdir data --user-dir {OUTSIDE}",
        f"train data --user-dir {OUTSIDE} --arch bag_of_words --bag-width 12 --optimizer sign_sgd --lr 0.125"
        " --lr-scheduler sawtooth --saw-updates 4 --warmup-updates 0 --criterion likelihood --eval-metrics vowels"
        f" --num-workers 1 --save-dir bag {train}",
        f"train data --user-dir={OUTSIDE} --arch rnn_luong --attention distance --encoder-layers 1"
        " --decoder-layers 1 --encoder-embed-dim 8 --decoder-embed-dim 8 --encoder-hidden-size 8"
        f" --decoder-hidden-size 8 --save-dir rnn {train}",
        "preprocess --target-lang aa --trainpref train --validpref valid --tokenizer hyphens --denoise backwards"
        f" --destdir text --user-dir {OUTSIDE}",
        f"train text --user-dir={OUTSIDE} --arch bag_of_words --noise backwards --every-second --save-dir noisy"
        f" {train}",
    )
    return folder


def test_they_train(folder: Path) -> None:
    config = (folder / "bag/config.toml").read_text()
    for line in ('arch = "bag_of_words"', "bag_width = 12", 'name = "sign_sgd"', "saw_updates = 4"):
        assert line in config
    assert 'name = "backwards"\nevery_second = true' in (folder / "noisy/config.toml").read_text()
    assert 'attention = "distance"' in (folder / "rnn/config.toml").read_text()
    events = [json.loads(line) for line in (folder / "bag/log.jsonl").read_text().splitlines()]
    # 0.125 · (1 − (update − 1) / 4), by hand.
    assert [event["lr"] for event in events if event["event"] == "train"] == [0.125, 0.09375, 0.0625]
    assert all(0 <= event["vowels"] <= 100 for event in events if event["event"] == "valid")


def test_they_generate_and_score_where_the_same_module_is_named(folder: Path, s2s: S2S) -> None:
    told = s2s(folder, "generate --path bag --input valid.aa", code=1)
    assert "bag_of_words" in told
    told = s2s(folder, "generate --path rnn --mbr vowels --input valid.aa", code=2, S2S_USER_DIR=str(OUTSIDE))
    assert "--mbr vowels: reads outputs, and one is wanted that compares outputs with references" in told
    out = s2s(
        folder,
        "generate --path bag --search one_word --input valid.aa",
        "generate --path rnn --beam 2 --input valid.aa --print-attention --format jsonl",
        "score --sys valid.aa --ref valid.bb --metrics vowels --format json --resamples 0",
        "train --help-all",
        S2S_USER_DIR=str(OUTSIDE),
    )
    *lines, rest = out.split("\n", 8)
    assert all(line in ("ba", "be", "bi", "bo") for line in lines[:4])
    weights = [json.loads(line)["attention"] for line in lines[4:]]
    assert all(sum(row) == pytest.approx(1, abs=1e-3) for sentence in weights for row in sentence)
    scores, _, help_text = rest.partition("\nUsage")
    # Every word has a consonant and a vowel, and the hyphens between words are neither.
    text = (folder / "valid.aa").read_text().replace("\n", "")
    assert json.loads(scores)[0]["score"] == round(100 * sum(map(text.count, "aeio")) / len(text), 2)
    for words in (
        "bag_of_words",
        "--bag-width",
        "sawtooth",
        "--saw-updates",
        "sign_sgd",
        "likelihood",
        "distance",
    ):
        assert words in help_text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "wanted: a folder with an __init__.py, or a file NAME.py"),
        ("raise OSError('the disk is gone')", "OSError: the disk is gone"),
        (
            "from s2scli.components import MODELS\nMODELS.add('recurrent', 'broken:Config')",
            "model 'recurrent': cannot be broken:Config, it is s2scli.configs.recurrent:RecurrentConfig already",
        ),
    ],
)
def test_a_module_that_cannot_be_used_is_named(
    tmp_path: Path, s2s: S2S, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "broken.py").write_text(content)
    assert message in s2s(tmp_path, "score --user-dir broken.py --ref a", code=2)


def test_a_module_called_like_another_is_refused(tmp_path: Path, s2s: S2S) -> None:
    (tmp_path / "json.py").write_text("")
    told = s2s(tmp_path, "score --user-dir json.py --ref a", code=2)
    assert "there is another module json; give yours another name" in told
