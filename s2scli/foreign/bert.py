"""BERT of transformers, which is an encoder alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.errors import CheckpointError
from s2scli.foreign.base import ForeignFamily, ForeignModel
from s2scli.foreign.described import id_of, read_description, special_symbol, word_piece
from s2scli.foreign.folder import folder_settings, is_of_type
from s2scli.foreign.formats.tensors import read_folder
from s2scli.foreign.rows import SIDES, parts, stacked
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.vocabularies import OrderedVocabulary, SpecialIds, ordered_vocabulary
from s2scli.foreign.weights import WeightRow, WithFirstRow

_TABLE, _POSITIONS, _TYPES = (
    f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type")
)
_PREFIX = "bert."
# What predicts left out words, sentences or labels from an encoder's states.
_UNUSED = r"(cls|pooler|classifier|qa_outputs|dropout)\..*|embeddings\.(position|token_type)_ids"
_OLDER = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
    "silu": "swish",
    "swish": "swish",
}


class Bert(ForeignFamily):
    """BERT of transformers, whatever is above its encoder, with its WordPiece, for which `tokenizers` is needed.

    Lines begin with `[CLS]` and end with `[SEP]`, on both sides of what is begun with it.
    """

    title = "a BERT of transformers"

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether the folder says so."""
        return is_of_type(source, "bert")

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        settings = folder_settings(source)
        weights = {_name(name): tensor for name, tensor in read_folder(source.path).items()}
        if _TABLE not in weights:
            raise CheckpointError(f"{source.path}: has no {_TABLE}")
        model = model_settings(settings, weights)
        units = read_description(source, "vocab.txt", word_piece)
        names = {
            role: special_symbol(source, f"{role}_token", f"[{role.upper()}]")
            for role in ("cls", "sep", "pad", "unk")
        }
        ids = {role: id_of(name, units) for role, name in names.items()}
        special = SpecialIds(start=ids["sep"], end=ids["sep"], padding=ids["pad"], unknown=ids["unk"])
        ordered = ordered_vocabulary(units.symbols, len(weights[_TABLE]), special, units.path, is_padded=True)
        tokenizer = units.tokenizer(ordered.vocabulary, first_symbol=names["cls"])
        return ForeignModel(
            path=source.path,
            arch="transformer",
            model=model,
            tokenizers={"source": tokenizer, "target": tokenizer},
            weights=weights,
            table=[*weight_rows(model, weights, ordered)],
            unused=_UNUSED,
            only="encoder",
            source_lang=wanted.source_lang,
            target_lang=wanted.target_lang,
        )


def _name(name: str) -> str:
    """A tensor's name without what is before it in models with a head; norms as newer files call their weights."""
    name = name.removeprefix(_PREFIX)
    for older, newer in _OLDER.items():
        name = name.replace(older, newer)
    return name


def model_settings(settings: ForeignSettings, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Our settings of an encoder-decoder whose encoder it can be; the decoder is one that it can be too."""
    settings.only(position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
    table = weights.get(_POSITIONS)
    positions = settings.whole("max_position_embeddings", 512) if table is None else max(1, len(table))
    sizes = {
        "layers": settings.layers("num_hidden_layers"),
        "embed_dim": settings.whole("hidden_size"),
        "ffn_embed_dim": settings.whole("intermediate_size"),
        "attention_heads": settings.whole("num_attention_heads"),
        "normalize_before": False,
    }
    return {f"{side}_{name}": size for side in SIDES for name, size in sizes.items()} | {
        "norm_eps": settings.number("layer_norm_eps", 1e-12),
        "activation_fn": settings.chosen("hidden_act", _ACTIVATIONS, "gelu"),
        "layernorm_embedding": True,
        "scale_embedding": False,
        "positions": "learned",
        "max_source_positions": positions,
        "max_target_positions": positions,
        "share_all_embeddings": True,
        "share_decoder_input_output_embed": True,
        "dropout": settings.probability("hidden_dropout_prob"),
        "attention_dropout": settings.probability("attention_probs_dropout_prob"),
    }


def weight_rows(
    model: Mapping[str, Any], weights: Mapping[str, Tensor], vocabulary: OrderedVocabulary
) -> Iterator[WeightRow]:
    """The table of the weights of an encoder with such settings, ours."""
    yield WeightRow("encoder_embedder.table.weight", (_TABLE,), vocabulary.rows())
    # Of pairs of sentences the second one has the other type; here a line is all of the first.
    types = len(weights[_TYPES]) if _TYPES in weights else 1
    yield WeightRow("encoder_embedder.positions.weight", (_POSITIONS, _TYPES), WithFirstRow(types))
    yield from parts("encoder_embedder.norm", "embeddings.LayerNorm")
    width = model["encoder_embed_dim"]
    for number in range(model["encoder_layers"]):
        ours, theirs = f"encoder_layers.{number}", f"encoder.layer.{number}"
        own = [f"{theirs}.attention.self.{name}" for name in ("query", "key", "value")]
        yield from stacked(f"{ours}.self_attention.qkv", own, [width] * 3)
        yield from parts(f"{ours}.self_attention.out", f"{theirs}.attention.output.dense")
        yield from parts(f"{ours}.self_attention_residual.norm", f"{theirs}.attention.output.LayerNorm")
        yield from parts(f"{ours}.feed_forward.inner", f"{theirs}.intermediate.dense")
        yield from parts(f"{ours}.feed_forward.outer", f"{theirs}.output.dense")
        yield from parts(f"{ours}.feed_forward_residual.norm", f"{theirs}.output.LayerNorm")
