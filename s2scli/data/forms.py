"""How the columns of a dataset are made: text by tokenizers, sources with what stands in them beside it, or frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from s2scli.data.folder import TAG
from s2scli.data.layout import ColumnLayout
from s2scli.data.source_form import SourceForm
from s2scli.features.form import FeatureForm
from s2scli.text.tokenizer import Tokenizer


class Forms(NamedTuple):
    """What writes each column.

    tokenizers: of the sides that are text; source: what stands in a source of text beside its line; features: how
    frames are made, where sources are no text.
    """

    tokenizers: Mapping[str, Tokenizer]
    source: SourceForm
    features: FeatureForm | None = None

    def layouts(self) -> dict[str, ColumnLayout]:
        """How each column is stored."""
        found: dict[str, ColumnLayout] = {}
        if self.features is not None:
            dtype, width = self.features.numpy_dtype, self.features.num_features
            found["source"] = ColumnLayout(kind="features", dtype=dtype, width=width)
        found |= {side: ColumnLayout.of_ids(len(tokenizer)) for side, tokenizer in self.tokenizers.items()}
        if self.source.tags:
            found[TAG] = ColumnLayout.of_ids(len(self.tokenizers["source"]), "tag")
        return found

    def to_meta(self) -> dict[str, dict[str, Any]]:
        """What meta.json says of the columns."""
        found: dict[str, dict[str, Any]] = {}
        for name, layout in self.layouts().items():
            found[name] = {"kind": layout.kind, "dtype": layout.dtype.name}
            if layout.vocabulary_size:
                found[name]["tokenizer"] = "source" if name == TAG else name
            elif self.features is not None:
                found[name]["features"] = self.features.to_meta()
        return found
