"""The lines of the input, as every command that decodes reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Line:
    """A source line, numbered from 0, with its reference if there is one.

    extra: what else was with it in the input, for its record. constraints, excluded: phrases that its output must hold,
    and must not.
    """

    id: int
    text: str
    reference: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
