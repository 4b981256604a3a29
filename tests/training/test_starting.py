"""The first weights of a run: --param-init, --embed-init, --encoder-embed-path, --decoder-embed-path."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import (
    BAHDANAU,
    CONFORMER,
    CONVOLUTIONAL,
    LANGUAGE_MODEL,
    MODERN,
    TRANSFORMER,
    Trainer,
    small_convolutional,
    small_recurrent,
    small_transformer,
    text_columns,
    write_lines,
)

from s2scli.data.dataset import Dataset
from s2scli.errors import DataError, UsageError
from s2scli.models.base import Model
from s2scli.models.factory import build_model
from s2scli.nn.initial import INITIAL_SCALES, initialize, initialize_embeddings
from s2scli.nn.linear import NormalizedLinear
from s2scli.text.vectors import read_vectors
from s2scli.training.building import make_run
from s2scli.training.distributed import Processes
from s2scli.training.run import Run
from s2scli.training.signals import StopSignals

torch_initializers = {
    "xavier_uniform": (torch.nn.init.xavier_uniform_, {"gain": 1.0}),
    "xavier_normal": (torch.nn.init.xavier_normal_, {"gain": 1.0}),
    "kaiming_uniform": (torch.nn.init.kaiming_uniform_, {"nonlinearity": "relu"}),
    "kaiming_normal": (torch.nn.init.kaiming_normal_, {"nonlinearity": "relu"}),
    "normal": (torch.nn.init.normal_, {"std": 0.02}),
    "uniform": (torch.nn.init.uniform_, {"a": -0.1, "b": 0.1}),
}


def start_run(trained: Trainer, settings: dict[str, Any]) -> Run:
    run = make_run(trained.config("run", **settings), Processes(torch.device("cpu")), StopSignals())
    run.data.loader.close()
    run.observers.close()
    return run


def start(trained: Trainer, settings: dict[str, Any]) -> Model:
    return start_run(trained, settings).learner.model


@pytest.mark.parametrize("method", INITIAL_SCALES)
def test_each_is_torchs_own(method: str) -> None:
    """The queries, keys and values of a layer stand in one matrix, and are drawn as three."""
    config = small_transformer(activation_fn="swiglu", encoder_embed_dim=16, decoder_embed_dim=16)
    ours = build_model(config, text_columns(11, 11))
    torch.manual_seed(5)
    initialize(ours, method)
    draw, options = torch_initializers[method]
    torch.manual_seed(5)
    layer = ours.encoder_layers[0]
    for matrix in (
        *layer.self_attention.qkv.weight.detach().clone().chunk(3),
        layer.self_attention.out.weight.detach().clone(),
        *layer.feed_forward.inner.weight.detach().clone().chunk(2),
    ):
        before = matrix.clone()
        draw(matrix, **options)
        torch.testing.assert_close(matrix, before)
    assert not layer.self_attention.qkv.bias.any()
    assert bool((layer.self_attention_residual.norm.weight == 1).all())


@pytest.mark.parametrize("config", [small_transformer(), small_recurrent(), small_convolutional()])
def test_every_matrix_of_every_family_is_drawn_anew(config: Any) -> None:
    torch.manual_seed(0)
    model = build_model(config, text_columns(11, 13))
    before = {name: item.detach().clone() for name, item in model.named_parameters()}
    initialize(model, "uniform", 0.003)
    tables = {id(model.output.weight), *(id(table.weight) for table in model.embeddings.values())}
    for name, item in model.named_parameters():
        if (
            id(item) in tables
            or "positions" in name
            or (item.dim() == 1 and "bias" not in name and "gain" not in name)
        ):
            assert torch.equal(item, before[name]), name
        elif item.dim() == 2:
            assert 0.002 < item.abs().max() <= 0.003, name
    for module in model.modules():
        if isinstance(module, NormalizedLinear):
            torch.testing.assert_close(module.matrix(), module.weight)
    initialize_embeddings(model, "normal", 2.0)
    for table in model.embeddings.values():
        assert not table.weight[table.padding_idx].any()
        assert 1.5 < table.weight[4:].std() < 2.5


def test_the_gates_of_a_cell_are_drawn_one_by_one() -> None:
    model = build_model(small_recurrent(cell="lstm"), text_columns(11, 11))
    torch.manual_seed(2)
    initialize(model, "xavier_uniform")
    weight = model.encoder.network.weight_ih_l0
    assert weight.shape == (28, 10)
    assert weight.abs().max() > math.sqrt(6 / 38)
    assert weight.abs().max() <= math.sqrt(6 / 17)


@pytest.mark.parametrize(
    ("settings", "some", "not_one"),
    [
        (TRANSFORMER, "decoder_layers.0.self_attention.qkv.weight", "encoder_embedder.table.weight"),
        (BAHDANAU, "decoder.network.weight_hh_l0", "score.v"),
        # Of these only directions count, so that their lengths would grow.
        (CONVOLUTIONAL, None, "encoder_input.weight"),
    ],
)
def test_muon_has_the_matrices_between_layers(
    trained: Trainer, settings: dict[str, Any], some: str | None, not_one: str
) -> None:
    """Of the gates of a cell, and of queries, keys and values, each is a matrix by itself."""
    run = start_run(trained, settings | {"optimizer.name": "muon"})
    names = {id(item): name for name, item in run.learner.parameters.items()}
    blocks = {
        names[id(item)]: group["blocks"]
        for group in run.learner.updater.optimizer.param_groups
        for item in group["params"]
    }
    assert blocks.keys() == {*names.values()}
    assert {name for name in blocks if name.endswith("bias")} <= {name for name in blocks if not blocks[name]}
    if some is None:
        assert not any(blocks.values())
    else:
        assert blocks[some] == 3
    assert blocks[not_one] == 0


def test_muon_has_what_is_a_matrix_of_a_conformer_and_of_location_scores(
    trained: Trainer, spoken: Trainer
) -> None:
    """Not vectors of each head, nor a row for each position; and of what a gate is beside, each matrix by itself."""
    muon = {"optimizer.name": "muon"}
    for run, some, number, others in (
        (
            start_run(spoken, CONFORMER | muon),
            "convolution.entering.weight",
            2,
            ("content_bias", "distance_bias"),
        ),
        (
            start_run(
                trained, BAHDANAU | {"model.attention": "location", "model.attention_query": "current"} | muon
            ),
            "decoder.network.weight_hh_l0",
            3,
            ("score.weight",),
        ),
        (
            start_run(trained, MODERN | muon),
            "encoder_layers.0.feed_forward.inner.weight",
            2,
            ("norm.weight",),
        ),
    ):
        names = {id(item): name for name, item in run.learner.parameters.items()}
        blocks = {
            names[id(item)]: group["blocks"]
            for group in run.learner.updater.optimizer.param_groups
            for item in group["params"]
        }
        assert {blocks[name] for name in blocks if name.endswith(some)} == {number}
        assert {blocks[name] for name in blocks if name.endswith(others)} == {0}


def test_a_run_begins_with_them(trained: Trainer) -> None:
    plain, drawn = (
        start(trained, TRANSFORMER | more) for more in ({}, {"param_init": "normal", "param_init_scale": 0.5})
    )
    one, other = (dict(model.named_parameters()) for model in (plain, drawn))
    assert 0.4 < other["encoder_layers.0.self_attention.qkv.weight"].std() < 0.6
    assert torch.equal(one["encoder_embedder.table.weight"], other["encoder_embedder.table.weight"])


FAMILIES = {"transformer": TRANSFORMER, "recurrent": BAHDANAU, "convolutional": CONVOLUTIONAL}
APART = {"model.share_all_embeddings": False}


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_from_a_file(
    trained: Trainer, family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = FAMILIES[family]
    width = settings["model.encoder_embed_dim"]
    vector = [round(0.1 * number - 0.35, 6) for number in range(width)]
    write_lines(
        tmp_path / "vectors",
        [
            f"3 {width}",
            f"ba {' '.join(map(str, vector))}",
            f"not there {' 1' * width}".replace("  ", " "),
            f"ke{' 2' * width} ",
        ],
    )
    model = start(trained, settings | APART | {"encoder_embed_path": tmp_path / "vectors"})
    plain = start(trained, settings | APART)
    tokenizer = Dataset.open(trained.data).tokenizer("source")
    table, before = model.embeddings["source"].weight, plain.embeddings["source"].weight
    ba, ke = (tokenizer.vocabulary.lookup(symbol) for symbol in ("ba", "ke"))
    torch.testing.assert_close(table[ba], torch.tensor(vector))
    assert table[ke].tolist() == [2.0] * width
    others = [index for index in range(len(table)) if index not in (ba, ke)]
    assert torch.equal(table[others], before[others])
    assert torch.equal(model.embeddings["target"].weight, plain.embeddings["target"].weight)
    assert "vectors of 2 of 12 source symbols" in capsys.readouterr().err


def test_a_run_that_goes_on_does_not_need_the_file(trained: Trainer, tmp_path: Path) -> None:
    write_lines(tmp_path / "vectors", [f"ba{' 1' * 16}"])
    settings = TRANSFORMER | {"decoder_embed_path": tmp_path / "vectors"}
    trained("run", **settings, max_update=2)
    (tmp_path / "vectors").unlink()
    assert trained("run", **settings, max_update=3).updates == 3


@pytest.mark.parametrize(
    ("lines", "settings", "message"),
    [
        (["ba 1 2 3"], {}, r"vectors:1: has 3 numbers, and --encoder-embed-dim is 16"),
        ([f"ba{' 1' * 20}"], {}, r"vectors:1: has 20 numbers, and --encoder-embed-dim is 16"),
        (["2 16", f"ba{' 1' * 15} x"], {}, r"vectors:2: what follows the symbol is not all numbers"),
        ([f"ba{' 1' * 15} nan"], {}, r"vectors:1: what follows the symbol is not all numbers"),
        ([f"zu{' 1' * 16}"], {}, r"vectors: has none of the 12 source symbols, as "),
    ],
)
def test_files_that_do_not_fit(
    trained: Trainer, tmp_path: Path, lines: list[str], settings: dict[str, Any], message: str
) -> None:
    write_lines(tmp_path / "vectors", lines)
    with pytest.raises(DataError, match=message):
        start(trained, TRANSFORMER | settings | {"encoder_embed_path": tmp_path / "vectors"})


def test_what_has_no_such_table_is_refused(trained: Trainer, tmp_path: Path) -> None:
    write_lines(tmp_path / "vectors", [f"ba{' 1' * 16}"])
    with pytest.raises(UsageError, match="a language model reads no source"):
        start(trained, LANGUAGE_MODEL | {"encoder_embed_path": tmp_path / "vectors"})
    both = {"encoder_embed_path": tmp_path / "vectors", "decoder_embed_path": tmp_path / "other"}
    with pytest.raises(UsageError, match="both sides have one table here"):
        start(trained, TRANSFORMER | both)


def test_symbols_may_hold_spaces(tmp_path: Path) -> None:
    write_lines(tmp_path / "vectors", ["a b 1 2", "a 3 4", "a 5 6"])
    assert read_vectors(tmp_path / "vectors", {"a b": 7, "a": 8}, 2, "--x") == {7: [1.0, 2.0], 8: [5.0, 6.0]}
