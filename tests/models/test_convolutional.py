"""The convolutional model against the paper's equations, written with torch.nn.functional, one sentence at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from torch import Tensor
from torch.nn import functional as F
from toys import random_ids, random_model, small_convolutional, text_columns

from s2scli.configs.convolutional import layer_shapes
from s2scli.data.batch import Batch
from s2scli.errors import UsageError
from s2scli.models.convolutional import ConvolutionalModel
from s2scli.models.factory import build_model
from s2scli.nn.convolution import ConvolutionalDecoderLayer, ConvolutionalEncoderLayer, GatedConvolution
from s2scli.nn.linear import NormalizedLinear
from s2scli.nn.quantized import quantize

SOURCE_SIZE, TARGET_SIZE = 13, 11
EOS, PAD = 2, 1
SOURCES = random_ids([5, 9, 1], SOURCE_SIZE, seed=1)
TARGETS = random_ids([4, 2, 7], TARGET_SIZE, seed=2)


def make(**settings: Any) -> ConvolutionalModel:
    model = random_model(small_convolutional(**settings), SOURCE_SIZE, TARGET_SIZE, spread=0.3)
    assert isinstance(model, ConvolutionalModel)
    return model


def dense(layer: NormalizedLinear, x: Tensor) -> Tensor:
    """Equation 2 of Salimans and Kingma: w = g · v / ‖v‖."""
    rows = [gain * v / v.square().sum().sqrt() for gain, v in zip(layer.gain, layer.weight, strict=True)]
    return F.linear(x, torch.stack(rows), layer.bias)


def convolved(layer: GatedConvolution, x: Tensor, before: int) -> Tensor:
    """torch's convolution of x [T, channels] with zeros around it, and a ⊗ σ(b)."""
    channels = x.size(1)
    matrix = dense(layer.product, torch.eye(layer.kernel * channels)) - layer.product.bias  # [k·C, 2·out]
    kernels = matrix.T.unflatten(1, (layer.kernel, channels)).transpose(1, 2)  # [2·out, C, k]
    padded = F.pad(x.T, (before, layer.kernel - 1 - before))
    a, b = F.conv1d(padded[None], kernels, layer.product.bias)[0].T.chunk(2, dim=1)
    return a * torch.sigmoid(b)


def residual(layer: GatedConvolution, x: Tensor) -> Tensor:
    return dense(layer.residual, x) if isinstance(layer.residual, NormalizedLinear) else x


def encoded(model: ConvolutionalModel, source: list[int]) -> tuple[Tensor, Tensor]:
    """z and e of one source, [S, E]."""
    ids = [*source, EOS]
    e = model.source_embedding.weight[ids] + model.source_positions.weight[: len(ids)]
    x = dense(model.encoder_input, e)
    for layer in model.encoder_layers:
        assert isinstance(layer, ConvolutionalEncoderLayer)
        kernel = layer.convolution.kernel
        x = (convolved(layer.convolution, x, (kernel - 1) // 2) + residual(layer.convolution, x)) / math.sqrt(
            2
        )
    return dense(model.encoder_output, x), e


def decoded(
    model: ConvolutionalModel, z: Tensor, e: Tensor, target: list[int]
) -> tuple[Tensor, list[Tensor]]:
    """The states of one target, [T, D], and the attention of each layer, [T, S]."""
    ids = [EOS, *target]
    g = model.target_embedding.weight[ids] + model.target_positions.weight[: len(ids)]
    x = dense(model.decoder_input, g)
    attention = []
    for layer in model.decoder_layers:
        assert isinstance(layer, ConvolutionalDecoderLayer)
        h = convolved(layer.convolution, x, layer.convolution.kernel - 1)
        d = (dense(layer.attention.query, h) + g) / math.sqrt(2)
        weights, contexts = [], []
        for row in d:
            scores = torch.stack([row @ state for state in z])
            a = scores.exp() / scores.exp().sum()
            m = len(z)
            context = sum((a[j] * (z[j] + e[j]) / math.sqrt(2) for j in range(m)), torch.zeros(12))
            contexts.append(m * math.sqrt(1 / m) * context)
            weights.append(a)
        attended = (dense(layer.attention.out, torch.stack(contexts)) + h) / math.sqrt(2)
        x = (attended + residual(layer.convolution, x)) / math.sqrt(2)
        attention.append(torch.stack(weights))
    return dense(model.decoder_output, x), attention


SHAPES = {
    "two": {},
    "one": {"encoder_layers": "[(8, 3)]", "decoder_layers": "[(8, 3)]"},
    "deep": {"encoder_layers": "[(8, 5)] * 2 + [(12, 1)]", "decoder_layers": "[(6, 2)] * 3 + [(9, 4)]"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_papers_model(shape: str) -> None:
    model = make(**SHAPES[shape])
    batch = Batch(pad_sequences(SOURCES), pad_sequences(TARGETS))
    with torch.no_grad():
        hidden = model(batch)
        for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
            expected, attention = decoded(model, *encoded(model, source), target)
            torch.testing.assert_close(hidden[row, : len(target) + 1], expected, rtol=1e-4, atol=1e-5)
            for layer, weights in enumerate(attention):
                got = model.attention(batch, layer)[row, : len(target) + 1, : len(source) + 1]
                torch.testing.assert_close(got, weights, rtol=1e-4, atol=1e-5)
        assert torch.equal(model.attention(batch), model.attention(batch, len(attention) - 1))
    with pytest.raises(UsageError, match="--alignment-layer 7: the model has"):
        model.attention(batch, 7)


@pytest.mark.parametrize("training", [True, False])
def test_the_encoder_gets_a_share_of_the_gradient_in_training(training: bool) -> None:
    """Section 3.5: divided by the number of attentions, twice that of layers as in fairseq, but for the embeddings."""
    model = make().train(training)
    source, target = SOURCES[0], TARGETS[0]
    names = [name for name, _ in model.named_parameters() if not name.startswith("output")]
    parameters = [model.get_parameter(name) for name in names]
    hidden = model(Batch(pad_sequences([source]), pad_sequences([target])))
    found = dict(zip(names, torch.autograd.grad(hidden.square().sum(), parameters), strict=True))
    z, e = encoded(model, source)
    expected = torch.autograd.grad(
        decoded(model, z, e, target)[0].square().sum(), parameters, retain_graph=True
    )
    # What e gets directly, as a part of the values, is whole.
    z = z.detach()
    direct = torch.autograd.grad(
        decoded(model, z, e, target)[0].square().sum(), parameters, allow_unused=True
    )
    for name, whole, own in zip(names, expected, direct, strict=True):
        part = torch.zeros_like(whole) if own is None else own
        share = part + (whole - part) / (4 if training else 1)
        torch.testing.assert_close(found[name], share, rtol=1e-3, atol=1e-4, msg=name)
    assert (found["encoder_input.weight"].abs().max()) > 0


def test_no_gradient_comes_from_what_is_later() -> None:
    """The state of position t depends on the embeddings of what was read up to t, and on no other."""
    model = make(decoder_layers="[(9, 3)] * 2")
    reads: list[Tensor] = []

    def keep(_module: Any, _arguments: Any, output: Tensor) -> None:
        output.retain_grad()
        reads.append(output)

    model.target_embedding.register_forward_hook(keep)
    for place in range(8):
        hidden = model(Batch(pad_sequences([SOURCES[2]]), pad_sequences([TARGETS[2]])))
        hidden[0, place].sum().backward()
        grad = reads.pop().grad
        assert grad is not None
        # Two layers of three: five tokens.
        seen = [place - 4 <= other <= place for other in range(8)]
        assert grad[0].abs().amax(-1).gt(0).tolist() == seen


def test_first_weights_are_as_section_3_5_has_them() -> None:
    layers = "[(200, 3)] * 2 + [(300, 2)]"
    torch.manual_seed(1)
    config = small_convolutional(
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_embed_dim=250,
        decoder_embed_dim=250,
        dropout=0.2,
    )
    model = build_model(config, text_columns(500, 600))
    assert isinstance(model, ConvolutionalModel)
    expected = {
        "source_embedding.weight": 0.1,
        "target_embedding.weight": 0.1,
        "source_positions.weight": 0.1,
        "encoder_input.weight": math.sqrt(0.8 / 250),
        "encoder_output.weight": math.sqrt(1 / 300),
        "encoder_layers.0.convolution.product.weight": math.sqrt(4 * 0.8 / 600),
        "decoder_layers.2.convolution.product.weight": math.sqrt(4 * 0.8 / 400),
        "decoder_layers.2.convolution.residual.weight": math.sqrt(1 / 200),
        "decoder_layers.1.attention.query.weight": math.sqrt(1 / 200),
        "decoder_layers.1.attention.out.weight": math.sqrt(1 / 250),
        "output.weight": math.sqrt(0.8 / 8),
    }
    for name, std in expected.items():
        assert model.get_parameter(name).std().item() == pytest.approx(std, rel=0.03), name
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        if name.endswith("gain"):
            directions = model.get_parameter(name.replace("gain", "weight"))
            torch.testing.assert_close(parameter, directions.norm(dim=1))
    assert not model.source_embedding.weight[PAD].any()


def test_layers_keep_the_variance_of_what_they_read() -> None:
    """What the first weights and the scales are for: after ten layers it is of the same order."""
    torch.manual_seed(2)
    config = small_convolutional(
        encoder_layers="[(128, 3)] * 10",
        decoder_layers="[(128, 3)] * 10",
        encoder_embed_dim=128,
        decoder_embed_dim=128,
    )
    model = build_model(config, text_columns(300, 300)).eval()
    assert isinstance(model, ConvolutionalModel)
    spreads: list[float] = []
    for layer in [*model.encoder_layers, *model.decoder_layers]:
        layer.register_forward_hook(lambda _layer, _input, output: spreads.append(output.std().item()))
    model(Batch(pad_sequences(random_ids([30] * 8, 300)), pad_sequences(random_ids([30] * 8, 300, seed=1))))
    assert len(spreads) == 20
    assert all(0.03 < spread < 0.3 for spread in spreads)  # the embeddings', token and position, is 0.14


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.03), ("int8", 0.03)])
def test_narrow_weights_are_the_normalized_ones(precision: str, tolerance: float) -> None:
    batch = Batch(pad_sequences(SOURCES), pad_sequences(TARGETS))
    model, plain = make(), make()
    quantize(model, precision)
    with torch.inference_mode():
        expected = plain(batch)
        error = (model(batch) - expected)[batch.target.mask].norm() / expected[batch.target.mask].norm()  # type: ignore[union-attr]
    assert 0 <= error < tolerance


def test_how_layers_are_written() -> None:
    assert layer_shapes("[(512, 3)] * 2 + [(1024, 1)]") == [(512, 3), (512, 3), (1024, 1)]
    assert layer_shapes(" [(8,3),(9, 1)]*2+[ (7 , 5) ] ") == [(8, 3), (9, 1), (8, 3), (9, 1), (7, 5)]


@pytest.mark.parametrize(
    "text",
    [
        "4",
        "",
        "[]",
        "[(512)]",
        "[(512, 3)",
        "[(512, 3)] * 0",
        "[(8, 3)] * 1000000000",
        "[(0, 3)]",
        "[(8, 0)]",
        "[(8, 3)] * __import__('os')",
        "[(8, 3)] * 2 * 2",
        "[(8, 3)] [(8, 3)]",
        "[(8, -3)]",
    ],
)
def test_layers_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="encoder_layers = "):
        small_convolutional(encoder_layers=text)


def test_widths_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="encoder_embed_dim = 10 must equal"):
        small_convolutional(encoder_embed_dim=10)
    with pytest.raises(UsageError, match="decoder_out_embed_dim = 8 must equal"):
        small_convolutional(share_decoder_input_output_embed=True)
