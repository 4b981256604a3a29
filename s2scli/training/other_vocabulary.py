"""Weights of a model for another vocabulary than its own: which rows they begin with (Kocmi and Bojar 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from s2scli.checkpoint import Checkpoint, model_outline
from s2scli.console import counted, notice
from s2scli.data.tokenizers import check_vocabularies
from s2scli.errors import CheckpointError, UsageError
from s2scli.models.base import Model
from s2scli.nn.sharded import whole
from s2scli.text.matching import SymbolMatch, match_symbols
from s2scli.text.sameness import normalization_changes
from s2scli.text.tokenizer import Tokenizer

# The least part of the symbols of a side that a model must have for its rows to be of use.
_LEAST_SHARED = 0.01
_SIDES = ("source", "target")


def fitted_weights(
    checkpoint: Checkpoint,
    path: Path,
    model: Model,
    tokenizers: Mapping[str, Tokenizer],
    data: Path,
    *,
    anew: str | None = None,
) -> Mapping[str, Tensor]:
    """A checkpoint's weights by the vocabularies of other data, as a model for those begins with them.

    A symbol that both have keeps its row, of embeddings, output weights, biases and a CTC head. Another begins with the
    mean of the rows of the pieces that the checkpoint's tokenizer splits it into, or, where that knows not all of them,
    with the row that the model has. path, data: for messages. anew: "source", "target" or "both", of which the
    model's rows stay. Where vocabularies are the same and nothing is anew, the weights are the checkpoint's.

    Raises CheckpointError where a side shares less than 1 % of its symbols with the checkpoint, and where the
    vocabularies are the same but not what text is normalized to; UsageError for one side anew of a table of both.
    """
    if anew in _SIDES and _shares_a_table(model):
        raise UsageError(
            f"--new-embeddings {anew}: source and target share a table of the model; give both, or "
            "--no-share-all-embeddings"
        )
    skipped = _SIDES if anew == "both" else (anew,)
    own, sides = checkpoint.tokenizers, [side for side in _SIDES if side in tokenizers]
    others = [side for side in sides if side in own and not _is_same(own[side], tokenizers[side])]
    remedy = f"make the dataset with the model's own vocabulary: s2s preprocess --vocab-from {path}"
    same = {side: own[side] for side in own if side in sides and side not in others}
    check_vocabularies(same, path, tokenizers, data, remedy)
    if not others and anew is None:
        return checkpoint.weights
    matches = {side: match_symbols(tokenizers[side], own[side]) for side in sides if side in own}
    for side in others:
        if changes := normalization_changes(own[side], tokenizers[side]):
            notice(f"{path}: {side} text is normalized in another way: {changes}")
        if side not in skipped:
            _check_shared(matches[side], side, path, data, "both" if _shares_a_table(model) else side)
    for side in sides:
        if side in skipped and side in matches:
            matches[side] = SymbolMatch({}, {}, len(tokenizers[side]), tokenizers[side].special.count)
    _say_how_many(matches, [side for side in matches if side in others or side in skipped], path)
    return _weights(checkpoint, path, model, matches)


def _is_same(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether ids of two tokenizers stand for the same symbols."""
    return one.vocabulary.symbols == other.vocabulary.symbols and one.special == other.special


def _shares_a_table(model: Model) -> bool:
    """Whether a table is of the source's symbols and of the target's."""
    ids = {
        side: {id(item) for one, item in model.vocabulary_tensors.values() if one == side} for side in _SIDES
    }
    return bool(ids["source"] & ids["target"])


def _check_shared(match: SymbolMatch, side: str, path: Path, data: Path, anew: str) -> None:
    """CheckpointError where a side shares next to no symbols with a checkpoint; anew: what may be drawn anew."""
    if match.num_shared < _LEAST_SHARED * match.num_ordinary:
        raise CheckpointError(
            f"{path}: has {match.num_shared:,} of the {counted(match.num_ordinary, f'{side} symbol')} of {data}, less "
            f"than 1 %, so that its rows are of no use; make the dataset with its vocabulary (s2s preprocess "
            f"--{side}-vocab-from {path}), or give --new-embeddings {anew} to draw them anew"
        )


def _say_how_many(matches: Mapping[str, SymbolMatch], sides: list[str], path: Path) -> None:
    """Say how many rows of each side begin with what."""
    one = len(sides) == len(_SIDES) and matches["source"] == matches["target"]
    for side in sides[:1] if one else sides:
        match = matches[side]
        new = match.num_ordinary - match.num_shared - len(match.spelled)
        notice(
            f"{'both sides' if one else side}: of {counted(match.num_ordinary, 'symbol')} {match.num_shared:,} begin "
            f"with their rows of {path}, {len(match.spelled):,} with the mean of their pieces' rows there, {new:,} anew"
        )


def _weights(
    checkpoint: Checkpoint, path: Path, model: Model, matches: Mapping[str, SymbolMatch]
) -> dict[str, Tensor]:
    """The checkpoint's weights, those with a row for each symbol by the model's vocabularies.

    What is tied in the checkpoint and not in the model is taken for each by itself. What is tied in the model and not
    in the checkpoint has the target's rows, and those of the source for symbols that only it has.
    """
    theirs = model_outline(checkpoint, path)
    names = {id(item): name for name, item in theirs.named_parameters()}
    tensors = {
        use: checkpoint.weights.get(names[id(item)], item)
        for use, (_, item) in theirs.vocabulary_tensors.items()
    }
    weights = dict(checkpoint.weights)
    for _, item in theirs.vocabulary_tensors.values():
        weights.pop(names[id(item)], None)
    own_names = {id(item): name for name, item in model.named_parameters()}
    fresh = {
        own_names[id(item)]: whole(item.detach()).cpu().clone()
        for _, item in model.vocabulary_tensors.values()
    }
    # The source's come first, so that the target's come over them; and those of the same symbol over all.
    uses = sorted(model.vocabulary_tensors.items(), key=lambda entry: entry[1][0] == "target")
    for step in (_copy_spelled, _copy_same):
        for use, (side, item) in uses:
            rows = fresh[own_names[id(item)]]
            if use in tensors and tensors[use].shape[1:] == rows.shape[1:]:
                step(rows, tensors[use], matches[side])
    for side, table in model.embeddings.items():
        if table.padding_idx is not None and side in matches:
            fresh[own_names[id(table.weight)]][table.padding_idx] = 0
    for use, (_, item) in model.vocabulary_tensors.items():
        if use in tensors:
            name = own_names[id(item)]
            has_width = tensors[use].shape[1:] == fresh[name].shape[1:]
            # What is of another width is refused where weights are loaded.
            weights[name] = fresh[name] if has_width else tensors[use]
    return weights


def _copy_same(rows: Tensor, theirs: Tensor, match: SymbolMatch) -> None:
    """Give symbols that both have their rows, and a blank, which comes after all symbols, its own."""
    same = list(match.same.items())
    if len(rows) > match.size:
        same.append((match.size, len(theirs) - 1))
    if same:
        own, there = (torch.tensor(numbers) for numbers in zip(*same, strict=True))
        rows[own] = theirs.cpu()[there].to(rows.dtype)


def _copy_spelled(rows: Tensor, theirs: Tensor, match: SymbolMatch) -> None:
    """Give symbols that are spelled the mean of their pieces' rows."""
    for number, pieces in match.spelled.items():
        rows[number] = theirs[list(pieces)].float().mean(0).to(rows.dtype)
