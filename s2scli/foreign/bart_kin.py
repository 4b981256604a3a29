"""What BART and its kin in transformers have in common: Marian, mBART, M2M-100 and NLLB, PEGASUS.

Their layers are fairseq's, under its names; they differ in positions, norms and in what the decoder begins with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from s2scli.foreign.rows import SIDES, bart_layers, parts
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.vocabularies import OrderedVocabulary
from s2scli.foreign.weights import AsRow, Behind, WeightRow, are_one

SHARED, SOURCE, TARGET, OUTPUT, BIAS = (
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
    "final_logits_bias",
)
# Sinusoids, which are computed, and a bias of the output that is zero.
UNUSED = r"model\.(encoder|decoder)\.embed_positions\.weights?|final_logits_bias"
_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "silu": "swish",
    "swish": "swish",
}
# The rows of a table of learned positions that come before the first position.
_FIRST_LEARNED = 2


@dataclass(frozen=True, kw_only=True)
class BartKind:
    """What one of the families has, and the others have not."""

    normalize_before: bool
    layernorm_embedding: bool
    positions: Mapping[str, Any]

    @property
    def is_learned(self) -> bool:
        """Whether positions are learned."""
        return bool(self.positions["positions"] == "learned")


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
    positions = dict(kind.positions)
    if kind.is_learned:
        for name, side in (("max_source_positions", "encoder"), ("max_target_positions", "decoder")):
            table = weights.get(f"model.{side}.embed_positions.weight")
            default = settings.whole("max_position_embeddings")
            positions[name] = default if table is None else max(1, len(table) - _FIRST_LEARNED)
    is_tied = are_one(weights, TARGET, OUTPUT)
    return model | {
        **positions,
        "activation_fn": settings.chosen("activation_function", _ACTIVATIONS, "gelu"),
        "layernorm_embedding": kind.layernorm_embedding,
        "scale_embedding": settings.flag("scale_embedding", False),
        "output_bias": BIAS in weights and bool(weights[BIAS].any()),
        "share_all_embeddings": is_tied and are_one(weights, SOURCE, TARGET),
        "share_decoder_input_output_embed": is_tied,
        "dropout": settings.probability("dropout"),
        "attention_dropout": settings.probability("attention_dropout"),
        "activation_dropout": settings.probability("activation_dropout"),
    }


def completed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under all names that their model has for them: of what is tied, files keep one."""
    found = dict(weights)
    for name, others in ((SOURCE, (SHARED,)), (TARGET, (SHARED, OUTPUT)), (OUTPUT, (TARGET, SHARED))):
        present = next((other for other in others if other in found), None)
        if name not in found and present is not None:
            found[name] = found[present]
    return found


def weight_rows(
    kind: BartKind,
    model: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    source: OrderedVocabulary,
    target: OrderedVocabulary,
) -> Iterator[WeightRow]:
    """The table of the weights of a model with such settings, ours.

    weights: theirs, completed, of which one table may have more names than another.
    """
    shared = (SHARED,) if SHARED in weights and are_one(weights, SHARED, SOURCE) else ()
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
        if kind.is_learned:
            name = f"{theirs}.embed_positions.weight"
            yield WeightRow(f"{ours}.positions.weight", (name,), Behind(_FIRST_LEARNED))
        if kind.layernorm_embedding:
            yield from parts(f"{ours}.norm", f"{theirs}.layernorm_embedding")
        if kind.normalize_before:
            yield from parts(f"{side}_norm", f"{theirs}.layer_norm")
    yield from bart_layers(model, "model.")
