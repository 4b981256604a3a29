"""fairseq's Transformers: its own outputs of a model that it has trained, and the formulas of other kinds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_files import TRANSFORMER, random_weights, transformer_shapes, write_checkpoint
from foreign_models import imported, log_probabilities
from generating import Generator
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.positions import sinusoids

SHARED = Path(__file__).resolve().parents[3] / "shared"
MODEL = SHARED / "peers/model_A"
TEXT = SHARED / "data/multi30k/test_2016_flickr.en"
LENGTHS = {"max_len_a": 0.0, "max_len_b": 200}
KINDS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm, learned positions": {
        "encoder_normalize_before": True,
        "decoder_normalize_before": True,
        "encoder_learned_pos": True,
        "decoder_learned_pos": True,
        "activation_fn": "gelu",
    },
    "one side pre-norm, embeddings normalized": {
        "encoder_normalize_before": True,
        "layernorm_embedding": True,
        "no_scale_embedding": True,
        "activation_fn": "gelu_accurate",
    },
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_accurate": lambda x: F.gelu(x, approximate="tanh"),
}


class Formula:
    """A Transformer written out with fairseq's names, without a class of torch's or ours."""

    def __init__(self, settings: dict[str, Any], weights: dict[str, Tensor]) -> None:
        self.settings, self.weights = settings, weights

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def attention(self, name: str, side: str, x: Tensor, memory: Tensor, *, causal: bool) -> Tensor:
        heads = self.settings[f"{side}_attention_heads"]
        queries, keys, values = (
            self.linear(f"{name}.{letter}_proj", item).unflatten(-1, (heads, -1)).transpose(0, 1)
            for letter, item in (("q", x), ("k", memory), ("v", memory))
        )
        scores = queries @ keys.mT / queries.size(-1) ** 0.5
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
        return self.linear(f"{name}.out_proj", (scores.softmax(-1) @ values).transpose(0, 1).flatten(1))

    def embed(self, side: str, ids: list[int]) -> Tensor:
        table = self.weights[f"{side}.embed_tokens.weight"]
        scale = 1.0 if self.settings["no_scale_embedding"] else table.size(1) ** 0.5
        learned = self.settings[f"{side}_learned_pos"]
        positions = (
            self.weights[f"{side}.embed_positions.weight"] if learned else sinusoids(40, table.size(1))
        )
        x = table[ids] * scale + positions[2 : 2 + len(ids)]
        return self.norm(f"{side}.layernorm_embedding", x) if self.settings["layernorm_embedding"] else x

    def run(self, side: str, ids: list[int], memory: Tensor | None) -> Tensor:
        x, before = self.embed(side, ids), self.settings[f"{side}_normalize_before"]

        def residual(x: Tensor, norm: str, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
            return x + sublayer(self.norm(norm, x)) if before else self.norm(norm, x + sublayer(x))

        def feed_forward(layer: str) -> Callable[[Tensor], Tensor]:
            activation = ACTIVATIONS[self.settings["activation_fn"]]
            return lambda x: self.linear(f"{layer}.fc2", activation(self.linear(f"{layer}.fc1", x)))

        def attend(name: str, memory: Tensor | None) -> Callable[[Tensor], Tensor]:
            causal = memory is None and side == "decoder"
            return lambda x: self.attention(name, side, x, x if memory is None else memory, causal=causal)

        for number in range(self.settings[f"{side}_layers"]):
            layer = f"{side}.layers.{number}"
            x = residual(x, f"{layer}.self_attn_layer_norm", attend(f"{layer}.self_attn", None))
            if memory is not None:
                x = residual(x, f"{layer}.encoder_attn_layer_norm", attend(f"{layer}.encoder_attn", memory))
            x = residual(x, f"{layer}.final_layer_norm", feed_forward(layer))
        return self.norm(f"{side}.layer_norm", x) if before else x

    def log_probabilities(self, source: list[int], target: list[int]) -> Tensor:
        memory = self.run("encoder", [*source, 2], None)
        states = self.run("decoder", [2, *target], memory)
        return (states @ self.weights["decoder.output_projection.weight"].T).log_softmax(-1)


@pytest.mark.parametrize("tied", ["nothing", "decoder", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_says_what_the_formula_says(kind: str, tied: str, tmp_path: Path) -> None:
    settings = TRANSFORMER | KINDS[kind]
    weights = random_weights(transformer_shapes(settings))
    if tied != "nothing":
        weights["decoder.output_projection.weight"] = weights["decoder.embed_tokens.weight"]
    if tied == "all":
        weights["encoder.embed_tokens.weight"] = weights["decoder.embed_tokens.weight"].clone()
    model, tokenizers = imported(write_checkpoint(tmp_path / "theirs", settings, weights), tmp_path / "ours")
    source, target = tokenizers["source"].encode("w3 w0 w19 w7"), tokenizers["target"].encode("w1 w1 w12")
    assert source == [7, 4, 23, 11]
    expected = Formula(settings, weights).log_probabilities(source, target)
    assert torch.allclose(log_probabilities(model, source, target), expected, rtol=0, atol=1e-5)
    tables = [name for name, _ in model.named_parameters() if "table" in name or name == "output.weight"]
    assert len(tables) == {"nothing": 3, "decoder": 2, "all": 1}[tied]


def test_newer_files_have_the_settings_of_each_side_in_a_table_of_their_own(tmp_path: Path) -> None:
    weights = random_weights(transformer_shapes(TRANSFORMER))
    nested: dict[str, Any] = {"encoder": {}, "decoder": {}}
    for name, value in TRANSFORMER.items():
        side, _, rest = name.partition("_")
        nested.get(side, nested)[rest if side in nested else name] = value
    flat = write_checkpoint(tmp_path / "flat", TRANSFORMER, weights)
    deep = write_checkpoint(tmp_path / "deep", nested, weights)
    one, _ = imported(flat, tmp_path / "one")
    other, _ = imported(deep, tmp_path / "other")
    found = one.state_dict()
    assert found.keys() == other.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in other.state_dict().items())


@pytest.mark.skipif(
    not (MODEL.is_dir() and TEXT.is_file()),
    reason=f"needs {MODEL} and {TEXT}, which are not part of this repository",
)
@pytest.mark.parametrize("number", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_translations_of_a_trained_model_are_fairseqs(
    number: int, tmp_path: Path, generating: Callable[[Path], Generator]
) -> None:
    imported(MODEL, tmp_path / "model")
    with TEXT.open(encoding="utf-8") as stream:
        text = "".join(islice(stream, number))
    for beam in (1, 5):
        found = generating(tmp_path / "model")(text, beam=beam, stop="fairseq", precision="fp32", **LENGTHS)
        expected = (
            (MODEL / f"test_2016_flickr.beam{beam}.de").read_text(encoding="utf-8").splitlines()[:number]
        )
        assert found == expected
