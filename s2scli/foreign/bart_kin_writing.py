"""Models of ours as those of BART and its kin in transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from s2scli.configs.transformer import TransformerConfig
from s2scli.console import counted
from s2scli.errors import UsageError
from s2scli.foreign.bart_kin import (
    ACTIVATIONS,
    OUTPUT,
    SOURCE,
    TARGET,
    BartKind,
    table_name,
    weight_rows,
)
from s2scli.foreign.rows import SIDES
from s2scli.foreign.weights import to_theirs
from s2scli.foreign.writing import ModelToWrite, always_allowed, own_copies

# The first of the names that they have for one of ours.
_THEIRS = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
# The ε of their norms.
_NORM_EPS = 1e-5


def allowed(kind: BartKind, config: TransformerConfig) -> dict[str, tuple[Any, ...]]:
    """The values that settings may have, of models of a kind."""
    found = always_allowed(config) | {
        "norm": ("layer",),
        "norm_eps": (_NORM_EPS,),
        "norm_bias": (True,),
        "linear_bias": (True,),
        "layernorm_embedding": (kind.layernorm_embedding,),
        "activation_fn": tuple(_THEIRS),
        "output_scale": (None,),
        "attention_scale": (None,),
    }
    for side in SIDES:
        width, heads = getattr(config, f"{side}_embed_dim"), getattr(config, f"{side}_attention_heads")
        found[f"{side}_normalize_before"] = (kind.normalize_before,)
        found[f"{side}_head_dim"] = (None, width // heads)
    if kind.skipped is None:
        # Positions are computed.
        return found | {name: (value,) for name, value in kind.positions.items()}
    is_learned = kind.positions["positions"] == "learned"
    found["positions"] = ("learned",) if is_learned else ("sinusoidal", "learned")
    if config.positions == "learned":
        found["max_source_positions"] = (config.max_target_positions,)
    return found


def written(
    kind: BartKind, model: ModelToWrite, *, has_two_sizes: bool = False
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The settings and the weights of a model of a kind; has_two_sizes: whether it may have two vocabularies.

    Raises UsageError where it has two sizes and may not.
    """
    source, target = model.sizes()
    has_two_sizes = has_two_sizes and not model.is_one_table
    if source != target and not has_two_sizes:
        raise UsageError(
            f"the source has {counted(source, 'symbol')} and the target {target:,}, and models of this kind have as "
            "many of both; train on a dataset of s2s preprocess --joined-dictionary"
        )
    is_tied = model.is_one_table or (model.is_output_tied and has_two_sizes)
    config = model.config
    settings: dict[str, Any] = {
        "vocab_size": source,
        "d_model": config.decoder_embed_dim,
        "max_position_embeddings": max(map(len, model.positions.values())),
        "activation_function": _THEIRS[config.activation_fn],
        "scale_embedding": config.scale_embedding,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "tie_word_embeddings": is_tied,
        **model.special_settings(),
    }
    for side in SIDES:
        settings |= {
            f"{side}_layers": getattr(config, f"{side}_layers"),
            f"{side}_attention_heads": getattr(config, f"{side}_attention_heads"),
            f"{side}_ffn_dim": getattr(config, f"{side}_ffn_embed_dim"),
            f"{side}_layerdrop": getattr(config, f"{side}_layerdrop"),
        }
    rows = weight_rows(
        kind,
        model.settings,
        model.orders["source"],
        model.orders["target"],
        is_shared=not has_two_sizes,
    )
    weights = to_theirs([*rows], model.weights)
    for name in (SOURCE, TARGET, OUTPUT) if model.is_one_table else (OUTPUT,) if is_tied else ():
        del weights[name]
    return settings, own_copies({**weights, **_tables(kind, model)})


def _tables(kind: BartKind, model: ModelToWrite) -> Mapping[str, Tensor]:
    """The tables of positions that are a formula: not always that of the family, which takes a table as it is."""
    if kind.skipped is None or model.config.positions == "learned":
        return {}
    return {table_name(side): table for side, table in model.positions.items()}
