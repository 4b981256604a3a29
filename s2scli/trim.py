"""`s2s trim`: a checkpoint without the rows of symbols that a corpus never uses, and without the lightest units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from s2scli.checkpoint import Checkpoint, check_finite, load_checkpoint, model_outline, save_checkpoint
from s2scli.checkpoint_file import find_checkpoint
from s2scli.configs.trim import TrimConfig
from s2scli.console import counted, notice
from s2scli.data.dataset import Dataset
from s2scli.data.shortlist import Shortlist
from s2scli.errors import UsageError
from s2scli.files import keep_inputs
from s2scli.io import read_lines
from s2scli.models.base import Model
from s2scli.models.narrower import feed_forwards, with_fewer_units
from s2scli.needs import note_needs
from s2scli.text.sameness import difference
from s2scli.text.tokenizer import Tokenizer
from s2scli.training.epochs import check_output

# Lines that are encoded, and ids that are counted, at once.
_LINES, _IDS = 1 << 12, 1 << 20

Used = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class TrimResult:
    """The checkpoint that was written, and by side how many symbols its vocabulary has and how many it had.

    Of a side where nothing says which symbols stay, the two are the same.
    """

    output: Path
    symbols: Mapping[str, tuple[int, int]]


def trim(config: TrimConfig) -> TrimResult:
    """Write a checkpoint whose vocabularies have only the symbols that a text uses, and what is needed beside them.

    Feed-forward layers keep the units that weigh most, as many as the settings say, see models/narrower.py.
    Special symbols, symbols that are kept whole, and single characters and bytes by which the rest of that text's words
    can be spelled, stay. The scores of the symbols that stay are what they were, before they become probabilities.
    Raises UsageError where nothing says what of a side stays, where a text has nothing for it, where there are no more
    units than are to stay, and where the output would replace an input or a run's own checkpoint.
    """
    note_needs(config)
    keep_inputs(
        "--output", config.output, [config.path, *config.keep, *config.keep_source, *config.keep_target]
    )
    check_output(config.output)
    path = find_checkpoint(config.path)
    keep_inputs("--output", config.output, [path])
    checkpoint = load_checkpoint(path)
    check_finite(checkpoint.weights, path)
    model = model_outline(checkpoint, path)
    if config.trims_symbols:
        trimmed = _trimmed(checkpoint, model, _kept(config, checkpoint, model, path))
    else:
        trimmed = checkpoint
    for side, units in config.units.items():
        if units:
            trimmed = _narrowed(trimmed, model, side, units, path)
    save_checkpoint(config.output.resolve(), trimmed)
    symbols = {side: (len(trimmed.tokenizers[side]), len(own)) for side, own in checkpoint.tokenizers.items()}
    sizes = " and ".join(
        f"{now:,} of {counted(before, f'{side} symbol')}" for side, (now, before) in symbols.items()
    )
    now, before = (sum(item.numel() for item in one.weights.values()) for one in (trimmed, checkpoint))
    notice(f"{config.output}: {path} with {sizes}, {now:,} of {counted(before, 'parameter')}")
    return TrimResult(output=config.output, symbols=symbols)


def _kept(config: TrimConfig, checkpoint: Checkpoint, model: Model, path: Path) -> dict[str, list[int]]:
    """The ids that stay of each side, in order; those of both where the sides have one table."""
    tokenizers = checkpoint.tokenizers
    for side, texts in config.texts.items():
        if texts and side not in tokenizers:
            raise UsageError(f"--keep-{side} {texts[0]}: {path} has no {side} vocabulary; leave it out")
    used = {side: np.zeros(len(tokenizers[side]), np.bool_) for side in tokenizers}
    for item in config.keep:
        if item.is_dir():
            _mark_dataset(used, item, tokenizers)
        else:
            for side, tokenizer in tokenizers.items():
                _mark_lines(used[side], read_lines(item), tokenizer)
    for side, texts in config.texts.items():
        for item in texts:
            _mark_lines(used[side], read_lines(item), tokenizers[side])
    tables = {id(table.weight) for table in model.embeddings.values()}
    has_one_table = len(tables) < len(model.embeddings)
    for side in used:
        if used[side].any():
            continue
        if config.keep or has_one_table:
            flag = f"--keep-{side} with text of that side"
            raise UsageError(
                f"nothing says which symbols of the {side} side of {path} are to stay; give {flag}"
            )
        used[side][:] = True
    kept = {side: _with_needed(used[side], tokenizer) for side, tokenizer in tokenizers.items()}
    if has_one_table:
        both = sorted({number for numbers in kept.values() for number in numbers})
        return dict.fromkeys(kept, both)
    return kept


def _with_needed(used: Used, tokenizer: Tokenizer) -> list[int]:
    """The ids that are used, with the special symbols and what spells the text of the used ones."""
    numbers = np.flatnonzero(used).tolist()
    return sorted({*range(tokenizer.special.count), *numbers, *tokenizer.needed_beside(numbers)})


def _mark_dataset(used: Mapping[str, Used], folder: Path, tokenizers: Mapping[str, Tokenizer]) -> None:
    """Mark what the text of a dataset uses: by its ids, or where its vocabulary is another one by its text."""
    dataset = Dataset.open(folder)
    for side in dataset.sides:
        if side not in tokenizers:
            continue
        has_same_ids = not difference(dataset.tokenizer(side), tokenizers[side])
        for name in dataset.splits:
            split = dataset.split(name)
            if not has_same_ids:
                _mark_lines(used[side], split.texts(side), tokenizers[side])
                continue
            for _, _, columns in split.shards():
                for start in range(0, columns[side].num_values, _IDS):
                    used[side][columns[side].slice(start, start + _IDS)] = True


def _mark_lines(used: Used, lines: Iterable[str], tokenizer: Tokenizer) -> None:
    """Mark what lines of text use."""
    for ids in _encoded(lines, tokenizer):
        used[ids] = True


def _encoded(lines: Iterable[str], tokenizer: Tokenizer) -> Iterator[list[int]]:
    waiting = iter(lines)
    while some := list(islice(waiting, _LINES)):
        yield from tokenizer.encode_all(some)


def _trimmed(checkpoint: Checkpoint, model: Model, kept: Mapping[str, list[int]]) -> Checkpoint:
    """The checkpoint with the rows, and the symbols of its tokenizers, that stay."""
    names = {id(item): name for name, item in model.named_parameters()}
    weights: dict[str, Tensor] = dict(checkpoint.weights)
    for side, item in model.vocabulary_tensors.values():
        rows = checkpoint.weights[names[id(item)]]
        # A blank comes after all symbols.
        behind = range(len(checkpoint.tokenizers[side]), len(rows))
        weights[names[id(item)]] = rows[torch.tensor([*kept[side], *behind])]
    tokenizers = {
        side: tokenizer.with_symbols(kept[side]) for side, tokenizer in checkpoint.tokenizers.items()
    }
    fingerprints = {side: tokenizer.fingerprint for side, tokenizer in tokenizers.items()}
    return replace(
        checkpoint,
        weights=weights,
        tokenizers=tokenizers,
        dataset={**checkpoint.dataset, "vocabularies": fingerprints},
        shortlist=_of_shortlist(checkpoint.shortlist, kept),
    )


def _narrowed(checkpoint: Checkpoint, model: Model, side: str, units: int, path: Path) -> Checkpoint:
    """The checkpoint with so many units in each feed-forward layer of the encoder or the decoder."""
    key = f"{side}_ffn_embed_dim"
    flag = f"--{key.replace('_', '-')} {units}"
    layers = feed_forwards(model, side)
    if not layers:
        raise UsageError(f"{flag}: the {side} of {path} has no feed-forward layers")
    settings = checkpoint.config["model"]
    if units >= (has := min(layer.outer.in_features for layer in layers.values())):
        raise UsageError(f"{flag}: those of {path} have {counted(has, 'unit')}; give fewer")
    weights = dict(checkpoint.weights)
    for name in layers:
        weights |= with_fewer_units(weights, f"{name}.", units)
    return replace(
        checkpoint, weights=weights, config={**checkpoint.config, "model": {**settings, key: units}}
    )


def _of_shortlist(table: Shortlist | None, kept: Mapping[str, list[int]]) -> Shortlist | None:
    """The table of translations of the symbols that stay."""
    if table is None:
        return None
    source, target = (torch.tensor(kept[side]) for side in ("source", "target"))
    # The last entry is that of -1, where there is no translation.
    new = torch.full((len(table.frequent) + 1,), -1, dtype=torch.int32)
    new[target] = torch.arange(len(target), dtype=torch.int32)
    targets = new[table.targets[source].long()]
    best_first = (targets < 0).to(torch.uint8).argsort(dim=1, stable=True)
    frequent = new[table.frequent.long()]
    return Shortlist(targets.gather(1, best_first), frequent[frequent >= 0], table.num_special)
