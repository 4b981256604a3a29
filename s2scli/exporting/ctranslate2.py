"""CTranslate2's format: Transformers, of its C++ runtime's names and layouts (its own specs say those)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from s2scli.checkpoint_file import EXPORTED
from s2scli.configs.export import ExportConfig
from s2scli.configs.transformer import TransformerConfig, TransformerDecoderConfig, TransformerLMConfig
from s2scli.configs.transformer_options import TransformerOptions
from s2scli.data.exported import ExportedModel, ExportedShortlist, unique_names, write_exported
from s2scli.data.shortlist import Shortlist
from s2scli.errors import S2SError, UsageError
from s2scli.exporting.target import ExportTarget, ModelToExport, greedy_texts
from s2scli.inference.lines import Line
from s2scli.io import write_atomically
from s2scli.models.transformer import TransformerDecoder, TransformerModel
from s2scli.models.transformer_lm import TransformerLanguageModel
from s2scli.schema import spelled

# The sublayers of a layer: CTranslate2's names ↔ ours. Where both have linear layers, their weights are [outputs,
# inputs], and queries, keys and values stand one below the other, in that order, in both.
_LAYER = {
    "self_attention.layer_norm": "self_attention_residual.norm",
    "self_attention.linear.0": "self_attention.qkv",
    "self_attention.linear.1": "self_attention.out",
    "attention.layer_norm": "cross_attention_residual.norm",
    "attention.linear.0": "cross_attention.query",
    "attention.linear.1": "cross_attention.key_value",
    "attention.linear.2": "cross_attention.out",
    "ffn.layer_norm": "feed_forward_residual.norm",
    "ffn.linear_0": "feed_forward.inner",
    "ffn.linear_1": "feed_forward.outer",
}
# Our activations, as CTranslate2 calls what they do to the first of the feed-forward layers, and whether that is gated.
_ACTIVATIONS = {
    "relu": ("RELU", False),
    "gelu": ("GELU", False),
    "gelu_new": ("GELUTanh", False),
    "swish": ("SWISH", False),
    "reglu": ("RELU", True),
    "geglu": ("GELU", True),
    "geglu_new": ("GELUTanh", True),
    "swiglu": ("SWISH", True),
}
_REMEDY = "s2s generate runs the checkpoint itself"
# Values that settings may have; those without a row may have any.
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "copy": (False,),
    "attention_window": (0,),
    "encoder_layer": ("transformer",),
    "activation_fn": tuple(_ACTIVATIONS),
    "decoder_activation_fn": (None, *_ACTIVATIONS),
    "decoder_sublayer": ("attention",),
    # It normalizes otherwise.
    "qk_norm": (False,),
}


class CTranslate2(ExportTarget):
    """CTranslate2: the folder is translated with by `s2s generate` as well."""

    @classmethod
    def write(cls, source: ModelToExport, folder: Path, config: ExportConfig) -> None:
        """Write model.bin, config.json, vocabularies, with shortlists vmap.txt, and what our engine needs beside them.

        Raises UsageError for a model that CTranslate2 cannot run, S2SError where it is not installed.
        """
        _check(source)
        table = source.shortlist(config)
        tokenizers, special = source.checkpoint.tokenizers, source.model.symbols
        names = {side: unique_names(tokenizer.vocabulary) for side, tokenizer in tokenizers.items()}
        positions = source.positions(config.max_positions)
        spec = _FAMILIES[source.config.name](source, positions, names)
        spec.config.unk_token = names["target"][special.unknown]
        spec.config.eos_token = names["target"][special.end]
        spec.config.bos_token = names["target"][special.start]
        spec.config.layer_norm_epsilon = cast(TransformerOptions, source.config).norm_eps
        spec.validate()
        spec.optimize(config.quantization)
        spec.save(str(folder))
        if table is not None:
            _write_shortlist(folder / "vmap.txt", table, names, config)
        exported = ExportedModel(
            engine="ctranslate2",
            arch=source.checkpoint.config["arch"],
            dataset=source.checkpoint.dataset,
            right_to_left=bool(source.checkpoint.config.get("right_to_left", False)),
            reads_source=source.model.reads_source,
            positions=positions,
            alignment_layer=len(_decoder(source).decoder_layers) - 1,
            quantization=config.quantization,
            shortlist=None
            if table is None
            else ExportedShortlist(translations=config.shortlist, frequent=config.shortlist_frequent),
        )
        write_exported(folder, exported, tokenizers)

    @classmethod
    def has_written(cls, folder: Path) -> bool:
        """Whether there is what says how `s2s generate` reads the folder."""
        return (folder / EXPORTED).is_file()

    @classmethod
    def texts(
        cls,
        source: ModelToExport,  # noqa: ARG003 (the folder has all that it needs)
        folder: Path,
        lines: Sequence[Line],
        done: Callable[[int], object],
    ) -> list[str]:
        """What `s2s generate` makes of the lines."""
        return greedy_texts(folder, lines, done)


def _check(source: ModelToExport) -> None:
    """UsageError, with the setting, for a model that CTranslate2 cannot run."""
    config = source.config
    if config.name not in _FAMILIES:
        raise UsageError(
            f"{source.path}: --arch {source.checkpoint.config['arch']} is of the family {config.name}; CTranslate2 "
            f"runs {' and '.join(_FAMILIES)} alone; {_REMEDY}"
        )
    for name, allowed in _ALLOWED.items():
        value = getattr(config, name, allowed[0])
        if value not in allowed:
            raise UsageError(
                f"{source.path}: model.{name} = {spelled(value)}: CTranslate2 has no such model; it runs those with "
                f"{', '.join(spelled(item) for item in allowed)}; {_REMEDY}"
            )
    epsilons = {name: getattr(config, name, None) for name in ("norm_eps", "decoder_norm_eps")}
    if epsilons["decoder_norm_eps"] not in (None, epsilons["norm_eps"]):
        raise UsageError(
            f"{source.path}: model.norm_eps = {epsilons['norm_eps']} and model.decoder_norm_eps = "
            f"{epsilons['decoder_norm_eps']}: CTranslate2 has one for both sides; {_REMEDY}"
        )


def _encoder_decoder(
    source: ModelToExport, positions: Mapping[str, int], names: Mapping[str, Sequence[str]]
) -> Any:
    specs = _specs()
    model, config = cast(TransformerModel, source.model), cast(TransformerConfig, source.config)
    encoder = specs.TransformerEncoderSpec(**_side_options(config, "encoder"))
    decoder = _decoder_spec(config, with_encoder_attention=True)
    _fill_side(encoder, encoder.embeddings[0], model, "encoder", positions.get("source"))
    _fill_decoder(decoder, model, positions.get("target"))
    spec = specs.TransformerSpec(encoder, decoder)
    spec.config.decoder_start_token = names["target"][model.symbols.start]
    spec.config.add_source_eos = True
    spec.register_source_vocabulary(names["source"])
    spec.register_target_vocabulary(names["target"])
    return spec


def _language_model(
    source: ModelToExport, positions: Mapping[str, int], names: Mapping[str, Sequence[str]]
) -> Any:
    model, config = cast(TransformerLanguageModel, source.model), cast(TransformerLMConfig, source.config)
    decoder = _decoder_spec(config, with_encoder_attention=False)
    _fill_decoder(decoder, model, positions.get("target"))
    spec = _specs().TransformerDecoderModelSpec(decoder)
    spec.register_vocabulary(names["target"])
    return spec


_FAMILIES: dict[str, Callable[[ModelToExport, Mapping[str, int], Mapping[str, Sequence[str]]], Any]] = {
    "transformer": _encoder_decoder,
    "transformer_lm": _language_model,
}


def _specs() -> Any:
    """CTranslate2's module of what a Transformer's file has in it; S2SError where it is not installed."""
    try:
        from ctranslate2.specs import transformer_spec
    except ImportError:
        raise S2SError(
            "--to ctranslate2 needs ctranslate2, which is not installed: pip install 's2scli[ctranslate2]'"
        ) from None
    return transformer_spec


def _decoder_spec(config: TransformerDecoderConfig, *, with_encoder_attention: bool) -> Any:
    spec = _specs().TransformerDecoderSpec(
        **_side_options(config, "decoder"),
        with_encoder_attention=with_encoder_attention,
        # What outputs attend to is the mean over the heads of the last layer, as in our models.
        alignment_layer=-1,
        alignment_heads=config.decoder_attention_heads,
    )
    spec.start_from_zero_embedding = config.decoder_start == "zero"
    if config.output_scale is not None:
        spec.scale_outputs = config.output_scale
    return spec


def _side_options(config: TransformerDecoderConfig, side: str) -> dict[str, Any]:
    """What the specification of a side is made with."""
    activation, is_gated = _ACTIVATIONS[config.of_side("activation_fn", side)]
    own = {
        name: getattr(config, f"{side}_{name}") for name in ("layers", "attention_heads", "normalize_before")
    }
    is_rotary = config.positions == "rotary"
    return {
        "num_layers": own["layers"],
        "num_heads": own["attention_heads"],
        "pre_norm": own["normalize_before"],
        "activation": _specs().common_spec.Activation[activation],
        "layernorm_embedding": config.of_side("layernorm_embedding", side),
        "relative_attention_bias": config.positions == "relative",
        "ffn_glu": is_gated,
        "rms_norm": config.norm == "rms",
        "num_heads_kv": getattr(config, f"{side}_kv_heads"),
        "head_dim": getattr(config, f"{side}_head_dim"),
        # All of a head, in pairs of neighbours.
        "rotary_dim": 0 if is_rotary else None,
        "rotary_interleave": True,
        "rotary_base": config.rotary_base,
    }


def _decoder(source: ModelToExport) -> TransformerDecoder:
    return cast(TransformerDecoder, source.model)


def _fill_decoder(spec: Any, model: TransformerDecoder, positions: int | None) -> None:
    _fill_side(spec, spec.embeddings, model, "decoder", positions)
    spec.projection.weight = _array(model.output.weight)
    if model.output.bias is not None:
        spec.projection.bias = _array(model.output.bias)


def _fill_side(spec: Any, embeddings: Any, model: nn.Module, side: str, positions: int | None) -> None:
    """Fill in the embeddings, the layers and the norms of a side; positions: how many are written."""
    embedder = getattr(model, f"{side}_embedder")
    embeddings.weight = _array(embedder.table.weight)
    spec.scale_embeddings = float(embedder.scale)
    if positions is not None:
        # Always written: CTranslate2's own sinusoids begin at position 1.
        encodings = embedder.positions(0, positions).expand(positions, embedder.table.embedding_dim)
        spec.position_encodings.encodings = _array(encodings)
    if embedder.norm is not None:
        _fill(spec.layernorm_embedding, embedder.norm)
    relative = getattr(model, f"{side}_relative_positions")
    for layer_spec, layer in zip(spec.layer, getattr(model, f"{side}_layers"), strict=True):
        for theirs, ours in _LAYER.items():
            if (sublayer := _part(layer, ours)) is not None:
                _fill(_part(layer_spec, theirs), sublayer)
        for name in ("self_attention", "cross_attention"):
            attention = getattr(layer, name, None)
            if attention is not None and attention.attention_scale is not None:
                getattr(layer_spec, name.removeprefix("cross_")).queries_scale = attention.attention_scale
        if relative is not None:
            layer_spec.self_attention.relative_attention_bias = _array(relative.weight)
            layer_spec.self_attention.relative_attention_max_distance = np.int32(relative.max_distance)
        if hasattr(layer_spec.ffn, "linear_0_noact"):
            _fill_gated(layer_spec.ffn, layer.feed_forward.inner)
    if hasattr(spec, "layer_norm"):
        _fill(spec.layer_norm, getattr(model, f"{side}_norm"))


def _fill_gated(spec: Any, inner: nn.Module) -> None:
    """Fill in the first layers of a gated feed-forward layer: ours is one matrix, the gate above what it opens for."""
    for part, number in ((spec.linear_0, 0), (spec.linear_0_noact, 1)):
        part.weight = _array(cast(Tensor, inner.weight).chunk(2)[number])
        if inner.bias is not None:
            part.bias = _array(cast(Tensor, inner.bias).chunk(2)[number])


def _part(whole: Any, path: str) -> Any:
    """What is at a path of names and numbers within a layer; None where the first of them is not there."""
    for name in path.split("."):
        whole = whole[int(name)] if name.isdecimal() else getattr(whole, name, None)
        if whole is None:
            return None
    return whole


def _fill(spec: Any, module: nn.Module) -> None:
    """Fill in a linear layer, or a norm."""
    weight, bias = cast(Tensor, module.weight), cast(Tensor | None, getattr(module, "bias", None))
    if hasattr(spec, "gamma"):
        spec.gamma = _array(weight)
        if hasattr(spec, "beta"):
            # A norm without biases is to CTranslate2 one that does not subtract the mean.
            spec.beta = _array(torch.zeros_like(weight) if bias is None else bias)
        return
    spec.weight = _array(weight)
    if bias is not None:
        spec.bias = _array(bias)


def _array(tensor: Tensor) -> Any:
    """A copy of its own as float32: quantizing changes it."""
    return tensor.detach().float().numpy().copy()


def _write_shortlist(
    path: Path, table: Shortlist, names: Mapping[str, Sequence[str]], config: ExportConfig
) -> None:
    """Write vmap.txt: source token, tab, target tokens, and what is in every list behind a tab alone."""
    target = names["target"]
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        always = table.frequent[: config.shortlist_frequent].tolist()
        stream.write(f"\t{' '.join(target[token] for token in always)}\n")
        for name, row in zip(names["source"], table.targets[:, : config.shortlist].tolist(), strict=True):
            if tokens := [target[token] for token in row if token >= 0]:
                stream.write(f"{name}\t{' '.join(tokens)}\n")
