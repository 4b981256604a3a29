"""T5 and mT5 of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.errors import CheckpointError
from s2scli.foreign.base import ForeignFamily, ForeignModel
from s2scli.foreign.folder import added_symbols, folder_settings, is_of_type
from s2scli.foreign.formats.tensors import read_folder
from s2scli.foreign.rows import SIDES, stacked
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import read_units
from s2scli.foreign.vocabularies import OrderedVocabulary, SpecialIds, numbered, ordered_vocabulary
from s2scli.foreign.weights import WeightRow, are_one
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
_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "silu": "swish",
    "gated-gelu": "geglu_new",
    "gated-relu": "reglu",
    "gated-silu": "swiglu",
    "gated-gelu_new": "geglu_new",
}
_GATED = ("geglu_new", "reglu", "swiglu")
# <extra_id_0> is the last of so many, which stand for spans that were left out.
_SENTINELS = 100


class T5(ForeignFamily):
    """T5 of transformers."""

    title = "a T5 of transformers"
    types = ("t5",)

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
        model = model_settings(settings, weights)
        return ForeignModel(
            path=source.path,
            arch="transformer",
            model=model,
            tokenizers={"source": tokenizer, "target": tokenizer},
            weights=weights,
            table=[*weight_rows(model, weights, vocabulary)],
            unused=_UNUSED,
            source_lang=wanted.source_lang,
            target_lang=wanted.target_lang,
        )


class MT5(T5):
    """mT5 of transformers, which differs from T5 1.1 in its vocabulary alone."""

    title = "an mT5 of transformers"
    types = ("mt5",)


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
    )
    symbols |= {number: symbol for symbol, number in added.items()}
    ordered = ordered_vocabulary(symbols, size, special, units.path, is_padded=True)
    kept = [symbol for symbol in added if symbol in ordered.vocabulary and symbol.split() == [symbol]]
    return ordered, units.tokenizer(ordered.vocabulary, user_symbols=kept)


def model_settings(settings: ForeignSettings, weights: Mapping[str, Tensor]) -> dict[str, Any]:
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
    is_scaled = settings.flag("scale_decoder_outputs", settings.flag("tie_word_embeddings", True))
    return model | {
        "encoder_layers": layers,
        "decoder_layers": settings.layers("num_decoder_layers")
        if "num_decoder_layers" in settings.values
        else layers,
        "encoder_normalize_before": True,
        "decoder_normalize_before": True,
        "norm": "rms",
        "norm_eps": settings.number("layer_norm_epsilon", 1e-6),
        "activation_fn": settings.chosen("feed_forward_proj", _ACTIVATIONS, "relu"),
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


def weight_rows(
    model: Mapping[str, Any], weights: Mapping[str, Tensor], vocabulary: OrderedVocabulary
) -> Iterator[WeightRow]:
    """The table of the weights of a model with such settings, ours; weights: theirs, completed."""
    shared = (_SHARED,) if are_one(weights, _SHARED, _SOURCE) else ()
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
