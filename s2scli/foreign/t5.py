"""T5 and mT5 of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.configs.transformer import TransformerConfig
from s2scli.errors import CheckpointError, UsageError
from s2scli.foreign.base import ForeignModel
from s2scli.foreign.folder import added_symbols, folder_settings, is_of_type
from s2scli.foreign.formats.tensors import read_folder
from s2scli.foreign.rows import SIDES, stacked
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import read_units
from s2scli.foreign.vocabularies import (
    OrderedVocabulary,
    SpecialIds,
    numbered,
    ordered_vocabulary,
    unread_start,
)
from s2scli.foreign.weights import WeightRow, are_one, to_theirs
from s2scli.foreign.writing import (
    SOURCE_TABLE,
    TARGET_TABLE,
    Allowed,
    ModelToWrite,
    WritableFamily,
    always_allowed,
    own_copies,
)
from s2scli.schema import spelled
from s2scli.text.tokenizer import Tokenizer

_SHARED, _SOURCE, _TARGET, _OUTPUT = (
    "shared.weight",
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "lm_head.weight",
)
# Older files have biases of positions in the cross-attention, which nothing reads.
_UNUSED = r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"
# "gated-gelu" has meant the approximation since T5 1.1.
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "silu": "swish",
    "gated-gelu": "geglu_new",
    "gated-relu": "reglu",
    "gated-silu": "swiglu",
    "gated-gelu_new": "geglu_new",
}
# The first of the names that they have for one of ours.
_THEIRS = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
_GATED = ("geglu_new", "reglu", "swiglu")
# <extra_id_0> is the last of so many, which stand for spans that were left out.
_SENTINELS = 100


class T5(WritableFamily):
    """T5 of transformers."""

    title = "a T5 of transformers"
    types = ("t5",)
    architecture = "T5ForConditionalGeneration"
    # Whether tied tables, where nothing else says it, mean that the last states are scaled.
    scales_what_is_tied: ClassVar[bool] = True

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether the folder says so."""
        return is_of_type(source, *cls.types)

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        settings = folder_settings(source)
        weights = _completed(read_folder(source.path))
        if _TARGET not in weights:
            raise CheckpointError(f"{source.path}: has no {_SHARED}")
        vocabulary, tokenizer = _tokenizer(source, settings, len(weights[_TARGET]))
        model = model_settings(settings, weights, scales_what_is_tied=cls.scales_what_is_tied)
        return ForeignModel(
            path=source.path,
            arch="transformer",
            model=model,
            tokenizers={"source": tokenizer, "target": tokenizer},
            weights=weights,
            table=[*weight_rows(model, vocabulary, is_shared=are_one(weights, _SHARED, _SOURCE))],
            unused=_UNUSED,
            source_lang=wanted.source_lang,
            target_lang=wanted.target_lang,
        )

    @classmethod
    def allowed(cls, config: TransformerConfig) -> Allowed:
        """Those of a T5, whose sides have one width, and as many heads."""
        width = config.decoder_embed_dim
        return always_allowed(config) | {
            "encoder_normalize_before": (True,),
            "decoder_normalize_before": (True,),
            "norm": ("rms",),
            "layernorm_embedding": (False,),
            "activation_fn": tuple(_THEIRS),
            "linear_bias": (False,),
            "positions": ("relative",),
            "attention_scale": (1.0,),
            "scale_embedding": (False,),
            "output_bias": (False,),
            "output_scale": (None, width**-0.5),
            **{
                f"encoder_{name}": (getattr(config, f"decoder_{name}"),)
                for name in ("ffn_embed_dim", "attention_heads", "head_dim")
            },
        }

    @classmethod
    def written(cls, model: ModelToWrite) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As T5; UsageError where source and target have tables of their own."""
        return written_settings(model), written_weights(model)


class MT5(T5):
    """mT5 of transformers, which differs from T5 1.1 in its vocabulary, and in that it never scales its last states.

    Of all mT5, transformers 5 says that their tables are tied, and does not scale.
    """

    title = "an mT5 of transformers"
    types = ("mt5",)
    architecture = "MT5ForConditionalGeneration"
    scales_what_is_tied = False


def _completed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under all names that their model has for them: of what is tied, files keep one."""
    found = dict(weights)
    for name, others in (
        (_SOURCE, (_SHARED,)),
        (_TARGET, (_SHARED, _SOURCE)),
        (_OUTPUT, (_SHARED, _TARGET)),
        (_SHARED, (_SOURCE,)),
    ):
        present = next((other for other in others if other in found), None)
        if name not in found and present is not None:
            found[name] = found[present]
    return found


def _tokenizer(
    source: ForeignSource, settings: ForeignSettings, size: int
) -> tuple[OrderedVocabulary, Tokenizer]:
    """The vocabulary and tokenizer of both sides: pieces, and sentinels; further embeddings have no symbol."""
    units = read_units(source, "spiece.model", numbered)
    symbols = dict(units.symbols)
    added = {symbol: number for symbol, number in added_symbols(source).items() if number not in symbols}
    if (
        units.model
        and not added
        and size >= len(symbols) + _SENTINELS
        and "<extra_id_0>" not in symbols.values()
    ):
        last = len(symbols) + _SENTINELS - 1
        added = {f"<extra_id_{number}>": last - number for number in range(_SENTINELS)}
    padding, end = settings.id("pad_token_id", 0), settings.id("eos_token_id", 1)
    unknown = next((number for number, symbol in symbols.items() if symbol == "<unk>"), None)
    if unknown is None:
        raise CheckpointError(f"{units.path}: has no <unk>")
    special = SpecialIds(
        start=settings.id("decoder_start_token_id", padding),
        end=end,
        padding=padding,
        unknown=unknown,
        others=unread_start(symbols, unknown),
    )
    symbols |= {number: symbol for symbol, number in added.items()}
    ordered = ordered_vocabulary(symbols, size, special, units.path, is_padded=True)
    kept = [symbol for symbol in added if symbol in ordered.vocabulary and symbol.split() == [symbol]]
    return ordered, units.tokenizer(ordered.vocabulary, user_symbols=kept)


def model_settings(
    settings: ForeignSettings, weights: Mapping[str, Tensor], *, scales_what_is_tied: bool
) -> dict[str, Any]:
    """Our settings of a model whose weights are complete."""
    width, heads = settings.whole("d_model"), settings.whole("num_heads")
    ffn, layers = settings.whole("d_ff"), settings.layers("num_layers")
    sizes = {
        "embed_dim": width,
        "ffn_embed_dim": ffn,
        "attention_heads": heads,
        "head_dim": settings.whole("d_kv"),
    }
    model: dict[str, Any] = {f"{side}_{name}": size for side in SIDES for name, size in sizes.items()}
    is_tied = are_one(weights, _TARGET, _OUTPUT)
    # Flags are not what ties weights, but this one scales the states, and newer files have it under its own name.
    is_tied_and_scaled = scales_what_is_tied and settings.flag("tie_word_embeddings", True)
    is_scaled = settings.flag("scale_decoder_outputs", is_tied_and_scaled)
    return model | {
        "encoder_layers": layers,
        "decoder_layers": settings.layers("num_decoder_layers")
        if "num_decoder_layers" in settings.values
        else layers,
        "encoder_normalize_before": True,
        "decoder_normalize_before": True,
        "norm": "rms",
        "norm_eps": settings.number("layer_norm_epsilon", 1e-6),
        "activation_fn": settings.chosen("feed_forward_proj", ACTIVATIONS, "relu"),
        "linear_bias": False,
        "positions": "relative",
        "relative_buckets": settings.whole("relative_attention_num_buckets", 32),
        "relative_max_distance": settings.whole("relative_attention_max_distance", 128),
        "attention_scale": 1.0,
        "scale_embedding": False,
        **({"output_scale": width**-0.5} if is_scaled else {}),
        "share_all_embeddings": is_tied and are_one(weights, _SOURCE, _TARGET),
        "share_decoder_input_output_embed": is_tied,
        "dropout": settings.probability("dropout_rate"),
    }


def written_settings(model: ModelToWrite) -> dict[str, Any]:
    """The settings of a model of ours as a T5's; UsageError for scaled outputs where the table of outputs is their own.

    That the last states are scaled is told there by `tie_word_embeddings`, and so it holds for both.
    """
    config = model.config
    is_scaled = config.output_scale is not None
    if is_scaled and not model.is_one_table:
        raise UsageError(
            f"model.output_scale = {spelled(config.output_scale)}: a T5 whose outputs have a table of their own does "
            "not scale them"
        )
    heads, head_dim = config.decoder_attention_heads, config.decoder_head_dim
    return {
        "vocab_size": model.sizes()[0],
        "d_model": config.decoder_embed_dim,
        "d_kv": config.decoder_embed_dim // heads if head_dim is None else head_dim,
        "d_ff": config.decoder_ffn_embed_dim,
        "num_layers": config.encoder_layers,
        "num_decoder_layers": config.decoder_layers,
        "num_heads": heads,
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_max_distance,
        "layer_norm_epsilon": config.norm_eps,
        "feed_forward_proj": _THEIRS[config.activation_fn],
        "dropout_rate": config.dropout,
        "tie_word_embeddings": is_scaled,
        # transformers takes the cache of the decoder to be as deep as the encoder.
        "use_cache": config.encoder_layers >= config.decoder_layers,
        **model.special_settings(),
    }


def written_weights(model: ModelToWrite) -> dict[str, Tensor]:
    """The weights of a model of ours as a T5's; UsageError where source and target have tables of their own."""
    ours = model.weights
    if not model.is_one_table and not torch.equal(ours[SOURCE_TABLE], ours[TARGET_TABLE]):
        raise UsageError(
            "source and target have embeddings of their own, and a T5 has one table; train with --share-all-embeddings"
        )
    settings = model.settings
    for side in SIDES:
        width, heads = settings[f"{side}_embed_dim"], settings[f"{side}_attention_heads"]
        settings[f"{side}_head_dim"] = settings[f"{side}_head_dim"] or width // heads
    weights = to_theirs([*weight_rows(settings, model.orders["target"], is_shared=True)], ours)
    # Where they are one it is written as the shared one; the output's is always there, as a flag would tie it else.
    for name in (_SOURCE, _TARGET):
        del weights[name]
    return own_copies(weights)


def weight_rows(
    model: Mapping[str, Any], vocabulary: OrderedVocabulary, *, is_shared: bool
) -> Iterator[WeightRow]:
    """The table of the weights of a model with such settings, ours.

    is_shared: whether theirs, completed, have the source's table of embeddings under the name of a shared one too.
    """
    shared = (_SHARED,) if is_shared else ()
    names: tuple[str, ...]
    if model["share_all_embeddings"]:
        names = (*shared, _SOURCE, _TARGET, _OUTPUT)
        yield WeightRow("encoder_embedder.table.weight", names, vocabulary.rows(len(names)))
    else:
        names = (*shared, _SOURCE)
        yield WeightRow("encoder_embedder.table.weight", names, vocabulary.rows(len(names)))
        names = (_TARGET, _OUTPUT) if model["share_decoder_input_output_embed"] else (_TARGET,)
        yield WeightRow("decoder_embedder.table.weight", names, vocabulary.rows(len(names)))
        if not model["share_decoder_input_output_embed"]:
            yield WeightRow("output.weight", (_OUTPUT,), vocabulary.rows())
    for side in SIDES:
        first = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        yield WeightRow(f"{side}_relative_positions.weight", (first,))
        yield WeightRow(f"{side}_norm.weight", (f"{side}.final_layer_norm.weight",))
        for number in range(model[f"{side}_layers"]):
            yield from _layer(model, side, number)


def _layer(model: Mapping[str, Any], side: str, number: int) -> Iterator[WeightRow]:
    """The rows of a layer: sublayers have numbers, of which the feed-forward one has the last."""
    width = model[f"{side}_attention_heads"] * model[f"{side}_head_dim"]
    ours, theirs = f"{side}_layers.{number}", f"{side}.block.{number}.layer"
    own = f"{theirs}.0.SelfAttention"
    yield from stacked(f"{ours}.self_attention.qkv", [f"{own}.{x}" for x in "qkv"], [width] * 3, bias=False)
    yield WeightRow(f"{ours}.self_attention.out.weight", (f"{own}.o.weight",))
    yield WeightRow(f"{ours}.self_attention_residual.norm.weight", (f"{theirs}.0.layer_norm.weight",))
    if side == "decoder":
        cross = f"{theirs}.1.EncDecAttention"
        yield WeightRow(f"{ours}.cross_attention.query.weight", (f"{cross}.q.weight",))
        yield from stacked(
            f"{ours}.cross_attention.key_value", [f"{cross}.{x}" for x in "kv"], [width] * 2, bias=False
        )
        yield WeightRow(f"{ours}.cross_attention.out.weight", (f"{cross}.o.weight",))
        yield WeightRow(f"{ours}.cross_attention_residual.norm.weight", (f"{theirs}.1.layer_norm.weight",))
    last = f"{theirs}.{2 if side == 'decoder' else 1}"
    inner = f"{ours}.feed_forward.inner"
    if model["activation_fn"] in _GATED:
        # The first is activated, and gates the second.
        names = [f"{last}.DenseReluDense.wi_{x}" for x in "01"]
        yield from stacked(inner, names, [model[f"{side}_ffn_embed_dim"]] * 2, bias=False)
    else:
        yield WeightRow(f"{inner}.weight", (f"{last}.DenseReluDense.wi.weight",))
    yield WeightRow(f"{ours}.feed_forward.outer.weight", (f"{last}.DenseReluDense.wo.weight",))
    yield WeightRow(f"{ours}.feed_forward_residual.norm.weight", (f"{last}.layer_norm.weight",))
