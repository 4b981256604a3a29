"""What BART and its kin in transformers have in common: Marian, mBART, M2M-100 and NLLB, PEGASUS.

Their layers are fairseq's, under its names; they differ in positions, norms and in what the decoder begins with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from s2scli.foreign.rows import SIDES, bart_layers, parts
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.vocabularies import OrderedVocabulary
from s2scli.foreign.weights import AsRow, Behind, WeightRow, are_one
from s2scli.nn.positions import sinusoids

SHARED, SOURCE, TARGET, OUTPUT, BIAS = (
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
    "final_logits_bias",
)
# Sinusoids, which are computed, and a bias of the output that is zero.
UNUSED = r"model\.(encoder|decoder)\.embed_positions\.weights?|final_logits_bias"
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "silu": "swish",
    "swish": "swish",
}
# The first positions that a table of sinusoids may begin at.
_OFFSETS = range(8)
# How many of its rows are compared, and how closely: files may be in half precision.
_COMPARED, _CLOSE = 64, 5e-3


@dataclass(frozen=True, kw_only=True)
class BartKind:
    """What one of the families has, and the others have not.

    positions: our settings of them, where a file has no table of its own. skipped: the rows of such a table before that
    of the first position; None where no table is read.
    """

    normalize_before: bool
    layernorm_embedding: bool
    positions: Mapping[str, Any]
    skipped: int | None


def model_settings(
    kind: BartKind, settings: ForeignSettings, weights: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Our settings of a model whose weights are complete."""
    settings.only(normalize_before=kind.normalize_before, normalize_embedding=kind.layernorm_embedding)
    width = settings.whole("d_model")
    model: dict[str, Any] = {}
    for side in SIDES:
        model |= {
            f"{side}_layers": settings.layers(f"{side}_layers"),
            f"{side}_embed_dim": width,
            f"{side}_ffn_embed_dim": settings.whole(f"{side}_ffn_dim"),
            f"{side}_attention_heads": settings.whole(f"{side}_attention_heads"),
            f"{side}_normalize_before": kind.normalize_before,
            f"{side}_layerdrop": settings.probability(f"{side}_layerdrop"),
        }
    is_tied = are_one(weights, TARGET, OUTPUT)
    return model | {
        **_position_settings(kind, settings, weights),
        "activation_fn": settings.chosen("activation_function", ACTIVATIONS, "gelu"),
        "layernorm_embedding": kind.layernorm_embedding,
        "scale_embedding": settings.flag("scale_embedding", False),
        "output_bias": BIAS in weights and bool(weights[BIAS].any()),
        "share_all_embeddings": is_tied and are_one(weights, SOURCE, TARGET),
        "share_decoder_input_output_embed": is_tied,
        "dropout": settings.probability("dropout"),
        "attention_dropout": settings.probability("attention_dropout"),
        "activation_dropout": settings.probability("activation_dropout"),
    }


def table_name(side: str) -> str:
    """The name of the table of a side's positions."""
    return f"model.{side}.embed_positions.weight"


def _position_settings(
    kind: BartKind, settings: ForeignSettings, weights: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Our settings of positions: as a table in the file has them, else as the family has."""
    named = {side: weights[table_name(side)] for side in SIDES if table_name(side) in weights}
    tables = {side: table for side, table in named.items() if table.dim() == 2}
    if kind.skipped is None or (len(tables) < len(SIDES) and kind.positions["positions"] != "learned"):
        return dict(kind.positions)
    if kind.positions["positions"] != "learned":
        told = [_sinusoids_of(table) for table in tables.values()]
        if told[0] is not None and told[0] == told[1]:
            return told[0]
    found: dict[str, Any] = {"positions": "learned"}
    for name, side in (("max_source_positions", "encoder"), ("max_target_positions", "decoder")):
        default = settings.whole("max_position_embeddings")
        found[name] = default if side not in tables else max(1, len(tables[side]) - kind.skipped)
    return found


def _sinusoids_of(table: Tensor) -> dict[str, Any] | None:
    """Our settings of the sinusoids in a table [P, D]; None where there is something else in it."""
    if table.size(1) % 2:
        return None
    rows = table[:_COMPARED].float()
    for spacing in ("paper", "tensor2tensor"):
        for offset in _OFFSETS:
            if torch.allclose(rows, sinusoids(len(rows), table.size(1), spacing, offset), 0, _CLOSE):
                return {
                    "positions": "sinusoidal",
                    "sinusoid_spacing": spacing,
                    "position_offset": offset,
                }
    return None


def completed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under all names that their model has for them: of what is tied, files keep one."""
    found = dict(weights)
    for name, others in ((SOURCE, (SHARED,)), (TARGET, (SHARED, OUTPUT)), (OUTPUT, (TARGET, SHARED))):
        present = next((other for other in others if other in found), None)
        if name not in found and present is not None:
            found[name] = found[present]
    return found


def has_shared(weights: Mapping[str, Tensor]) -> bool:
    """Whether weights, completed, have a table of embeddings under the name of what both sides share."""
    return SHARED in weights and are_one(weights, SHARED, SOURCE)


def weight_rows(
    kind: BartKind,
    model: Mapping[str, Any],
    source: OrderedVocabulary,
    target: OrderedVocabulary,
    *,
    is_shared: bool,
) -> Iterator[WeightRow]:
    """The table of the weights of a model with such settings, ours; is_shared: as `has_shared` says of theirs."""
    shared = (SHARED,) if is_shared else ()
    if model["share_all_embeddings"]:
        names = (*shared, SOURCE, TARGET, OUTPUT)
        yield WeightRow("encoder_embedder.table.weight", names, source.rows(len(names)))
    else:
        names = (*shared, SOURCE)
        yield WeightRow("encoder_embedder.table.weight", names, source.rows(len(names)))
        names = (TARGET, OUTPUT) if model["share_decoder_input_output_embed"] else (TARGET,)
        yield WeightRow("decoder_embedder.table.weight", names, target.rows(len(names)))
        if not model["share_decoder_input_output_embed"]:
            yield WeightRow("output.weight", (OUTPUT,), target.rows())
    if model["output_bias"]:
        yield WeightRow("output.bias", (BIAS,), AsRow(target.rows()))
    for side in SIDES:
        ours, theirs = f"{side}_embedder", f"model.{side}"
        if model["positions"] == "learned":
            layout = Behind(kind.skipped or 0)
            yield WeightRow(f"{ours}.positions.weight", (table_name(side),), layout)
        if kind.layernorm_embedding:
            yield from parts(f"{ours}.norm", f"{theirs}.layernorm_embedding")
        if kind.normalize_before:
            yield from parts(f"{side}_norm", f"{theirs}.layer_norm")
    yield from bart_layers(model, "model.")
