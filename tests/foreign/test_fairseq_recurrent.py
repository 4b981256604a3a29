"""fairseq's LSTMs: tiny random ones, against the formula with torch's own LSTM and cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_files import ROWS, random_weights, write_checkpoint
from foreign_models import imported, log_probabilities
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.configs.importing import ImportConfig
from s2scli.errors import CheckpointError
from s2scli.foreign.conversion import converted
from s2scli.foreign.fairseq_recurrent import FairseqRecurrent
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import to_theirs

EMBED, HIDDEN, LAYERS = 7, 8, 2


def settings(*, both: bool, tied: bool) -> dict[str, Any]:
    return {
        "arch": "lstm",
        "encoder_layers": LAYERS,
        "decoder_layers": LAYERS,
        "encoder_embed_dim": EMBED,
        "decoder_embed_dim": HIDDEN if tied else EMBED,
        "encoder_hidden_size": HIDDEN // 2 if both else HIDDEN,
        "decoder_hidden_size": HIDDEN,
        "decoder_out_embed_dim": HIDDEN,
        "encoder_bidirectional": both,
        "decoder_attention": "1",
        "dropout": 0.1,
    }


def cell_shapes(prefix: str, ending: str, inputs: int, size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{prefix}weight_ih{ending}", (4 * size, inputs)
    yield f"{prefix}weight_hh{ending}", (4 * size, size)
    yield f"{prefix}bias_ih{ending}", (4 * size,)
    yield f"{prefix}bias_hh{ending}", (4 * size,)


def shapes(found: dict[str, Any], *, tied: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    embed, size = found["decoder_embed_dim"], found["encoder_hidden_size"]
    yield "encoder.embed_tokens.weight", (ROWS, EMBED)
    yield "decoder.embed_tokens.weight", (ROWS, embed)
    for number in range(LAYERS):
        for ending in ("", "_reverse")[: 1 + found["encoder_bidirectional"]]:
            yield from cell_shapes("encoder.lstm.", f"_l{number}{ending}", HIDDEN if number else EMBED, size)
        inputs = HIDDEN if number else embed + HIDDEN
        yield from cell_shapes(f"decoder.layers.{number}.", "", inputs, HIDDEN)
    yield "decoder.attention.input_proj.weight", (HIDDEN, HIDDEN)
    yield "decoder.attention.output_proj.weight", (HIDDEN, 2 * HIDDEN)
    if not tied:
        yield "decoder.fc_out.weight", (ROWS, HIDDEN)
        yield "decoder.fc_out.bias", (ROWS,)


def formula(
    weights: dict[str, Tensor], found: dict[str, Any], source: list[int], target: list[int]
) -> Tensor:
    """What fairseq's LSTMModel says of a target: dot products of states that are projected, and input feeding."""
    both = found["encoder_bidirectional"]
    encoder = nn.LSTM(EMBED, found["encoder_hidden_size"], LAYERS, bidirectional=both)
    prefix = "encoder.lstm."
    encoder.load_state_dict(
        {name.removeprefix(prefix): item for name, item in weights.items() if prefix in name}
    )
    states, finals = encoder(weights["encoder.embed_tokens.weight"][[*source, 2]])
    hidden, cell = ([*part.unflatten(0, (LAYERS, -1)).flatten(1)] for part in finals)
    feed, outputs = torch.zeros(HIDDEN), []
    for token in [2, *target]:
        x = torch.cat([weights["decoder.embed_tokens.weight"][token], feed])
        for number in range(LAYERS):
            one = nn.LSTMCell(len(x), HIDDEN)
            prefix = f"decoder.layers.{number}."
            one.load_state_dict(
                {name.removeprefix(prefix): item for name, item in weights.items() if prefix in name}
            )
            hidden[number], cell[number] = one(x, (hidden[number], cell[number]))
            x = hidden[number]
        scores = states @ (weights["decoder.attention.input_proj.weight"] @ x)
        context = scores.softmax(0) @ states
        feed = torch.tanh(weights["decoder.attention.output_proj.weight"] @ torch.cat([context, x]))
        outputs.append(feed)
    matrix = weights.get("decoder.fc_out.weight", weights["decoder.embed_tokens.weight"])
    return F.linear(torch.stack(outputs), matrix, weights.get("decoder.fc_out.bias")).log_softmax(-1)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_a_model_says_what_the_formula_says_and_is_written_as_it_was(
    both: bool, tied: bool, tmp_path: Path
) -> None:
    own = settings(both=both, tied=tied)
    weights = random_weights(shapes(own, tied=tied))
    path = write_checkpoint(tmp_path / "theirs", own, weights)
    model, tokenizers = imported(path, tmp_path / "ours")
    source, target = tokenizers["source"].encode("w3 w0 w19 w7 w1"), tokenizers["target"].encode("w1 w1 w12")
    with torch.no_grad():
        expected = formula(weights, own, source, target)
    assert torch.allclose(log_probabilities(model, source, target), expected, rtol=0, atol=1e-5)
    found = FairseqRecurrent.read(ForeignSource(path), ImportConfig(source=path, save_dir=tmp_path))
    written = to_theirs(found.table, converted(found).weights)
    assert written.keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in written.items())


def test_states_of_two_sizes_are_refused(tmp_path: Path) -> None:
    own = settings(both=False, tied=False) | {"encoder_hidden_size": 5}
    weights = random_weights(shapes(settings(both=False, tied=False), tied=False))
    path = write_checkpoint(tmp_path / "theirs", own, weights)
    with pytest.raises(
        CheckpointError, match="decoder_hidden_size = 8 is not supported; supported: that of the"
    ):
        imported(path, tmp_path / "ours")
