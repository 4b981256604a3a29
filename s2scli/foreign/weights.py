"""Tables of weights: what a tensor of ours is called and how it is laid out in another toolkit's files.

    WeightRow("encoder_layers.0.self_attention.qkv.weight", ("q.weight", "k.weight", "v.weight"), Stacked((64, 64, 64)))

says that ours is three of theirs, one below the other. `to_ours` reads tensors by such a table, and `to_theirs` writes
them, so that reading what was written gives the same tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from s2scli.checkpoint import first_not_finite
from s2scli.errors import CheckpointError, did_you_mean

# Tensors that a message names.
_SHOWN = 3


class Layout(Protocol):
    """How the tensors of theirs that make one of ours are laid out."""

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """Our tensor, of this shape, of theirs."""
        ...

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Their tensors of ours."""
        ...


@dataclass(frozen=True)
class Same:
    """One tensor, laid out as ours; where they have several names for it, or copies of it, all of them."""

    copies: int = 1

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:  # noqa: ARG002 (as every layout)
        """Give the first of the equal tensors."""
        return theirs[0]

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give ours for each name."""
        return [ours] * self.copies


@dataclass(frozen=True)
class Stacked:
    """Matrices, or biases, of so many rows each that stand one below the other in ours."""

    rows: tuple[int, ...]

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:  # noqa: ARG002 (as every layout)
        """Give one tensor with the rows of all."""
        return torch.cat([*theirs])

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give each its rows."""
        return [*ours.split(self.rows)]


@dataclass(frozen=True)
class Transposed:
    """A matrix whose rows are our columns, for each of them that stands below the other in ours."""

    rows: tuple[int, ...] = ()

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:  # noqa: ARG002 (as every layout)
        """Give one matrix with the columns of all as rows."""
        return torch.cat([item.T for item in theirs])

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give each its columns."""
        return [item.T for item in (ours.split(self.rows) if self.rows else [ours])]


@dataclass(frozen=True)
class Ordered:
    """One tensor, or copies of it, whose row order[i] is our row i: that of an embedding, in their order of symbols."""

    order: tuple[int, ...]
    copies: int = 1

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:  # noqa: ARG002 (as every layout)
        """Give the rows in our order."""
        return theirs[0][torch.tensor(self.order)]

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give the rows in their order."""
        back = torch.empty(len(self.order), dtype=torch.long)
        back[torch.tensor(self.order)] = torch.arange(len(self.order))
        return [ours[back.to(ours.device)]] * self.copies


@dataclass(frozen=True)
class Behind:
    """One tensor whose first rows, so many, have no use: learned positions that begin further on."""

    skipped: int

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:  # noqa: ARG002 (as every layout)
        """Give the rows behind those."""
        return theirs[0][self.skipped :]

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give ours behind rows of zeros."""
        return [torch.cat([ours.new_zeros(self.skipped, *ours.shape[1:]), ours])]


@dataclass(frozen=True)
class WithFirstRow:
    """A table of theirs and another one, of so many rows, whose first row is added to each of its rows."""

    rows: int

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:  # noqa: ARG002 (as every layout)
        """Give the sums."""
        return theirs[0] + theirs[1][0]

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give the sums, and rows of zeros."""
        return [ours, ours.new_zeros(self.rows, *ours.shape[1:])]


@dataclass(frozen=True)
class Shaped:
    """One tensor with the same elements in the same order in another shape."""

    shape: tuple[int, ...]

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """Give it in our shape."""
        return theirs[0].reshape(shape)

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give it in their shape."""
        return [ours.reshape(self.shape)]


@dataclass(frozen=True)
class AsRow:
    """A vector of ours that is a matrix of one row in theirs, otherwise laid out as told."""

    layout: Layout

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """Give the row."""
        return self.layout.inward([item.flatten() for item in theirs], shape)

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give one row."""
        return [item[None] for item in self.layout.outward(ours)]


@dataclass(frozen=True)
class Scaled:
    """What another layout gives, times a factor."""

    layout: Layout
    factor: float

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """Give it times the factor."""
        return self.layout.inward(theirs, shape) * self.factor

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give it divided by the factor."""
        return self.layout.outward(ours / self.factor)


@dataclass(frozen=True)
class Absent:
    """No tensor: theirs has none where ours is zero, as a bias."""

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:  # noqa: ARG002 (as every layout)
        """Give zeros."""
        return torch.zeros(shape)

    def outward(self, ours: Tensor) -> list[Tensor]:  # noqa: ARG002 (as every layout)
        """Give nothing."""
        return []


SAME = Same()


@dataclass(frozen=True)
class WeightRow:
    """One of our tensors by its name, the names of theirs that make it, and how those are laid out."""

    ours: str
    theirs: tuple[str, ...]
    layout: Layout = SAME


WeightTable = Sequence[WeightRow]


def to_ours(
    table: WeightTable,
    theirs: Mapping[str, Tensor],
    shapes: Mapping[str, torch.Size],
    path: Path,
    unused: str = "",
) -> dict[str, Tensor]:
    """Our tensors by name, of theirs, in float32 and with memory of their own.

    shapes: of ours; path: where theirs are from, for messages; unused: a pattern of names of what is no weight.
    Raises CheckpointError that names a tensor which is missing, is not in the table, is not of the wanted shape or
    holds what is no number.
    """
    _check_names(table, theirs, path, unused)
    found: dict[str, Tensor] = {}
    for row in table:
        shape = shapes[row.ours]
        wanted = row.layout.outward(torch.empty(shape, device="meta"))
        tensors = [theirs[name] for name in row.theirs]
        for name, tensor, like in zip(row.theirs, tensors, wanted, strict=True):
            if tensor.shape != like.shape:
                raise CheckpointError(
                    f"{path}: {name} has shape {tuple(tensor.shape)}; its settings and tokenizers want "
                    f"{tuple(like.shape)}"
                )
            if not tensor.is_floating_point():
                raise CheckpointError(
                    f"{path}: {name} is of type {tensor.dtype}; wanted: numbers with fractions"
                )
            if first_not_finite({name: tensor}) is not None:
                raise CheckpointError(
                    f"{path}: {name} holds NaN or an infinity, so nothing can be done with it"
                )
        found[row.ours] = (
            row.layout.inward(tensors, shape).to(torch.float32).clone(memory_format=torch.contiguous_format)
        )
    if missing := shapes.keys() - found.keys():
        raise ValueError(f"the table has no row of {min(missing)}")
    return found


def to_theirs(table: WeightTable, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors by name, of ours."""
    found: dict[str, Tensor] = {}
    for row in table:
        found |= zip(row.theirs, row.layout.outward(ours[row.ours]), strict=True)
    return found


def _check_names(table: WeightTable, theirs: Mapping[str, Tensor], path: Path, unused: str) -> None:
    known = {name for row in table for name in row.theirs}
    missing = [name for row in table for name in row.theirs if name not in theirs]
    if missing:
        raise CheckpointError(
            f"{path}: has no {_listed(missing)}, which its settings want{_nearest(missing, theirs)}"
        )
    extra = [name for name in theirs if name not in known and not (unused and re.fullmatch(unused, name))]
    if extra:
        raise CheckpointError(f"{path}: holds {_listed(extra)}, which its settings have no use for")


def _nearest(missing: Sequence[str], theirs: Mapping[str, Tensor]) -> str:
    hint = did_you_mean(missing[0], theirs)
    return hint if hint.startswith("; did") else ""


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return f"{', '.join(names[:_SHOWN])}{f' and {more:,} more' if more > 0 else ''}"


def are_one(theirs: Mapping[str, Tensor], *names: str) -> bool:
    """Whether all tensors of these names are there and equal: what is tied is told by that, not by a flag."""
    if not all(name in theirs for name in names):
        return False
    first, *others = (theirs[name] for name in names)
    return all(
        first.shape == other.shape and (first.data_ptr() == other.data_ptr() or torch.equal(first, other))
        for other in others
    )
