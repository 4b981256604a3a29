"""Which encoder of lines goes with what a model reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from s2scli.data.source_form import SourceForm
from s2scli.inference.encoding import LineEncoder, PrefixEncoder
from s2scli.inference.engine import Engine
from s2scli.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    # Most models read text, and numpy takes a while to load.
    from s2scli.features.form import FeatureForm


def encoder_of(
    engine: Engine,
    tokenizers: Mapping[str, Tokenizer],
    limits: Mapping[str, Any],
    form: SourceForm,
    features: FeatureForm | None = None,
) -> LineEncoder:
    """The encoder of lines that an engine calls for, by what its model reads; features: what frames are made of."""
    if features is not None:
        from s2scli.inference.feature_encoding import FeatureEncoder

        return FeatureEncoder(engine, tokenizers, limits, form, features)
    kind = LineEncoder if engine.reads_source else PrefixEncoder
    return kind(engine, tokenizers, limits, form)
