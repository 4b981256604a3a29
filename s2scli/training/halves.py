"""Beginning a Transformer's encoder or decoder with the half of another model (Rothe et al. 2020)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from s2scli.checkpoint import Checkpoint, check_finite, load_checkpoint, restore_config
from s2scli.checkpoint_file import find_checkpoint
from s2scli.components import FOREIGN_FAMILIES
from s2scli.configs.importing import ImportConfig
from s2scli.configs.train import TrainConfig
from s2scli.console import counted, notice
from s2scli.data.tokenizers import check_vocabularies
from s2scli.errors import CheckpointError, UsageError
from s2scli.features.form import FeatureForm
from s2scli.foreign.base import ForeignFamily
from s2scli.foreign.conversion import converted, recognized
from s2scli.foreign.folder import is_transformers_folder
from s2scli.foreign.source import ForeignSource
from s2scli.models.base import Model
from s2scli.text.tokenizer import Tokenizer
from s2scli.training.half_settings import HalfSettings, all_settings, check_settings

_TEXT_OF = {"encoder": "source", "decoder": "target"}
# What only a decoder has that attends to an encoder.
_CROSS = "cross_attention"
# What a decoder has beside its layers under names that do not begin with its own.
_ENDS = ("output.", "gate.")
_TABLE = "embedder.table.weight"
_LAYER = re.compile(r"^layers\.(\d+)\.")


@dataclass(frozen=True, kw_only=True)
class Half(HalfSettings):
    """A half of another model, with its settings.

    tokenizer: that of what it reads; None where that is frames, made as `features` says.
    weights: by their names without that of the side; the output layer's, which the decoders of encoder-decoders and
    language models have, keep theirs.
    """

    tokenizer: Tokenizer | None
    weights: Mapping[str, Tensor]
    features: FeatureForm | None = None


def load_halves(
    config: TrainConfig,
    model: Model,
    tokenizers: Mapping[str, Tokenizer],
    features: FeatureForm | None = None,
) -> None:
    """Give the halves of a fresh model the weights that --init-encoder and --init-decoder name, and say which.

    tokenizers: those of the dataset, by side; features: how the frames of its sources are made, if they are frames.
    Raises UsageError where the model has no such half or other settings,
    and CheckpointError where what is named has none, is broken, or is of another vocabulary.
    """
    given = {"encoder": config.init_encoder, "decoder": config.init_decoder}
    paths = {side: path for side, path in given.items() if path is not None}
    for side, path in paths.items():
        if side not in config.model.halves:
            raise UsageError(
                f"--init-{side} {path}: begins a Transformer's {side}, and --arch {config.arch} has none; leave it out"
            )
    halves = [_read(path, side) for side, path in paths.items()]
    for half in halves:
        text = _TEXT_OF[half.side]
        if half.side == "encoder" and (half.features or features):
            _check_features(half, features, config.data)
            continue
        assert half.tokenizer is not None
        own = "what s2s import makes of it" if is_transformers_folder(half.path) else half.path
        remedy = f"make the dataset with the model's own vocabulary: s2s preprocess --{text}-vocab-from {own}"
        check_vocabularies({text: half.tokenizer}, half.path, tokenizers, config.data, remedy)
    check_settings(halves, config.model)
    _check_one_table(halves, model)
    for half in halves:
        _load(half, model)


def _check_features(half: Half, features: FeatureForm | None, data: Path) -> None:
    """CheckpointError where an encoder has read other sources than those of a dataset, or frames made otherwise."""
    if half.features is None or features is None:
        theirs, ours = ("text" if form is None else "frames" for form in (half.features, features))
        raise CheckpointError(
            f"{half.path}: its encoder reads {theirs}, and the sources of {data} are {ours}"
        )
    changed = [
        f"{name} = {before!r} there, {now!r} in {data}"
        for name, (before, now) in half.features.differences(features).items()
        # They are those of the data.
        if name not in ("mean", "deviation")
    ]
    if changed:
        raise CheckpointError(
            f"{half.path}: its encoder has learned from other frames: {', '.join(changed)}; make the dataset as that "
            "of the model was made"
        )


def _read(path: Path, side: str) -> Half:
    """The half of a model that a side is to begin with."""
    checkpoint, file = _checkpoint(path)
    config = restore_config(checkpoint).model
    if not config.halves:
        raise CheckpointError(f"{path}: is of the family {config.name}; wanted: a Transformer")
    has = [half for half in config.halves if any(name.startswith(f"{half}_") for name in checkpoint.weights)]
    if side == "encoder" and "encoder" not in has:
        raise CheckpointError(f"{path}: is a language model and has no encoder; --init-decoder takes it")
    # An encoder alone begins a decoder too.
    taken = side if side in has else has[0]
    check_finite(checkpoint.weights, file)
    weights = {
        name.removeprefix(f"{taken}_"): tensor
        for name, tensor in checkpoint.weights.items()
        if name.startswith(f"{taken}_")
    }
    if taken == "decoder":
        weights |= {name: item for name, item in checkpoint.weights.items() if name.startswith(_ENDS)}
        # One table of all embeddings has the encoder's name.
        if f"encoder_{_TABLE}" in checkpoint.weights:
            weights.setdefault(_TABLE, checkpoint.weights[f"encoder_{_TABLE}"])
    return Half(
        side=side,
        taken=taken,
        path=path,
        model=all_settings(config),
        tokenizer=checkpoint.tokenizers.get(_TEXT_OF[taken]),
        features=FeatureForm.of_source(checkpoint.dataset) if taken == "encoder" else None,
        weights=weights,
    )


def _checkpoint(path: Path) -> tuple[Checkpoint, Path]:
    """What a checkpoint of ours holds, or what would be made of a folder of transformers; and where its weights are."""
    if not is_transformers_folder(path):
        file = find_checkpoint(path)
        return load_checkpoint(file), file
    source = ForeignSource(path)
    family: type[ForeignFamily] = FOREIGN_FAMILIES[recognized(source)]
    return converted(family.read(source, ImportConfig(source=path, save_dir=path))), path


def _check_one_table(halves: list[Half], model: Model) -> None:
    """UsageError where two halves with different embeddings are to begin one table."""
    tables = model.embeddings
    if len(halves) < len(_TEXT_OF) or tables.get("source") is not tables["target"]:
        return
    one, other = (half.weights[_TABLE] for half in halves)
    if not torch.equal(one, other):
        raise UsageError(
            f"{halves[0].flag} {halves[1].flag}: their embeddings differ, and both sides have one table here; give "
            "--no-share-all-embeddings"
        )


def _load(half: Half, model: Model) -> None:
    """Copy a half's weights into the model; CheckpointError names what is missing or of another shape.

    What a decoder has only beside an encoder stays as it was drawn where the half has none, or one for encoder states
    of another width.
    """
    own = dict(model.state_dict(keep_vars=True))
    had, taken = half.model[f"{half.taken}_layers"], len(getattr(model, f"{half.side}_layers"))
    chosen = spaced_layers(had, taken)
    names = {
        name: _LAYER.sub(lambda found: f"layers.{chosen[int(found[1])]}.", name.removeprefix(f"{half.side}_"))
        for name in own
        if name.startswith(f"{half.side}_")
    }
    if half.side == "decoder":
        # Where the output layer is tied, its weight is the table, whatever the half has.
        tied = own["output.weight"] is own[f"decoder_{_TABLE}"]
        ends = [name for name in own if name.startswith(_ENDS)]
        names |= {name: name for name in ends if not (tied and name == "output.weight")}
    fitting = {name for name, theirs in names.items() if _shape(half.weights.get(theirs)) == own[name].shape}
    cross = {name for name in names if _CROSS in name}
    drawn = {name for name in names if name.startswith(_ENDS) and name not in fitting}
    if not cross <= fitting:
        drawn |= cross
    with torch.no_grad():
        for name, theirs in names.items():
            if name in drawn:
                continue
            if name not in fitting:
                found = _shape(half.weights.get(theirs))
                raise CheckpointError(
                    f"{half.path}: the {half.side} wants {name} of shape {tuple(own[name].shape)}, and there is "
                    f"{'none' if found is None else f'one of {tuple(found)}'}"
                )
            own[name].copy_(half.weights[theirs])
    patterns = dict.fromkeys(
        re.sub(rf"\.\d+\.{_CROSS}.*", f".*.{_CROSS}*", name) for name in names if name in drawn
    )
    some = "" if taken == had else f"layers {', '.join(map(str, chosen))} of {had}, "
    some += counted(len(names) - len(drawn), "tensor")
    notice(
        f"{half.side}: begins with the {half.taken} of {half.path}, {some}; "
        + (f"drawn anew: {', '.join(patterns)}" if drawn else "nothing of it is drawn anew")
    )


def spaced_layers(had: int, taken: int) -> list[int]:
    """Which of the layers of a stack a lower one begins with, from 0: at even distances, from the first to the last.

    So it is done by Shleifer and Rush (2020) to distil summarizers. One layer begins with the first.
    """
    return [round(number * (had - 1) / max(taken - 1, 1)) for number in range(taken)]


def _shape(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape
