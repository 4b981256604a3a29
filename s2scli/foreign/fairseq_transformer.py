"""fairseq's Transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.foreign.base import ForeignFamily, ForeignModel
from s2scli.foreign.fairseq import (
    FIRST_POSITION,
    FairseqCheckpoint,
    foreign_model,
    weights_of,
)
from s2scli.foreign.rows import SIDES, bart_layers, parts
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import SAME, Behind, Same, WeightRow, are_one

_SOURCE, _TARGET, _OUTPUT = (
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "decoder.output_projection.weight",
)
_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_accurate": "gelu_new",
    "gelu_fast": "gelu_new",
    "swish": "swish",
}
_OF_SIDES = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads", "normalize_before")
_SHARED = ("share_all_embeddings", "share_decoder_input_output_embed")
_DROPPED = ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop")
# Versions, an empty tensor that knows the device, and copies of a layer's weights that torch's own layer would take.
_UNUSED = (
    r"(encoder|decoder)\.version|(encoder|decoder)\.embed_positions\._float_tensor"
    r"|encoder\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)"
)


class FairseqTransformer(ForeignFamily):
    """Transformers of fairseq."""

    title = "a Transformer of fairseq"

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether it is a checkpoint of fairseq's with a Transformer's weights."""
        return "encoder.layers.0.self_attn.k_proj.weight" in weights_of(source)

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        return foreign_model(
            source,
            wanted,
            arch="transformer",
            settings=model_settings,
            rows=weight_rows,
            completed=_with_output,
            unused=_UNUSED,
        )


def model_settings(found: FairseqCheckpoint) -> dict[str, Any]:
    """Our settings of a model."""
    settings, weights = found.settings, found.weights
    settings.only(
        adaptive_input=False,
        no_cross_attention=False,
        cross_self_attention=False,
        no_decoder_final_norm=False,
        decoder_output_dim=settings.values.get("decoder_embed_dim"),
        decoder_input_dim=settings.values.get("decoder_embed_dim"),
        char_inputs=False,
    )
    if settings.values.get("adaptive_softmax_cutoff"):
        settings.refuse("adaptive_softmax_cutoff", "none")
    model: dict[str, Any] = {}
    for side in SIDES:
        model |= {
            f"{side}_layers": settings.layers(f"{side}_layers"),
            f"{side}_embed_dim": settings.whole(f"{side}_embed_dim"),
            f"{side}_ffn_embed_dim": settings.whole(f"{side}_ffn_embed_dim"),
            f"{side}_attention_heads": settings.whole(f"{side}_attention_heads"),
            f"{side}_normalize_before": settings.flag(f"{side}_normalize_before", False),
        }
    return model | {
        **_positions(found),
        "activation_fn": settings.chosen("activation_fn", _ACTIVATIONS, "relu"),
        "layernorm_embedding": settings.flag("layernorm_embedding", False),
        "scale_embedding": not settings.flag("no_scale_embedding", False),
        "share_all_embeddings": are_one(weights, _SOURCE, _TARGET) and _is_tied(found),
        "share_decoder_input_output_embed": _is_tied(found),
        **_dropout(settings),
    }


def _is_tied(found: FairseqCheckpoint) -> bool:
    """Whether the output layer has the weights of the target embeddings; where it has none, it takes those."""
    return _OUTPUT not in found.weights or are_one(found.weights, _TARGET, _OUTPUT)


def _dropout(settings: ForeignSettings) -> dict[str, float]:
    """What only training knows."""
    return {name: settings.probability(name) for name in _DROPPED}


def _positions(found: FairseqCheckpoint) -> dict[str, Any]:
    """Which positions there are: both sides have the same kind here."""
    settings = found.settings
    if settings.flag("no_token_positional_embeddings", False):
        return {"positions": "none"}
    learned = [settings.flag(f"{side}_learned_pos", False) for side in SIDES]
    if learned[0] != learned[1]:
        settings.refuse("decoder_learned_pos", f"as encoder_learned_pos, {str(learned[0]).lower()}")
    if not learned[0]:
        return {"positions": "sinusoidal", "position_offset": FIRST_POSITION}
    limits = {}
    for side, name in (("encoder", "max_source_positions"), ("decoder", "max_target_positions")):
        table = found.weights.get(f"{side}.embed_positions.weight")
        limits[name] = max(len(table) - FIRST_POSITION, 1) if table is not None else settings.whole(name)
    return {"positions": "learned", **limits}


def fairseq_settings(model: Mapping[str, Any], languages: Mapping[str, str]) -> dict[str, Any]:
    """The settings in fairseq's files of a model with such settings, ours.

    They are what `model_settings` reads, and what fairseq's code asks for; the others are its defaults. languages: of
    each side, `source` and `target`.
    """
    theirs = {ours: name for name, ours in reversed(_ACTIVATIONS.items())}
    copied = [f"{side}_{name}" for side in SIDES for name in _OF_SIDES]
    return {
        "arch": "transformer",
        "task": "translation",
        "criterion": "label_smoothed_cross_entropy",
        "source_lang": languages["source"],
        "target_lang": languages["target"],
        **{name: model[name] for name in (*copied, *_DROPPED, *_SHARED)},
        **{f"{side}_learned_pos": model["positions"] == "learned" for side in SIDES},
        **{name: model[name] for name in ("max_source_positions", "max_target_positions")},
        "no_token_positional_embeddings": model["positions"] == "none",
        "activation_fn": theirs[model["activation_fn"]],
        "layernorm_embedding": model["layernorm_embedding"],
        "no_scale_embedding": not model["scale_embedding"],
        "decoder_output_dim": model["decoder_embed_dim"],
        "decoder_input_dim": model["decoder_embed_dim"],
        **dict.fromkeys(("adaptive_input", "no_cross_attention", "cross_self_attention"), False),
        **{f"{side}_{name}": None for side in SIDES for name in ("embed_path", "layers_to_keep")},
        "adaptive_softmax_cutoff": None,
    }


def _with_output(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, with those of an output layer where older files have none beside the target embeddings."""
    tied = {_OUTPUT: weights[_TARGET]} if _TARGET in weights else {}
    return tied | dict(weights)


def weight_rows(model: Mapping[str, Any]) -> Iterator[WeightRow]:
    """The table of the weights of a model with such settings, ours."""
    if model["share_all_embeddings"]:
        yield WeightRow("encoder_embedder.table.weight", (_SOURCE, _TARGET, _OUTPUT), Same(3))
    else:
        tied = model["share_decoder_input_output_embed"]
        yield WeightRow("encoder_embedder.table.weight", (_SOURCE,))
        yield WeightRow(
            "decoder_embedder.table.weight",
            (_TARGET, _OUTPUT) if tied else (_TARGET,),
            Same(2) if tied else SAME,
        )
        if not tied:
            yield WeightRow("output.weight", (_OUTPUT,))
    for side in SIDES:
        if model["positions"] == "learned":
            yield WeightRow(
                f"{side}_embedder.positions.weight",
                (f"{side}.embed_positions.weight",),
                Behind(FIRST_POSITION),
            )
        if model["layernorm_embedding"]:
            yield from parts(f"{side}_embedder.norm", f"{side}.layernorm_embedding")
        if model[f"{side}_normalize_before"]:
            yield from parts(f"{side}_norm", f"{side}.layer_norm")
    yield from bart_layers(model)
