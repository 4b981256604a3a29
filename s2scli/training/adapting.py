"""Training an adapter: the model beside it, which stays as it is, and is named by its fingerprint."""

from __future__ import annotations

from pathlib import Path

from s2scli.checkpoint import (
    Checkpoint,
    check_base,
    fingerprint_of,
    load_checkpoint,
    load_weights,
    restore_config,
)
from s2scli.checkpoint_file import find_checkpoint
from s2scli.configs.model import model_differences
from s2scli.console import notice
from s2scli.data.tokenizers import check_vocabularies
from s2scli.errors import CheckpointError
from s2scli.models.factory import heads_of, kept_tensors
from s2scli.schema import as_dict
from s2scli.training.run import Run


def load_base(run: Run) -> None:
    """Give a run's model the weights of the model that its adapter is for, and the run that model's fingerprint.

    Raises CheckpointError where that model is broken, or is not of the run's settings and vocabularies.
    """
    config = run.config
    assert config.finetune_from_model is not None
    path = find_checkpoint(config.finetune_from_model)
    checkpoint = load_checkpoint(path)
    remedy = (
        f"an adapter has no vocabulary of its own: make the dataset with s2s preprocess --vocab-from {path}"
    )
    check_vocabularies(checkpoint.tokenizers, path, run.translator.tokenizers, config.data, remedy)
    before, now = as_dict(restore_config(checkpoint).model), as_dict(config.model)
    for key in model_differences(before, now):
        raise CheckpointError(
            f"{path}: model.{key} = {before.get(key)!r} there, {now.get(key)!r} here, and an adapter leaves the model "
            "as it is; give the settings that it has there"
        )
    model = run.learner.model
    if missing := heads_of(kept_tensors(model)) - heads_of(checkpoint.weights):
        raise CheckpointError(
            f"{path}: has no {min(missing)} head, and an adapter leaves heads as they are; leave out what asks for one"
        )
    load_weights(model, checkpoint.weights, path)
    run.base = fingerprint_of(checkpoint.weights)
    notice(f"the weights of {path} ({run.base}) stay as they are, and the adapter is trained beside them")


def check_same_base(run: Run, checkpoint: Checkpoint, path: Path) -> None:
    """CheckpointError where a run that goes on has another model beside its adapter than before."""
    if run.base:
        check_base(checkpoint, path, run.base, str(run.config.finetune_from_model))
