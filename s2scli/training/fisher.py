"""The Fisher information of a model's weights: how much the data that it was trained on needs each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from s2scli.checkpoint import first_not_finite
from s2scli.configs.objectives import LabelSmoothedCrossEntropyConfig
from s2scli.console import counted, counter, notice
from s2scli.data.batch import Batch
from s2scli.data.batching import load_batch
from s2scli.data.dataset import Dataset
from s2scli.data.split import Split
from s2scli.data.tokenizers import check_vocabularies
from s2scli.errors import DataError
from s2scli.features.form import FeatureForm
from s2scli.models.base import Model
from s2scli.nn.sharded import whole
from s2scli.training.consolidation import Consolidation
from s2scli.training.distributed import through
from s2scli.training.objectives.base import Loss
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy
from s2scli.training.reading import read_options
from s2scli.training.run import Run


def hold_weights(run: Run, consolidation: Consolidation) -> None:
    """Hold the weights that a run begins with to what they are, as far as the data of --ewc-data needs them.

    Raises CheckpointError where that has other vocabularies, and DataError where it has no pairs, or where the Fisher
    information is not finite.
    """
    config, data = run.config, run.config.ewc_data
    assert data is not None
    dataset = Dataset.open(data)
    split = dataset.split("train", read_options(config, dataset))
    if len(split) == 0:
        raise DataError(f"--ewc-data {data}: the training split is empty")
    FeatureForm.check(Dataset.open(config.data).features, dataset.features, config.data, data)
    tokenizers = {side: dataset.tokenizer(side) for side in split.text_columns}
    remedy = (
        f"make the dataset with the vocabulary that is trained: s2s preprocess --vocab-from {config.data}"
    )
    check_vocabularies(run.translator.tokenizers, config.data, tokenizers, data, remedy)
    parameters = dict(run.learner.updater.parameters)
    root = run.learner.updater.objective if run.processes.kind == "fsdp" else None
    fisher = fisher_information(run.learner.model, parameters, split, config.ewc_sentences, root)
    # One at a time, as each is whole for this.
    for broken in (name for name, item in fisher.items() if first_not_finite({name: whole(item)})):
        raise DataError(
            f"--ewc-data {data}: the Fisher information of {broken} is not finite, as the model's probabilities of "
            "these pairs are not; give data that it was trained on"
        )
    consolidation.begin(fisher)
    number = min(config.ewc_sentences, len(split))
    notice(f"{data}: the Fisher information of the weights, of {counted(number, 'pair')}")


def fisher_information(
    model: Model,
    parameters: Mapping[str, nn.Parameter],
    split: Split,
    number: int,
    sharded: nn.Module | None = None,
) -> dict[str, Tensor]:
    """The diagonal of the Fisher information of parameters, as some pairs of a split tell it, by the targets they have.

    F_i = Σ_s (∂ log p(target_s | source_s) / ∂θ_i)² / T over pairs s, evenly spaced, T being the number of their target
    tokens: that of a mean over tokens, as the loss is. Without dropout.

    sharded: the module that FSDP shards the model by, where it does. Then all processes pass the same pairs through it,
    whose mean gradient is that of each, and each process has the information of its shards.
    """
    objective = LabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyConfig(label_smoothing=0.0), model)
    rows = np.unique(np.linspace(0, len(split) - 1, num=min(number, len(split))).round().astype(np.int64))
    sums = {name: torch.zeros_like(item) for name, item in parameters.items()}
    device, tokens, was_training = next(iter(parameters.values())).device, 0, model.training
    loss_of: Callable[[Batch], Loss] = partial(objective, update=0)
    if sharded is not None:
        loss_of = through(sharded, loss_of)
    objective.eval()
    # cuDNN's recurrent layers have no backward pass in evaluation.
    with torch.backends.cudnn.flags(enabled=False), counter("Fisher information", total=len(rows)) as count:
        for row in rows:
            model.zero_grad(set_to_none=True)
            loss = loss_of(load_batch(split, np.array([row])).to(device))
            loss.loss.backward()
            tokens += loss.tokens
            for name, item in parameters.items():
                if item.grad is not None:
                    sums[name].addcmul_(item.grad, item.grad)
            count(1)
    model.zero_grad(set_to_none=True)
    model.train(was_training)
    return {name: item / tokens for name, item in sums.items()}
