"""What ONNX graphs compute is what our models compute, of every kind of Transformer, in one pass and token by token."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_checkpoints import SMALL
from torch import Tensor

from s2scli.configs.frontend import FrontendConfig
from s2scli.configs.train import TrainConfig
from s2scli.configs.transformer import TransformerConfig
from s2scli.data.batch import Batch, Tokens, decoder_input, pad_sequences
from s2scli.data.facts import ModelColumns, TextFacts
from s2scli.models.factory import build_model, kept_tensors
from s2scli.models.transformer import TransformerModel
from s2scli.schema import limits_of
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from s2scli.exporting.onnx_graphs import FIRST_DECODER, NEXT_DECODER, PAST, PRESENT, write_graphs
from s2scli.exporting.onnx_outputs import Arrays, OnnxModel

SIZES = 13, 17
PRE_NORM = {"encoder_normalize_before": True, "decoder_normalize_before": True}
KINDS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm, untied, a bias": {**PRE_NORM, "share_decoder_input_output_embed": False, "output_bias": True},
    "one table": {"encoder_embed_dim": 16, "encoder_attention_heads": 4, "share_all_embeddings": True},
    "pre-norm encoder, embedding norm, gelu": {
        "encoder_normalize_before": True,
        "layernorm_embedding": True,
        "activation_fn": "gelu",
    },
    "a decoder unlike its encoder": {
        "layernorm_embedding": True,
        "activation_fn": "gelu",
        "decoder_normalize_before": True,
        "decoder_layernorm_embedding": False,
        "decoder_activation_fn": "gelu_new",
        "decoder_norm_eps": 1e-2,
    },
    "gated, learned positions": {
        "activation_fn": "swiglu",
        "positions": "learned",
        "max_source_positions": 12,
        "max_target_positions": 500,
    },
    "as T5": {
        **PRE_NORM,
        "norm": "rms",
        "norm_eps": 1e-3,
        "positions": "relative",
        "relative_buckets": 8,
        "relative_max_distance": 9,
        "activation_fn": "geglu_new",
        "linear_bias": False,
        "encoder_head_dim": 6,
        "decoder_head_dim": 10,
        "attention_scale": 1.0,
        "scale_embedding": False,
        "output_scale": 0.25,
    },
    "as T5, its own distances": {"positions": "relative", "activation_fn": "reglu"},
    "as Marian": {
        "norm_eps": 1e-2,
        "sinusoid_spacing": "paper",
        "position_offset": 2,
        "activation_fn": "swish",
        "decoder_start": "zero",
        "output_bias": True,
    },
    "rotary, one head of keys, normalized": {
        "positions": "rotary",
        "rotary_base": 100.0,
        "encoder_kv_heads": 1,
        "decoder_kv_heads": 1,
        "qk_norm": True,
    },
    "several heads for each of keys": {
        "encoder_attention_heads": 4,
        "encoder_head_dim": 3,
        "encoder_kv_heads": 2,
        "decoder_attention_heads": 4,
        "decoder_kv_heads": 2,
        "activation_fn": "geglu",
        "norm": "rms",
        "qk_norm": True,
    },
    "no positions, norms without biases": {"positions": "none", "norm_bias": False},
    "an SSRU": {"decoder_sublayer": "ssru", "decoder_start": "zero"},
    "an SSRU, pre-norm, learned positions": {
        **PRE_NORM,
        "decoder_sublayer": "ssru",
        "positions": "learned",
        "max_source_positions": 12,
        "max_target_positions": 500,
    },
    "a window": {"attention_window": 4},
    "a window, some tokens of which see all, rotary": {
        "attention_window": 2,
        "global_tokens": 2,
        "positions": "rotary",
    },
}


# What is refused, or is no part of a model that reads text.
NOT_WRITTEN = {
    "name",
    "copy",
    "alignment_layer",
    "alignment_heads",
    "encoder_layer",
    "depthwise_conv_kernel_size",
    *(field.name for field in fields(FrontendConfig)),
}


def test_every_setting_of_transformers_is_among_the_kinds() -> None:
    """A setting that is new has to be written in graphs, or refused: it would be passed over without a word."""
    known = {name for settings in (SMALL, *KINDS.values()) for name in settings}
    settings = {field.name for field in fields(TransformerConfig) if not limits_of(field).training_only}
    assert settings - NOT_WRITTEN == known


def made(kind: str) -> tuple[TransformerModel, TransformerConfig]:
    """A model whose weights, norms and biases too, are drawn at random."""
    given = {f"model.{name}": value for name, value in (SMALL | KINDS[kind]).items()}
    config = TrainConfig.resolve({}, {"data": "none", "arch": "transformer_tiny", **given}).model
    assert isinstance(config, TransformerConfig)
    sizes = (SIZES[1], SIZES[1]) if config.share_all_embeddings else SIZES
    model = build_model(config, ModelColumns(*(TextFacts(size) for size in sizes)))
    assert isinstance(model, TransformerModel)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in kept_tensors(model).items():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (0.3 if tensor.dim() > 1 else 0.2))
            if "norm.weight" in name:
                tensor += 1
    return model.eval(), config


def drawn(number: int, length: int, size: int, *, least: int = 1) -> Tokens:
    """Sequences of several lengths, the first of `length`."""
    generator = torch.Generator().manual_seed(length)
    lengths = [length, *torch.randint(least, length + 1, (number - 1,), generator=generator).tolist()]
    rows = [torch.randint(4, size, (item,), generator=generator).tolist() for item in lengths]
    return pad_sequences(rows, symbols=FAIRSEQ_SYMBOLS)


class Stepper:
    """The graphs of a model over a batch of sources, as whoever goes step by step calls them."""

    def __init__(self, folder: Path, source: Tokens) -> None:
        self.model = OnnxModel(folder)
        mask = source.mask.long().numpy()
        states = self.model.run("encoder_model", {"input_ids": source.ids.numpy(), "attention_mask": mask})
        self.states = torch.from_numpy(states["last_hidden_state"])
        self.inputs: Arrays = {
            "encoder_attention_mask": mask,
            "encoder_hidden_states": states["last_hidden_state"],
        }
        self.read = 0

    def scores(self, ids: Tensor) -> Tensor:
        """The scores after newest tokens [B, T]."""
        self.inputs |= {"input_ids": ids.numpy(), "cache_position": np.array([self.read])}
        found = self.model.run(NEXT_DECODER if self.read else FIRST_DECODER, self.inputs)
        logits = found.pop("logits")
        self.inputs |= {name.replace(PRESENT, PAST): array for name, array in found.items()}
        self.read += ids.size(1)
        return torch.from_numpy(logits)


def expected_scores(model: TransformerModel, batch: Batch) -> Tensor:
    with torch.no_grad():
        scores: Tensor = model.output(model(batch))
    return scores


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_compute_what_the_model_does(kind: str, tmp_path: Path) -> None:
    model, config = made(kind)
    write_graphs(model, config, tmp_path)
    model.double()  # rounds next to nothing: what is left is the rounding of the graphs
    is_recurrent = "ssru" in config.decoder_sublayer
    for number, source_length, target_length in ((1, 1, 1), (4, 7, 5), (3, 11, 9)):
        source = drawn(number, source_length, model.source_size)
        target = drawn(number, target_length, model.target_size)
        wanted = expected_scores(model, Batch(source, target)).float()
        inputs = decoder_input(target, model.symbols.start)
        stepper = Stepper(tmp_path, source)
        states = model.encoder_states(model.encode(source)).float()
        assert torch.allclose(stepper.states[source.mask], states[source.mask], rtol=0, atol=1e-5)
        # One by one; and where the graphs take several tokens at a time, all at once, or in unequal parts.
        whole = inputs.size(1)
        parts = [[1] * whole] if is_recurrent else [[1] * whole, [whole], [2, *[1] * (whole - 2)][:whole]]
        if whole > 3 and not is_recurrent:
            parts.append([1, 3, whole - 4])
        for sizes in parts:
            stepper = Stepper(tmp_path, source)
            found = torch.cat([stepper.scores(part) for part in inputs.split([n for n in sizes if n], 1)], 1)
            assert torch.allclose(found[target.mask], wanted[target.mask], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["post-norm", "as Marian", "as T5, its own distances", "rotary, one head of keys, normalized"]
)
def test_far_positions_are_told_as_exactly(kind: str, tmp_path: Path) -> None:
    """After hundreds of tokens, where frequencies and buckets that differ in a bit would show."""
    model, config = made(kind)
    write_graphs(model, config, tmp_path)
    source, target = drawn(2, 700, model.source_size), drawn(2, 900, model.target_size, least=899)
    wanted = expected_scores(model, Batch(source, target))
    inputs = decoder_input(target, model.symbols.start)
    stepper = Stepper(tmp_path, source)
    found = [stepper.scores(part) for part in inputs.split([inputs.size(1) - 2, 1, 1], 1)]
    assert torch.allclose(torch.cat(found, 1)[target.mask], wanted[target.mask], rtol=0, atol=2e-5)


def test_a_batch_row_says_the_same_beside_others(tmp_path: Path) -> None:
    model, config = made("post-norm")
    write_graphs(model, config, tmp_path)
    source, target = drawn(4, 9, model.source_size), drawn(4, 6, model.target_size)
    inputs = decoder_input(target, model.symbols.start)
    together = Stepper(tmp_path, source).scores(inputs)
    for row in range(4):
        alone = Stepper(tmp_path, source.select([row])).scores(inputs[row : row + 1])
        assert torch.allclose(alone[0], together[row], rtol=0, atol=1e-6)


def test_files_say_nothing_of_the_machine_and_are_the_same_again(tmp_path: Path) -> None:
    import onnx

    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        model, config = made("as T5")
        write_graphs(model, config, tmp_path / name)
    for path in sorted((tmp_path / "one").iterdir()):
        data = path.read_bytes()
        assert data == (tmp_path / "other" / path.name).read_bytes()
        for said in (str(Path.home()), str(tmp_path), ".py", "site-packages", "s2scli/", "torch"):
            assert said.encode() not in data
        file = onnx.load(path)
        onnx.checker.check_model(file, full_check=True)
        assert {item.domain for item in file.opset_import} == {""}
        assert not file.metadata_props
        assert not file.functions
        assert not any(node.doc_string for node in file.graph.node)
        names = {item.name for item in file.graph.initializer if not item.name.startswith("constant")}
        assert names <= {name for name, _ in model.named_parameters()}


def test_weights_that_are_one_are_written_once(tmp_path: Path) -> None:
    import onnx

    model, config = made("one table")
    write_graphs(model, config, tmp_path)
    graph = onnx.load(tmp_path / "decoder_model.onnx").graph
    large = [item.name for item in graph.initializer if sorted(item.dims) == [16, SIZES[1]]]
    assert large == ["encoder_embedder.table.weight"]


def test_weights_beyond_the_limit_of_a_file_are_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s2scli.exporting import onnx_builder

    monkeypatch.setattr(onnx_builder, "_MOST_BYTES", 10_000)
    model, config = made("post-norm")
    write_graphs(model, config, tmp_path)
    assert {path.name for path in tmp_path.glob("*_data")} >= {"decoder_model.onnx_data"}
    assert str(tmp_path).encode() not in (tmp_path / "decoder_model.onnx").read_bytes()
    source, target = drawn(2, 5, model.source_size), drawn(2, 4, model.target_size)
    found = Stepper(tmp_path, source).scores(decoder_input(target, model.symbols.start))
    wanted = expected_scores(model, Batch(source, target))
    assert torch.allclose(found[target.mask], wanted[target.mask], rtol=0, atol=1e-5)
