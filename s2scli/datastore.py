"""`s2s datastore`: the states that a model has before each target token of some pairs, to find near ones in later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from s2scli.checkpoint import fingerprint_of, load_checkpoint, restore_config, restore_model
from s2scli.checkpoint_file import find_checkpoint
from s2scli.configs.datastore import DatastoreConfig
from s2scli.console import counted, counter, notice
from s2scli.data.batching import load_batch, plan_batches
from s2scli.data.dataset import Dataset
from s2scli.data.datastore import write_datastore
from s2scli.data.tokenizers import check_vocabularies
from s2scli.errors import DataError, UsageError
from s2scli.features.form import FeatureForm
from s2scli.files import keep_inputs
from s2scli.needs import note_needs
from s2scli.nn.runtime import prepare
from s2scli.training.reading import read_options


@dataclass(frozen=True, kw_only=True)
class DatastoreResult:
    """The file, and how many states of how many numbers it has."""

    output: Path
    num_states: int
    width: int


def datastore(config: DatastoreConfig) -> DatastoreResult:
    """Read the pairs of a dataset with a model, by teacher forcing, and write a state for each target token.

    End symbols count. Raises UsageError for a model that copies, CheckpointError where the dataset has other
    vocabularies, and DataError for a split without pairs.
    """
    note_needs(config)
    path = find_checkpoint(config.path)
    keep_inputs("--output", config.output, [path])
    checkpoint = load_checkpoint(path)
    trained = restore_config(checkpoint)
    if trained.model.copies:
        raise UsageError(f"{path}: copies words of the source, which a datastore would not know")
    dataset = Dataset.open(config.data)
    split = dataset.split(config.gen_subset, read_options(trained, dataset))
    if len(split) == 0:
        raise DataError(f"{config.data}: the split {config.gen_subset} is empty")
    FeatureForm.check(FeatureForm.of_source(checkpoint.dataset), dataset.features, path, config.data)
    tokenizers = {side: dataset.tokenizer(side) for side in split.text_columns}
    remedy = f"make the dataset with the model's own vocabulary: s2s preprocess --vocab-from {config.path}"
    check_vocabularies(checkpoint.tokenizers, path, tokenizers, config.data, remedy)
    device = prepare(config.device, config.threads)
    model = restore_model(checkpoint, path).to(device)
    # What the output layer reads is as wide as its weight.
    width = model.output.weight.size(1)
    size = int(split.lengths("target").sum()) + len(split)
    plan = plan_batches(split, max_tokens=config.max_tokens, batch_size=0, seed=1, stretch=True)
    with (
        write_datastore(
            config.output.resolve(),
            size=size,
            width=width,
            dtype=config.dtype,
            fingerprint=fingerprint_of(checkpoint.weights),
        ) as writer,
        counter("states", unit="tokens", total=size) as count,
        torch.inference_mode(),
    ):
        for rows in plan.in_order():
            batch = load_batch(split, rows).to(device)
            assert batch.target is not None
            mask = batch.target.mask
            states = model(batch)[mask].float().cpu().numpy()  # [n, D]
            writer.append(states, batch.target.ids[mask].cpu().numpy().astype(np.int32))
            count(len(states))
    notice(
        f"{config.output}: {counted(size, 'state')} of {width} numbers, of {counted(len(split), 'pair')}; use it with "
        f"s2s generate --path {config.path} --datastore {config.output}"
    )
    return DatastoreResult(output=config.output, num_states=size, width=width)
