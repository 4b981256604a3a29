"""What a recurrent model's config must know of each attention score; the formulas are in nn/attention.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s2scli.components import ATTENTION_SCORES
from s2scli.configs.component import ComponentConfig, called

_KIND = "attention score"


@dataclass(frozen=True, kw_only=True)
class AttentionScoreConfig(ComponentConfig):
    """An attention score, which has no settings but those of the model that it is in.

    `builds` is called with the sizes of the decoder's and the encoder's states, and the model's attention_dim and
    max_source_positions; it gives a `nn.attention.AttentionScore`.

    reads: which of those two settings it has a use for. needs_one_size: whether both states must be of one size.
    has_coverage: whether it can be told what has been attended to before.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    needs_one_size: ClassVar[bool] = False
    has_coverage: ClassVar[bool] = False


def scores_that_read(setting: str) -> str:
    """The need (needs.py) of a setting of the model: any of the scores that have a use for it."""
    return f"attention={','.join(name for name, score in ATTENTION_SCORES.items() if setting in score.reads)}"


@dataclass(frozen=True, kw_only=True)
class AdditiveScoreConfig(AttentionScoreConfig):
    """Additive attention (Bahdanau et al. 2015)."""

    builds = "s2scli.nn.attention:AdditiveScore"
    reads = frozenset({"attention_dim"})
    has_coverage = True

    name: str = called("additive", _KIND)


@dataclass(frozen=True, kw_only=True)
class DotScoreConfig(AttentionScoreConfig):
    """Dot-product attention (Luong et al. 2015)."""

    builds = "s2scli.nn.attention:DotScore"
    needs_one_size = True

    name: str = called("dot", _KIND)


@dataclass(frozen=True, kw_only=True)
class ScaledDotScoreConfig(AttentionScoreConfig):
    """Dot-product attention divided by the root of the size (Vaswani et al. 2017)."""

    builds = "s2scli.nn.attention:ScaledDotScore"
    needs_one_size = True

    name: str = called("scaled-dot", _KIND)


@dataclass(frozen=True, kw_only=True)
class GeneralScoreConfig(AttentionScoreConfig):
    """Dot-product attention with a matrix between the states (Luong et al. 2015)."""

    builds = "s2scli.nn.attention:GeneralScore"

    name: str = called("general", _KIND)


@dataclass(frozen=True, kw_only=True)
class ConcatScoreConfig(AttentionScoreConfig):
    """Additive attention with one matrix for both states (Luong et al. 2015)."""

    builds = "s2scli.nn.attention:ConcatScore"
    reads = frozenset({"attention_dim"})

    name: str = called("concat", _KIND)


@dataclass(frozen=True, kw_only=True)
class LocationScoreConfig(AttentionScoreConfig):
    """A score of the source position by the decoder's state alone (Luong et al. 2015)."""

    builds = "s2scli.nn.attention:LocationScore"
    reads = frozenset({"max_source_positions"})

    name: str = called("location", _KIND)


@dataclass(frozen=True, kw_only=True)
class SourceOnlyScoreConfig(AttentionScoreConfig):
    """A score of each encoder state by itself, whatever the decoder's state is."""

    builds = "s2scli.nn.attention:SourceOnlyScore"

    name: str = called("source-only", _KIND)
