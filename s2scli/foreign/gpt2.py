"""GPT-2 of transformers, which is a language model of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.errors import CheckpointError
from s2scli.foreign.base import ForeignFamily, ForeignModel
from s2scli.foreign.described import END, byte_level, id_of, read_description
from s2scli.foreign.folder import folder_settings, is_of_type
from s2scli.foreign.formats.tensors import read_folder
from s2scli.foreign.rows import parts
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import TextUnits
from s2scli.foreign.vocabularies import OrderedVocabulary, SpecialIds, ordered_vocabulary
from s2scli.foreign.weights import Transposed, WeightRow, are_one
from s2scli.text.library import bytes_of_characters

_TABLE, _OUTPUT, _PREFIX = "wte.weight", "lm_head.weight", "transformer."
# Masks, which older files keep, and heads of other tasks.
_UNUSED = r"h\.\d+\.attn\.(masked_)?bias|multiple_choice_head\..*|score\..*"
_ACTIVATIONS = {
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "swish",
    "swish": "swish",
}
# A byte that no text in UTF-8 has (RFC 3629), so that no text has its symbol either.
_NO_BYTE = 0xC0


class GPT2(ForeignFamily):
    """GPT2LMHeadModel of transformers, with its byte-level BPE, which needs the library `tokenizers`.

    Mostly one symbol, `<|endoftext|>`, is start, end and padding. There is no unknown symbol: the one of a byte that no
    text has stands for it, so that the distribution of the next token stays as it was.
    """

    title = "a GPT-2 of transformers"

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether the folder says so."""
        return is_of_type(source, "gpt2")

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        settings = folder_settings(source)
        weights = {name.removeprefix(_PREFIX): tensor for name, tensor in read_folder(source.path).items()}
        if _TABLE not in weights:
            raise CheckpointError(f"{source.path}: has no {_TABLE}")
        weights.setdefault(_OUTPUT, weights[_TABLE])
        model = model_settings(settings, weights)
        units = read_description(source, "vocab.json", byte_level)
        end = settings.id("eos_token_id") if "eos_token_id" in settings.values else id_of(END, units)
        start = settings.id("bos_token_id", end)
        special = SpecialIds(start=start, end=end, padding=end, unknown=_unknown(units))
        ordered = ordered_vocabulary(units.symbols, len(weights[_TABLE]), special, units.path, is_padded=True)
        return ForeignModel(
            path=source.path,
            arch="transformer_lm",
            model=model,
            tokenizers={"target": units.tokenizer(ordered.vocabulary)},
            weights=weights,
            table=[*weight_rows(model, ordered)],
            unused=_UNUSED,
            target_lang=wanted.target_lang,
        )


def _unknown(units: TextUnits) -> int:
    """The id of the symbol that stands for what is unknown; CheckpointError where there is none such."""
    name = next(letter for letter, byte in bytes_of_characters().items() if byte == _NO_BYTE)
    for number, symbol in units.symbols.items():
        if symbol == name:
            return number
    raise CheckpointError(
        f"{units.path}: has no symbol of the byte {_NO_BYTE:#x}, {name!r}, as byte-level BPE has, which could stand "
        "for what is unknown"
    )


def model_settings(settings: ForeignSettings, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Our settings of a model whose weights are complete."""
    settings.only(scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    width, table = settings.whole("n_embd"), weights.get("wpe.weight")
    return {
        "decoder_layers": settings.layers("n_layer"),
        "decoder_embed_dim": width,
        "decoder_ffn_embed_dim": settings.whole("n_inner", 4 * width),
        "decoder_attention_heads": settings.whole("n_head"),
        "decoder_normalize_before": True,
        "norm_eps": settings.number("layer_norm_epsilon", 1e-5),
        "activation_fn": settings.chosen("activation_function", _ACTIVATIONS, "gelu_new"),
        "positions": "learned",
        "max_target_positions": settings.whole("n_positions", 1024) if table is None else max(1, len(table)),
        "scale_embedding": False,
        "share_decoder_input_output_embed": are_one(weights, _TABLE, _OUTPUT),
        "dropout": settings.probability("resid_pdrop"),
        "attention_dropout": settings.probability("attn_pdrop"),
    }


def weight_rows(model: Mapping[str, Any], vocabulary: OrderedVocabulary) -> Iterator[WeightRow]:
    """The table of the weights of a model with such settings, ours."""
    if model["share_decoder_input_output_embed"]:
        yield WeightRow("decoder_embedder.table.weight", (_TABLE, _OUTPUT), vocabulary.rows(2))
    else:
        yield WeightRow("decoder_embedder.table.weight", (_TABLE,), vocabulary.rows())
        yield WeightRow("output.weight", (_OUTPUT,), vocabulary.rows())
    yield WeightRow("decoder_embedder.positions.weight", ("wpe.weight",))
    for number in range(model["decoder_layers"]):
        ours, theirs = f"decoder_layers.{number}", f"h.{number}"
        for part, name in (
            ("self_attention.qkv", "attn.c_attn"),
            ("self_attention.out", "attn.c_proj"),
            ("feed_forward.inner", "mlp.c_fc"),
            ("feed_forward.outer", "mlp.c_proj"),
        ):
            # Their matrices have a row for each input.
            yield WeightRow(f"{ours}.{part}.weight", (f"{theirs}.{name}.weight",), Transposed())
            yield WeightRow(f"{ours}.{part}.bias", (f"{theirs}.{name}.bias",))
        yield from parts(f"{ours}.self_attention_residual.norm", f"{theirs}.ln_1")
        yield from parts(f"{ours}.feed_forward_residual.norm", f"{theirs}.ln_2")
    yield from parts("decoder_norm", "ln_f")
