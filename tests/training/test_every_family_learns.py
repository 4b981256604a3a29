"""Every family learns to copy sentences of made-up words, from the files to the translated text. Minutes long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toys import Trainer, write_dataset

from s2scli.configs.generate import GenerateConfig
from s2scli.generate import records_of
from s2scli.schema import build

pytestmark = pytest.mark.slow

COMMON: dict[str, Any] = {
    "max_tokens": 600,
    "device": "cpu",
    "optimizer.lr": 0.004,
    "lr_scheduler.warmup_updates": 100,
    "objective.label_smoothing": 0.0,
    "model.dropout": 0.1,
    "model.encoder_embed_dim": 64,
    "model.decoder_embed_dim": 64,
    "log_interval": 1000,
    "patience": 0,
    "max_epoch": 30,
}
STACK = {
    f"model.{side}_{what}": size
    for side in ("encoder", "decoder")
    for what, size in (("layers", 2), ("ffn_embed_dim", 128))
}
CHANNELS = {
    "model.encoder_layers": "[(64, 3)] * 2",
    "model.decoder_layers": "[(64, 3)] * 2",
    "model.decoder_out_embed_dim": 64,
}
STATES = {"model.encoder_hidden_size": 64, "model.decoder_hidden_size": 64}
TWO_WAYS = {"model.encoder_hidden_size": 32, "model.decoder_hidden_size": 64, "model.attention_dim": 64}


def bahdanau(cell: str, attention: str, query: str, **settings: Any) -> dict[str, Any]:
    chosen = {"model.cell": cell, "model.attention": attention, "model.attention_query": query}
    return {"arch": "rnn_bahdanau", **TWO_WAYS, **chosen, **settings}


CASES: dict[str, dict[str, Any]] = {
    "transformer": {"arch": "transformer_tiny", **STACK},
    "transformer pre-norm swiglu": {
        "arch": "transformer_tiny",
        **STACK,
        "model.activation_fn": "swiglu",
        "model.encoder_normalize_before": True,
        "model.decoder_normalize_before": True,
    },
    "transformer learned positions": {"arch": "transformer_tiny", **STACK, "model.positions": "learned"},
    "transformer window": {"arch": "transformer_tiny", **STACK, "model.attention_window": 4},
    "fconv_tiny": {"arch": "fconv_tiny", **CHANNELS},
    "rnn_bahdanau": {"arch": "rnn_bahdanau", **TWO_WAYS},
    "rnn_luong": {"arch": "rnn_luong", **STATES},
    "lstm additive previous": bahdanau("lstm", "additive", "previous"),
    "lstm concat previous": bahdanau("lstm", "concat", "previous"),
    "lstm general current": bahdanau("lstm", "general", "current"),
    "lstm location current": bahdanau("lstm", "location", "current"),
    "gru dot current": bahdanau("gru", "dot", "current"),
    "gru scaled-dot previous": bahdanau("gru", "scaled-dot", "previous"),
    "gru general current without feeding": bahdanau(
        "gru", "general", "current", **{"model.input_feeding": False}
    ),
}


@pytest.fixture(scope="module")
def copying(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("copying"), sizes=(3000, 100, 200), longest=8, copy=True)


def accuracy(trainer: Trainer, name: str, beam: int) -> float:
    """The share of words of the test split that come out in their places.

    The beam stops when its output is ahead of what is open: by fairseq's rule, which stops at as many ended outputs as
    the beam is wide, a model that is this sure of itself ends on outputs far less probable than the greedy one.
    """
    values = {"data": trainer.data, "path": trainer.root / name, "max_len_b": 30, "device": "cpu"}
    values |= {"beam": beam}
    right = total = 0
    for record in records_of(build(GenerateConfig, values)):
        said, wanted = record.text.split(), str(record.reference).split()
        right += sum(one == other for one, other in zip(said, wanted, strict=False))
        total += max(len(said), len(wanted))
    return right / total


@pytest.mark.parametrize("name", CASES)
def test_copying_is_learned(copying: Path, tmp_path: Path, name: str) -> None:
    trainer = Trainer(copying, tmp_path)
    trainer("run", **COMMON | CASES[name])
    for beam in (1, 4):
        assert accuracy(trainer, "run", beam) >= 0.99


@pytest.mark.parametrize("change", [{}, {"model.fixed_context": "every"}], ids=["first", "every"])
def test_one_vector_is_enough_for_short_sentences(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "data").mkdir()
    data = write_dataset(tmp_path / "data", sizes=(3000, 100, 200), longest=4, copy=True)
    trainer = Trainer(data, tmp_path)
    trainer("run", **COMMON | {"arch": "rnn_fixed_vector", **STATES} | change)
    for beam in (1, 4):
        assert accuracy(trainer, "run", beam) >= 0.99
