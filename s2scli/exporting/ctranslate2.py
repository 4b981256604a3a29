"""CTranslate2's format: Transformers, of its C++ runtime's names and layouts (its own specs say those)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from s2scli.configs.export import ExportConfig
from s2scli.configs.transformer import TransformerConfig, TransformerLMConfig
from s2scli.data.exported import ExportedModel, ExportedShortlist, unique_names, write_exported
from s2scli.data.shortlist import Shortlist
from s2scli.errors import S2SError, UsageError
from s2scli.exporting.target import ModelToExport
from s2scli.io import write_atomically
from s2scli.models.transformer import TransformerDecoder, TransformerModel
from s2scli.models.transformer_lm import TransformerLanguageModel
from s2scli.nn.transformer import DecoderLayer
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
_ACTIVATIONS = {"relu": ("RELU", False), "gelu": ("GELU", False), "swiglu": ("SWISH", True)}
# Values that settings may have; those without a row may have any.
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "copy": (False,),
    "attention_window": (0,),
    "activation_fn": tuple(_ACTIVATIONS),
    "positions": ("sinusoidal", "learned"),
    "norm": ("layer",),
    "norm_bias": (True,),
    "linear_bias": (True,),
    "output_bias": (False,),
    "scale_embedding": (True, False),
    "encoder_head_dim": (None,),
    "decoder_head_dim": (None,),
    "encoder_kv_heads": (None,),
    "decoder_kv_heads": (None,),
    "attention_scale": (None,),
    "qk_norm": (False,),
    "decoder_start": ("symbol",),
    "output_scale": (None,),
    "decoder_sublayer": ("attention",),
}


def write(source: ModelToExport, folder: Path, config: ExportConfig) -> None:
    """Write model.bin, config.json, the vocabularies, with shortlists vmap.txt, and what our engine needs beside them.

    Raises UsageError for a model that CTranslate2 cannot run, S2SError where it is not installed.
    """
    _check(source)
    table = source.shortlist(config)
    tokenizers, special = source.checkpoint.tokenizers, source.model.symbols
    names = {side: unique_names(tokenizer.vocabulary) for side, tokenizer in tokenizers.items()}
    positions = {side: _num_positions(source, side, config.max_positions) for side in tokenizers}
    spec = _FAMILIES[source.config.name](source, positions, names)
    spec.config.unk_token = names["target"][special.unknown]
    spec.config.eos_token = names["target"][special.end]
    spec.config.bos_token = names["target"][special.start]
    layer = cast(DecoderLayer, _decoder(source).decoder_layers[0])
    spec.config.layer_norm_epsilon = cast(nn.LayerNorm, layer.feed_forward_residual.norm).eps
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


def _check(source: ModelToExport) -> None:
    """UsageError, with the setting, for a model that CTranslate2 cannot run."""
    config = source.config
    if config.name not in _FAMILIES:
        raise UsageError(
            f"{source.path}: --arch {source.checkpoint.config['arch']} is of the family {config.name}; CTranslate2 "
            f"runs {' and '.join(_FAMILIES)} alone"
        )
    for name, allowed in _ALLOWED.items():
        value = getattr(config, name, allowed[0])
        if value not in allowed:
            raise UsageError(
                f"{source.path}: model.{name} = {spelled(value)}: CTranslate2 has no such model; it runs those with "
                f"{', '.join(spelled(item) for item in allowed)}"
            )


def _encoder_decoder(
    source: ModelToExport, positions: Mapping[str, int], names: Mapping[str, Sequence[str]]
) -> Any:
    specs = _specs()
    model, config = cast(TransformerModel, source.model), cast(TransformerConfig, source.config)
    activation, is_gated = _ACTIVATIONS[config.activation_fn]
    encoder = specs.TransformerEncoderSpec(
        config.encoder_layers,
        config.encoder_attention_heads,
        pre_norm=config.encoder_normalize_before,
        activation=specs.common_spec.Activation[activation],
        layernorm_embedding=config.layernorm_embedding,
        ffn_glu=is_gated,
    )
    decoder = _decoder_spec(config, with_encoder_attention=True)
    _fill_side(encoder, encoder.embeddings[0], model, "encoder", positions["source"])
    _fill_decoder(decoder, model, positions["target"])
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
    _fill_decoder(decoder, model, positions["target"])
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


def _decoder_spec(config: TransformerConfig | TransformerLMConfig, *, with_encoder_attention: bool) -> Any:
    specs = _specs()
    activation, is_gated = _ACTIVATIONS[config.activation_fn]
    return specs.TransformerDecoderSpec(
        config.decoder_layers,
        config.decoder_attention_heads,
        pre_norm=config.decoder_normalize_before,
        activation=specs.common_spec.Activation[activation],
        layernorm_embedding=config.layernorm_embedding,
        with_encoder_attention=with_encoder_attention,
        # What outputs attend to is the mean over the heads of the last layer, as in our models.
        alignment_layer=-1,
        alignment_heads=config.decoder_attention_heads,
        ffn_glu=is_gated,
    )


def _decoder(source: ModelToExport) -> TransformerDecoder:
    return cast(TransformerDecoder, source.model)


def _num_positions(source: ModelToExport, side: str, wanted: int) -> int:
    """How many positions of a side to write: all that were learned, else as many as asked for or as training needed."""
    learned = source.config.positions_of.get(side)
    if learned is not None:
        return learned
    longest: Mapping[str, int] = source.checkpoint.dataset.get("longest", {})
    return max(wanted, longest.get(side, 0) + 1)


def _fill_decoder(spec: Any, model: TransformerDecoder, positions: int) -> None:
    _fill_side(spec, spec.embeddings, model, "decoder", positions)
    spec.projection.weight = _array(model.output.weight)


def _fill_side(spec: Any, embeddings: Any, model: nn.Module, side: str, positions: int) -> None:
    """Fill in the embeddings, the layers and the norms of a side."""
    embedder = getattr(model, f"{side}_embedder")
    embeddings.weight = _array(embedder.table.weight)
    spec.scale_embeddings = embedder.scale
    # Always written: CTranslate2's own sinusoids begin at position 1.
    spec.position_encodings.encodings = _array(embedder.positions(0, positions))
    if embedder.norm is not None:
        _fill(spec.layernorm_embedding, embedder.norm)
    for layer_spec, layer in zip(spec.layer, getattr(model, f"{side}_layers"), strict=True):
        for theirs, ours in _LAYER.items():
            if (sublayer := _part(layer, ours)) is not None:
                _fill(_part(layer_spec, theirs), sublayer)
        if hasattr(layer_spec.ffn, "linear_0_noact"):
            # Of a gated layer ours is one matrix: the gate above, what it opens for below.
            inner = layer.feed_forward.inner
            gate, value = (item.chunk(2) for item in (inner.weight, inner.bias))
            for part, number in ((layer_spec.ffn.linear_0, 0), (layer_spec.ffn.linear_0_noact, 1)):
                part.weight, part.bias = _array(gate[number]), _array(value[number])
    if hasattr(spec, "layer_norm"):
        _fill(spec.layer_norm, getattr(model, f"{side}_norm"))


def _part(whole: Any, path: str) -> Any:
    """What is at a path of names and numbers within a layer; None where the first of them is not there."""
    for name in path.split("."):
        whole = whole[int(name)] if name.isdecimal() else getattr(whole, name, None)
        if whole is None:
            return None
    return whole


def _fill(spec: Any, module: nn.Module) -> None:
    """Fill in a linear layer, or a norm."""
    weight, bias = ("gamma", "beta") if hasattr(spec, "gamma") else ("weight", "bias")
    setattr(spec, weight, _array(cast(Tensor, module.weight)))
    if module.bias is not None:
        setattr(spec, bias, _array(cast(Tensor, module.bias)))


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
