"""fairseq's convolutional models: tiny random ones, against the formula with weights as fairseq has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_files import ROWS, Shapes, random_weights, write_checkpoint
from foreign_models import imported, log_probabilities
from torch import Tensor
from torch.nn import functional as F

from s2scli.configs.importing import ImportConfig
from s2scli.foreign.conversion import converted
from s2scli.foreign.fairseq_convolutional import FairseqConvolutional
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import to_theirs

WIDTH, OUT = 10, 6
SETTINGS: dict[str, Any] = {
    "arch": "fconv",
    "encoder_layers": "[(8, 3)] * 2 + [(6, 4)]",
    "decoder_layers": "[(8, 3)] + [(6, 2)]",
    "encoder_embed_dim": WIDTH,
    "decoder_embed_dim": WIDTH,
    "decoder_out_embed_dim": OUT,
    "decoder_attention": "True",
    "share_input_output_embed": False,
    "dropout": 0.1,
}
LAYERS = {"encoder": [(8, 3), (8, 3), (6, 4)], "decoder": [(8, 3), (6, 2)]}


def _dense(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight_g", (outputs, 1)
    yield f"{name}.weight_v", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def shapes(out: int, *, tied: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    for side, layers in LAYERS.items():
        yield f"{side}.embed_tokens.weight", (ROWS, WIDTH)
        yield f"{side}.embed_positions.weight", (20, WIDTH)
        yield from _dense(f"{side}.fc1", WIDTH, layers[0][0])
        yield from _dense(f"{side}.fc2", layers[-1][0], WIDTH if side == "encoder" else out)
        for number, ((inputs, _), (channels, kernel)) in enumerate(
            zip([layers[0], *layers], layers, strict=False)
        ):
            convolution = f"{side}.convolutions.{number}"
            yield f"{convolution}.weight_g", (1, 1, 2 * channels)
            yield f"{convolution}.weight_v", (kernel, inputs, 2 * channels)
            yield f"{convolution}.bias", (2 * channels,)
            if inputs != channels:
                yield from _dense(f"{side}.projections.{number}", inputs, channels)
            if side == "decoder":
                yield from _dense(f"decoder.attention.{number}.in_projection", channels, WIDTH)
                yield from _dense(f"decoder.attention.{number}.out_projection", WIDTH, channels)
    if tied:
        yield "decoder.fc3.weight", (ROWS, out)
        yield "decoder.fc3.bias", (ROWS,)
    else:
        yield from _dense("decoder.fc3", out, ROWS)


def dense(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    if f"{name}.weight" in weights:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])
    matrix = torch._weight_norm(weights[f"{name}.weight_v"], weights[f"{name}.weight_g"], 0)
    return F.linear(x, matrix, weights[f"{name}.bias"])


def convolved(weights: dict[str, Tensor], name: str, x: Tensor, before: int) -> Tensor:
    """Section 3.2, with torch's own convolution: GLU of x [T, channels] with zeros around it."""
    kernel = torch._weight_norm(weights[f"{name}.weight_v"], weights[f"{name}.weight_g"], 2)
    padded = F.pad(x.T[None], (before, len(kernel) - 1 - before))
    found = F.conv1d(padded, kernel.permute(2, 1, 0), weights[f"{name}.bias"])
    return F.glu(found[0].T, dim=1)


def formula(weights: dict[str, Tensor], source: list[int], target: list[int]) -> Tensor:
    """What fairseq's FConvModel says of a target, sections 3.2 to 3.4 of the paper."""

    def embed(side: str, ids: list[int]) -> Tensor:
        positions = weights[f"{side}.embed_positions.weight"][2 : 2 + len(ids)]
        return weights[f"{side}.embed_tokens.weight"][ids] + positions

    def residual(side: str, number: int, x: Tensor) -> Tensor:
        name = f"{side}.projections.{number}"
        return dense(weights, name, x) if f"{name}.bias" in weights else x

    embedded = embed("encoder", [*source, 2])
    x = dense(weights, "encoder.fc1", embedded)
    for number, (_, kernel) in enumerate(LAYERS["encoder"]):
        x = (
            convolved(weights, f"encoder.convolutions.{number}", x, (kernel - 1) // 2)
            + residual("encoder", number, x)
        ) * 0.5**0.5
    keys = dense(weights, "encoder.fc2", x)
    values = (keys + embedded) * 0.5**0.5
    embedded = embed("decoder", [2, *target])
    y = dense(weights, "decoder.fc1", embedded)
    for number, (_, kernel) in enumerate(LAYERS["decoder"]):
        h = convolved(weights, f"decoder.convolutions.{number}", y, kernel - 1)
        query = (dense(weights, f"decoder.attention.{number}.in_projection", h) + embedded) * 0.5**0.5
        context = (query @ keys.T).softmax(-1) @ values * len(keys) ** 0.5
        h = (dense(weights, f"decoder.attention.{number}.out_projection", context) + h) * 0.5**0.5
        y = (h + residual("decoder", number, y)) * 0.5**0.5
    return dense(weights, "decoder.fc3", dense(weights, "decoder.fc2", y)).log_softmax(-1)


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_says_what_the_formula_says(tied: bool, tmp_path: Path) -> None:
    out = WIDTH if tied else OUT
    weights = random_weights(shapes(out, tied=tied))
    if tied:
        weights["decoder.fc3.weight"] = weights["decoder.embed_tokens.weight"]
    settings = SETTINGS | {"decoder_out_embed_dim": out}
    path = write_checkpoint(tmp_path / "theirs", settings, weights)
    model, tokenizers = imported(path, tmp_path / "ours")
    source, target = tokenizers["source"].encode("w3 w0 w19 w7 w1"), tokenizers["target"].encode("w1 w1 w12")
    expected = formula(weights, source, target)
    assert torch.allclose(log_probabilities(model, source, target), expected, rtol=0, atol=1e-5)


def test_what_was_read_is_written_as_it_was(tmp_path: Path) -> None:
    weights = random_weights(shapes(OUT, tied=False))
    path = write_checkpoint(tmp_path, SETTINGS, weights)
    found = FairseqConvolutional.read(ForeignSource(path), ImportConfig(source=path, save_dir=tmp_path))
    written = to_theirs(found.table, converted(found).weights)
    assert written.keys() == weights.keys()
    for name, tensor in written.items():
        if name.startswith("decoder.fc3.weight"):
            continue  # the lengths and directions of the output's rows are one matrix here
        skipped = 2 if "embed_positions" in name else 0
        assert torch.equal(tensor[skipped:], weights[name][skipped:]), name
    matrix = torch._weight_norm(written["decoder.fc3.weight_v"], written["decoder.fc3.weight_g"], 0)
    expected = torch._weight_norm(weights["decoder.fc3.weight_v"], weights["decoder.fc3.weight_g"], 0)
    assert torch.allclose(matrix, expected, atol=1e-6)
