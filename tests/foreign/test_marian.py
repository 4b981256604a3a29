"""Marian's own files: what an independent decoder finds with Firefox's students, and the formulas of a tiny one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import torch
from foreign_models import imported, log_probabilities, text_lines
from generating import Generator
from marian_files import DECODER_LAYERS, ENCODER_LAYERS, SETTINGS, WIDTH, marian_folder, student_weights
from torch import Tensor
from torch.nn import functional as F

from s2scli.checkpoint import load_checkpoint
from s2scli.cli.app import run
from s2scli.foreign.marian import parse_settings

SHARED = Path(__file__).resolve().parents[3] / "shared"
STUDENTS = SHARED / "peers/firefox"


class Formula:
    """A student written out with Marian's names (src/models/transformer.h), for one sentence."""

    def __init__(self, weights: dict[str, Tensor], activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        self.weights, self.activation = weights, activation

    def affine(self, x: Tensor, name: str, which: str) -> Tensor:
        return x @ self.weights[f"{name}_W{which}"] + self.weights[f"{name}_b{which}"]

    def norm(self, x: Tensor, name: str) -> Tensor:
        scale, bias = (self.weights[f"{name}_ln_{part}"][0] for part in ("scale", "bias"))
        return F.layer_norm(x, (WIDTH,), scale, bias, 1e-9)

    def attention(self, x: Tensor, memory: Tensor, name: str) -> Tensor:
        queries, keys, values = (
            self.affine(item, name, letter).unflatten(-1, (2, -1)).transpose(0, 1)
            for item, letter in ((x, "q"), (memory, "k"), (memory, "v"))
        )
        weights = (queries @ keys.mT / math.sqrt(WIDTH / 2)).softmax(-1)
        out = self.affine((weights @ values).transpose(0, 1).flatten(1), name, "o")
        return self.norm(x + out, f"{name}_Wo")

    def feed_forward(self, x: Tensor, name: str) -> Tensor:
        out = self.affine(self.activation(self.affine(x, name, "1")), name, "2")
        return self.norm(x + out, f"{name}_ffn")

    def positions(self, length: int) -> Tensor:
        half = WIDTH // 2
        rates = torch.tensor([10000 ** (-number / (half - 1)) for number in range(half)])
        angles = torch.arange(length)[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    def rnn(self, x: Tensor, name: str) -> Tensor:
        state, outputs = torch.zeros(WIDTH), []
        for row in x:
            forget = torch.sigmoid(row @ self.weights[f"{name}_Wf"] + self.weights[f"{name}_bf"][0])
            state = forget * state + (1 - forget) * (row @ self.weights[f"{name}_W"])
            outputs.append(state.relu())
        return self.norm(x + torch.stack(outputs), f"{name}_ffn")

    def log_probabilities(self, source: list[int], target: list[int]) -> Tensor:
        table = self.weights["Wemb"]
        x = table[[*source, 0]] * math.sqrt(WIDTH) + self.positions(len(source) + 1)
        for number in range(1, ENCODER_LAYERS + 1):
            x = self.attention(x, x, f"encoder_l{number}_self")
            x = self.feed_forward(x, f"encoder_l{number}_ffn")
        rows = torch.cat([torch.zeros(1, WIDTH), table[target]]) * math.sqrt(WIDTH)
        y = rows + self.positions(len(rows))
        for number in range(1, DECODER_LAYERS + 1):
            y = self.rnn(y, f"decoder_l{number}_rnn")
            y = self.attention(y, x, f"decoder_l{number}_context")
            y = self.feed_forward(y, f"decoder_l{number}_ffn")
        return (y @ table.T + self.weights["decoder_ff_logit_out_b"][0]).log_softmax(-1)


def test_a_student_says_what_the_formula_says(tmp_path: Path) -> None:
    model, tokenizers = imported(marian_folder(tmp_path / "theirs"), tmp_path / "ours")
    source, target = (tokenizers[side].encode(text_lines(1)[n]) for n, side in enumerate(tokenizers))
    expected = Formula(student_weights(len(tokenizers["source"]))).log_probabilities(source, target)
    assert torch.allclose(log_probabilities(model, source, target), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("activation", "slope"), [("gelu", 1.702), ("swish", 1.0)])
def test_marians_gelu_is_a_steeper_swish(activation: str, slope: float, tmp_path: Path) -> None:
    folder = marian_folder(tmp_path / "theirs")
    _, tokenizers = imported(folder, tmp_path / "ours")
    weights = student_weights(len(tokenizers["source"]))
    (folder / "model.bin").unlink()
    chosen = SETTINGS.replace("activation: relu", f"activation: {activation}")
    arrays = {name: item.numpy() for name, item in weights.items()}
    np.savez(
        folder / "model.npz",
        **arrays,
        **{"special:model.yml": np.frombuffer(chosen.encode() + b"\0", np.int8)},
    )
    model, tokenizers = imported(folder, tmp_path / "again")
    source, target = (tokenizers[side].encode(text_lines(1)[n]) for n, side in enumerate(tokenizers))
    expected = Formula(weights, lambda x: x * torch.sigmoid(slope * x)).log_probabilities(source, target)
    assert torch.allclose(log_probabilities(model, source, target), expected, rtol=0, atol=1e-5)


def test_an_npz_is_the_same_model(tmp_path: Path) -> None:
    """Without quantization, which these weights keep exactly; the settings are an array of bytes there."""
    folder = marian_folder(tmp_path / "theirs")
    binary, tokenizers = imported(folder, tmp_path / "ours")
    (folder / "model.bin").unlink()
    weights = {name: item.numpy() for name, item in student_weights(len(tokenizers["source"])).items()}
    settings = np.frombuffer(SETTINGS.encode() + b"\0", np.int8)
    np.savez(folder / "model.npz", **weights, **{"special:model.yml": settings})
    archive, _ = imported(folder, tmp_path / "again")
    found = binary.state_dict()
    assert found.keys() == archive.state_dict().keys()
    assert all(torch.equal(found[name], item) for name, item in archive.state_dict().items())


def test_the_shortlist_comes_along(tmp_path: Path) -> None:
    imported(marian_folder(tmp_path / "theirs"), tmp_path / "ours")
    checkpoint = load_checkpoint(tmp_path / "ours/checkpoint_best.safetensors")
    size = len(checkpoint.tokenizers["target"])
    assert checkpoint.shortlist is not None
    # The special symbols, the first symbols, and what the table says of 5 and 9; 0 has nothing.
    expected = {0, 1, 2, *((number * factor) % size for number in (5, 9) for factor in (7, 3))}
    assert checkpoint.shortlist.candidates([5, 9, 0], 3, 2) == sorted(expected)


def test_settings_are_numbers_flags_texts_and_lists() -> None:
    found = parse_settings(SETTINGS + "label-smoothing: 0.1\n")
    assert found["dec-depth"] == 1
    assert found["transformer-no-projection"] is False
    assert found["transformer-preprocess"] == ""
    assert found["dim-vocabs"] == ("60", "60")
    assert found["input-types"] == found["transformer-tied-layers"] == ()
    assert found["label-smoothing"] == 0.1


@pytest.mark.skipif(not STUDENTS.is_dir(), reason=f"needs {STUDENTS}, which is not part of this repository")
@pytest.mark.parametrize(
    ("direction", "number"),
    [("en-pt", 4), *(pytest.param(name, 60, marks=pytest.mark.slow) for name in ("en-pt", "pt-en"))],
)
def test_firefox_students_translate_as_by_an_independent_decoder(
    direction: str, number: int, tmp_path: Path, generating: Callable[[Path], Generator]
) -> None:
    imported(STUDENTS / direction, tmp_path / "model")
    rows = (STUDENTS / direction / "expected.tsv").read_text(encoding="utf-8").splitlines()[:number]
    source, expected = zip(*(row.split("\t")[:2] for row in rows), strict=True)
    text = "".join(f"{line}\n" for line in source)
    settings = {"beam": 1, "max_len_a": 2.0, "max_len_b": 20, "precision": "fp32"}
    for shortlist in ({}, {"shortlist": 50, "shortlist_frequent": 50}):
        found = generating(tmp_path / "model")(text, **settings, **shortlist)
        same = sum(one == other for one, other in zip(found, expected, strict=True))
        assert same >= 0.98 * number


@pytest.mark.slow
@pytest.mark.skipif(not STUDENTS.is_dir(), reason=f"needs {STUDENTS}, which is not part of this repository")
def test_a_student_that_is_trained_on_is_no_worse_on_other_lines(
    tmp_path: Path, generating: Callable[[Path], Generator]
) -> None:
    """By chrF against people's English, of 20 lines, after 50 updates on 40 others."""
    rows = [
        (STUDENTS / name / "expected.tsv").read_text(encoding="utf-8").splitlines()
        for name in ("pt-en", "en-pt")
    ]
    portuguese, english = ([row.split("\t")[0] for row in part] for part in rows)
    model = tmp_path / "model"
    imported(STUDENTS / "pt-en", model)
    for name, lines in (("pt", portuguese), ("en", english)):
        (tmp_path / f"train.{name}").write_text("".join(f"{line}\n" for line in lines[:40]))
    data, tuned, text = str(tmp_path / "data"), str(tmp_path / "tuned"), str(tmp_path / "train")
    words = ["preprocess", "--source-lang", "pt", "--target-lang", "en", "--trainpref", text]
    assert not run([*words, "--vocab-from", str(model), "--destdir", data])
    words = ["train", data, "--config", str(model / "config.toml"), "--finetune-from-model", str(model)]
    words += [
        "--save-dir",
        tuned,
        "--max-update",
        "50",
        "--max-tokens",
        "128",
        "--lr",
        "0.00001",
        "--threads",
        "1",
    ]
    words += ["--lr-scheduler", "fixed", "--warmup-updates", "0", "--label-smoothing", "0", "--dropout", "0"]
    assert not run([*words, "--disable-validation"])
    source = "".join(f"{line}\n" for line in portuguese[40:])
    chrf = [
        sacrebleu.corpus_chrf(
            generating(path)(source, beam=1, max_len_a=2.0, max_len_b=20), [english[40:]]
        ).score
        for path in (model, Path(tuned) / "checkpoint_last.safetensors")
    ]
    assert chrf[0] > 70
    assert chrf[1] > chrf[0] - 0.5
