"""Marian's own models: .npz, and the .bin that Firefox's translator and other browsers run, Bergamot's.

Both have the settings of training within, as YAML; the vocabularies, SentencePiece models whose ids the model's are,
and the binary shortlist stand beside them. The decoder begins with a vector of zeros, there is no padding symbol, and
matrices are stored with a column for each output.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.errors import CheckpointError
from s2scli.foreign.base import ForeignFamily, ForeignModel
from s2scli.foreign.formats.marian_binary import read_marian_binary
from s2scli.foreign.formats.marian_shortlist import read_shortlist
from s2scli.foreign.rows import SIDES
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.vocabularies import SpecialIds, numbered, ordered_vocabulary, pieces_of
from s2scli.foreign.weights import SAME, AsRow, Layout, Scaled, Stacked, Transposed, WeightRow
from s2scli.text.subword import GivenSentencePieceTokenizer, read_sentencepiece_model
from s2scli.text.tokenizer import Tokenizer

# The name of the tensor that holds the settings in an .npz.
_SETTINGS = "special:model.yml"
# What only quantized products need: the range of what enters them.
_UNUSED = r".*_QuantMultA|special:.*"
# Marian's gelu is x σ(1.702 x): swish of 1.702 x, divided by that, which the matrices around it can do.
_ACTIVATIONS = {"relu": "relu", "gelu": "swish", "swish": "swish"}
_GELU_SLOPE = 1.702
# Marian's ε.
_NORM_EPS = 1e-9
_LINE = re.compile(r"^([A-Za-z0-9-]+):(.*)$")


class Marian(ForeignFamily):
    """Marian's Transformers, students with an SSRU decoder among them."""

    title = "a Transformer of Marian"

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether it is an .npz of Marian's, or a .bin that begins as its binary files do."""
        path = source.ending_in(".npz")
        if path is not None:
            return _SETTINGS in source.arrays
        path = binary_of(source)
        if path is None:
            return False
        with path.open("rb") as stream:
            return stream.read(8) == bytes([1, 0, 0, 0, 0, 0, 0, 0])

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        path, weights, text = _read(source)
        settings = ForeignSettings(parse_settings(text), path)
        model = model_settings(settings, weights)
        tokenizers = _tokenizers(source, wanted, weights)
        shortlist = next((name for name in sorted(source.folder.glob("lex*.bin"))), None)
        return ForeignModel(
            path=path,
            arch="transformer",
            model=model,
            tokenizers=tokenizers,
            weights=weights,
            table=[*weight_rows(model, _slope(settings))],
            unused=_UNUSED,
            source_lang=wanted.source_lang,
            target_lang=wanted.target_lang,
            shortlist=None
            if shortlist is None
            else read_shortlist(shortlist, len(tokenizers["source"]), tokenizers["target"].vocabulary),
        )


def binary_of(source: ForeignSource) -> Path | None:
    """The .bin of weights that a source is or has; a folder has other .bin files, of shortlists."""
    if not source.path.is_dir():
        return source.ending_in(".bin")
    found = sorted(path for path in source.path.glob("*.bin") if not path.name.startswith("lex"))
    return found[0] if len(found) == 1 else None


def _read(source: ForeignSource) -> tuple[Path, Mapping[str, Tensor], str]:
    """The file with the weights, those, and the text of the settings."""
    path = source.ending_in(".npz")
    if path is not None:
        stored = source.arrays.get(_SETTINGS)
        text = "" if stored is None else stored.numpy().tobytes().decode("utf-8", errors="replace")
        return path, source.arrays, text.rstrip("\0")
    path = binary_of(source)
    if path is None:
        raise CheckpointError(f"{source.path}: has no .npz and no .bin of Marian's")
    weights, text = read_marian_binary(path)
    return path, weights, text


def parse_settings(text: str) -> dict[str, Any]:
    """The settings of a model by name: numbers, true and false, texts, and lists as tuples of texts.

    That is all of YAML that Marian writes there.
    """
    found: dict[str, Any] = {}
    name = ""
    for line in text.splitlines():
        if matched := _LINE.match(line):
            name, value = matched[1], matched[2].strip()
            found[name] = () if value == "[]" or not value else _scalar(value)
        elif name and line.strip().startswith("- ") and isinstance(found[name], tuple):
            found[name] = (*found[name], line.strip()[2:])
    return found


def _scalar(value: str) -> Any:
    if value in ("true", "false"):
        return value == "true"
    if re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", value):
        return float(value)
    return value.strip("\"'")


def model_settings(settings: ForeignSettings, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Our settings of a model."""
    settings.only(
        **{
            "type": "transformer",
            "transformer-ffn-depth": 2,
            "transformer-no-projection": False,
            "transformer-train-position-embeddings": False,
            "transformer-tied-layers": (),
            "transformer-postprocess-emb": "d",
            "transformer-pool": False,
            "right-left": False,
            "input-types": (),
            "lemma-dim-emb": 0,
            "ulr": False,
        }
    )
    order = (settings.values.get("transformer-preprocess"), settings.values.get("transformer-postprocess"))
    if order not in (("", "dan"), ("n", "da")):
        settings.refuse("transformer-postprocess", "'dan', or 'da' with transformer-preprocess 'n'")
    is_before = order == ("n", "da")
    is_recurrent = settings.chosen("transformer-decoder-autoreg", {"rnn": True, "self-attention": False})
    if is_recurrent:
        settings.only(**{"dec-cell": "ssru"})
    width, heads = settings.whole("dim-emb"), settings.whole("transformer-heads")
    ffn = settings.whole("transformer-dim-ffn")
    own_ffn = settings.values.get("transformer-decoder-dim-ffn") or ffn
    is_shared = "Wemb" in weights
    return {
        "encoder_layers": settings.layers("enc-depth"),
        "decoder_layers": settings.layers("dec-depth"),
        "encoder_ffn_embed_dim": ffn,
        "decoder_ffn_embed_dim": own_ffn,
        **{f"{side}_embed_dim": width for side in SIDES},
        **{f"{side}_attention_heads": heads for side in SIDES},
        **{f"{side}_normalize_before": is_before for side in SIDES},
        "norm_eps": _NORM_EPS,
        "positions": "sinusoidal",
        "activation_fn": settings.chosen("transformer-ffn-activation", _ACTIVATIONS, "relu"),
        "decoder_sublayer": "ssru" if is_recurrent else "attention",
        "decoder_start": "zero",
        "output_bias": "decoder_ff_logit_out_b" in weights,
        "share_all_embeddings": is_shared and not _has_output(weights),
        "share_decoder_input_output_embed": not _has_output(weights),
        # The settings do not say it; students, whose distributions are sharp, are trained without, and 0.1 spoils them.
        "dropout": 0.0,
    }


def _has_output(weights: Mapping[str, Tensor]) -> bool:
    """Whether the output layer has a matrix of its own."""
    return "decoder_ff_logit_out_W" in weights


def _tokenizers(
    source: ForeignSource, wanted: ImportConfig, weights: Mapping[str, Tensor]
) -> dict[str, Tokenizer]:
    """The tokenizers of both sides, of the SentencePiece models that are given, or in the folder."""
    found = sorted(source.folder.glob("*.spm"))
    if wanted.source_sentencepiece is not None:
        found = [wanted.source_sentencepiece, wanted.target_sentencepiece or wanted.source_sentencepiece]
    elif len(found) == 2:
        # As srcvocab.LANG.spm and trgvocab.LANG.spm of Firefox's larger models.
        found.sort(key=lambda path: not path.name.startswith(("src", "source")))
    if len(found) not in (1, 2):
        raise CheckpointError(
            f"{source.folder}: has {len(found)} vocabularies, *.spm; say which with --source-sentencepiece and "
            "--target-sentencepiece"
        )
    tokenizers: dict[str, Tokenizer] = {}
    for side, path, name in zip(("source", "target"), (found[0], found[-1]), SIDES, strict=True):
        table = weights.get("Wemb", weights.get(f"{name}_Wemb"))
        if table is None:
            raise CheckpointError(f"{source.path}: has no Wemb and no {name}_Wemb")
        model = read_sentencepiece_model(path)
        pieces = pieces_of(model)
        for symbol in ("</s>", "<unk>"):
            if symbol not in pieces:
                raise CheckpointError(f"{path}: has no {symbol}")
        # Nothing is padding: where one symbol must fill batches up, the end symbol does.
        end = pieces.index("</s>")
        special = SpecialIds(start=end, end=end, padding=end, unknown=pieces.index("<unk>"))
        ordered = ordered_vocabulary(numbered(pieces), len(table), special, path)
        if not ordered.is_same:
            raise CheckpointError(
                f"{path}: its special symbols are not the first; wanted: </s> and <unk>, 0 and 1"
            )
        tokenizers[side] = GivenSentencePieceTokenizer(model, ordered.vocabulary)
    return tokenizers


def _slope(settings: ForeignSettings) -> float:
    """What the inner states of feed-forward layers are multiplied by before swish, and their outputs divided by."""
    return _GELU_SLOPE if settings.values.get("transformer-ffn-activation") == "gelu" else 1.0


def weight_rows(model: Mapping[str, Any], slope: float = 1.0) -> Iterator[WeightRow]:
    """The table of the weights of a model with such settings, ours; slope: see `_slope`."""
    if model["share_all_embeddings"]:
        yield WeightRow("encoder_embedder.table.weight", ("Wemb",))
    else:
        for side in SIDES:
            yield WeightRow(f"{side}_embedder.table.weight", (f"{side}_Wemb",))
        if not model["share_decoder_input_output_embed"]:
            yield WeightRow("output.weight", ("decoder_ff_logit_out_W",), Transposed())
    if model["output_bias"]:
        yield WeightRow("output.bias", ("decoder_ff_logit_out_b",), AsRow(SAME))
    for side in SIDES:
        if model[f"{side}_normalize_before"]:
            yield from _norm(f"{side}_norm", f"{side}_top")
        for number in range(model[f"{side}_layers"]):
            yield from _layer(model, side, number, slope)


def _layer(model: Mapping[str, Any], side: str, number: int, slope: float) -> Iterator[WeightRow]:
    width = model[f"{side}_embed_dim"]
    ours, theirs = f"{side}_layers.{number}", f"{side}_l{number + 1}"
    if side == "decoder" and model["decoder_sublayer"] == "ssru":
        matrices = (f"{theirs}_rnn_Wf", f"{theirs}_rnn_W")
        yield WeightRow(f"{ours}.self_attention.input.weight", matrices, Transposed((width,) * 2))
        yield WeightRow(f"{ours}.self_attention.forget_bias", (f"{theirs}_rnn_bf",), AsRow(SAME))
        yield from _norm(f"{ours}.self_attention_residual.norm", f"{theirs}_rnn_ffn")
    else:
        own = f"{theirs}_self"
        yield from _linear(f"{ours}.self_attention.qkv", own, ("q", "k", "v"), width)
        yield from _linear(f"{ours}.self_attention.out", own, ("o",), width)
        yield from _norm(f"{ours}.self_attention_residual.norm", f"{own}_Wo")
    if side == "decoder":
        cross = f"{theirs}_context"
        yield from _linear(f"{ours}.cross_attention.query", cross, ("q",), width)
        yield from _linear(f"{ours}.cross_attention.key_value", cross, ("k", "v"), width)
        yield from _linear(f"{ours}.cross_attention.out", cross, ("o",), width)
        yield from _norm(f"{ours}.cross_attention_residual.norm", f"{cross}_Wo")
    inner = model[f"{side}_ffn_embed_dim"]
    yield from _scaled(_linear(f"{ours}.feed_forward.inner", f"{theirs}_ffn", ("1",), inner), slope)
    outer_weight, outer_bias = _linear(f"{ours}.feed_forward.outer", f"{theirs}_ffn", ("2",), width)
    yield from _scaled([outer_weight], 1 / slope)
    yield outer_bias
    yield from _norm(f"{ours}.feed_forward_residual.norm", f"{theirs}_ffn_ffn")


def _linear(ours: str, theirs: str, letters: Sequence[str], width: int) -> Iterator[WeightRow]:
    """The rows of matrices W and biases b of so many outputs each, which stand one below the other in ours."""
    widths = (width,) * len(letters)
    bias: Layout = Stacked(widths) if len(letters) > 1 else SAME
    yield WeightRow(f"{ours}.weight", tuple(f"{theirs}_W{letter}" for letter in letters), Transposed(widths))
    yield WeightRow(f"{ours}.bias", tuple(f"{theirs}_b{letter}" for letter in letters), AsRow(bias))


def _scaled(rows: Iterable[WeightRow], factor: float) -> Iterator[WeightRow]:
    """The rows whose weights ours have times a factor."""
    return (row if factor == 1 else replace(row, layout=Scaled(row.layout, factor)) for row in rows)


def _norm(ours: str, theirs: str) -> Iterator[WeightRow]:
    yield WeightRow(f"{ours}.weight", (f"{theirs}_ln_scale",), AsRow(SAME))
    yield WeightRow(f"{ours}.bias", (f"{theirs}_ln_bias",), AsRow(SAME))
