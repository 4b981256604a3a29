"""Building a run from its settings: what it reads, what it trains, what validates it and who follows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from s2scli.checkpoint_file import SIDES
from s2scli.configs.sampling import SamplingConfig
from s2scli.configs.search import SearchConfig
from s2scli.configs.train import TrainConfig
from s2scli.data.batching import BatchPlan, plan_batches
from s2scli.data.dataset import Dataset, ReadOptions
from s2scli.data.facts import ModelColumns
from s2scli.data.loader import Loader
from s2scli.data.mixture import Mixture, mix, read_weights
from s2scli.data.sentences import Sentences, start_worker
from s2scli.data.shortlist import Shortlist
from s2scli.data.source_form import SourceForm
from s2scli.data.split import Split
from s2scli.errors import DataError, UsageError
from s2scli.inference.torch_engine import TorchEngine
from s2scli.inference.translator import Translator
from s2scli.models.adapters import attach, is_of_adapter
from s2scli.models.base import Model
from s2scli.models.factory import build_model, persistent_buffers, unique_parameters
from s2scli.nn.initial import inner_matrices
from s2scli.nn.kernels.products import resolve_library
from s2scli.nn.linear import NormalizedLinear
from s2scli.nn.recomputing import recompute_blocks
from s2scli.nn.runtime import compile_blocks, resolve_precision
from s2scli.optim.optimizers import build_optimizer
from s2scli.optim.schedules import build_schedule
from s2scli.schema import as_dict
from s2scli.text.tokenizer import Tokenizer
from s2scli.training.average import WeightAverage
from s2scli.training.budget import largest_budget
from s2scli.training.consolidation import Consolidation
from s2scli.training.distributed import Processes, replicate, shard
from s2scli.training.ending import Patience
from s2scli.training.log import Log
from s2scli.training.memory import TrainingMemory
from s2scli.training.objectives.base import Objective, build_objective
from s2scli.training.observers import Observer, Observers
from s2scli.training.precision import LossScale
from s2scli.training.reading import read_options
from s2scli.training.resume import saved_choices, starting_point
from s2scli.training.run import Learner, Run, RunData, ValidationSplit
from s2scli.training.signals import StopSignals
from s2scli.training.starting import first_weights
from s2scli.training.state import is_of_objective, trained_parameters
from s2scli.training.step import Updater
from s2scli.training.tensorboard import TensorBoard
from s2scli.training.weights_and_biases import WeightsAndBiases
from s2scli.workers import Workers


def make_run(
    config: TrainConfig, processes: Processes, signals: StopSignals, observers: Sequence[Observer] = ()
) -> Run:
    """A run that stands at its beginning, with everything settled that the config left open.

    observers: those that follow it beside its own.
    """
    dataset = Dataset.open(config.data)
    if config.verify and processes.is_first:
        dataset.verify()
    options = read_options(config, dataset)
    train_split = dataset.split("train", options)
    if len(train_split) == 0:
        raise DataError(f"{config.data}: the training split is empty")
    tokenizers = {side: dataset.tokenizer(side) for side in train_split.text_columns}
    valid_splits = _valid_splits(config, dataset, options)
    config = _settle(config, tokenizers, processes)
    loader = _loader(config, dataset, options, processes)
    sampling = config.sampling
    mixture = mix(train_split.corpora, read_weights(sampling.corpus_weights), sampling.corpus_temperature)
    columns = ModelColumns.of(tokenizers, dataset.features if config.model.reads_source else None)
    objective = _objective(config, dataset, tokenizers, columns).to(processes.device)
    _choose_what_is_trained(config, objective)
    config = _with_budget(config, objective, train_split, processes)
    learner = _learner(config, objective, processes)
    return Run(
        config=config,
        processes=processes,
        signals=signals,
        data=RunData(
            dataset=dataset,
            train_split=train_split,
            train_plan=_train_plan(config, train_split, mixture),
            loader=loader,
            validated_on=[_validation(config, dataset, split, options) for split in valid_splits],
        ),
        learner=learner,
        translator=_translator(
            config, dataset, objective.model, tokenizers, processes.device, _search(config, train_split)
        ),
        observers=_observers(config, processes, observers),
        shortlist=Shortlist.of(dataset.shortlist(), tokenizers["target"].special.count),
    )


def _loader(config: TrainConfig, dataset: Dataset, options: ReadOptions, processes: Processes) -> Loader:
    """What reads the batches of training, here or in --num-workers processes."""
    config.noise.check_text(config.data, of_one_language=dataset.is_of_one_language)
    arguments = "train", config.sampling, config.seed, options, config.noise
    number = config.num_workers
    return Loader(
        Sentences.of(dataset, *arguments),
        pin=processes.device.type == "cuda",
        workers=Workers(number, start_worker, config.data, *arguments) if number else None,
    )


def _objective(
    config: TrainConfig, dataset: Dataset, tokenizers: Mapping[str, Tokenizer], columns: ModelColumns
) -> Objective:
    """The objective with a model whose weights are drawn anew, as the seed says, where no checkpoint gives them."""
    torch.manual_seed(config.seed)
    model = build_model(config.model, columns, config.objective.heads)
    if config.adapter.tunes:
        attach(model, config.adapter)
    if starting_point(config) is None:
        first_weights(config, model, tokenizers, dataset.features)
    return build_objective(
        config.objective, model, tokenizers, config.data, right_to_left=config.right_to_left
    )


def _with_budget(
    config: TrainConfig, objective: Objective, split: Split, processes: Processes
) -> TrainConfig:
    """The config with the batches' budget in tokens as a number, found by trying where it says auto."""
    if config.max_tokens != "auto":
        return config
    freq = config.update_freq
    budget = largest_budget(
        TrainingMemory(
            objective, split, processes, precision=config.precision, holds_weights=config.ewc_weight > 0
        ),
        split,
        processes,
        batch_size=config.batch_size,
        update_freq=max(freq) if isinstance(freq, tuple) else freq,
    )
    return replace(config, max_tokens=budget)


def _max_tokens(config: TrainConfig) -> int:
    """The batches' budget in tokens, once it is settled."""
    assert config.max_tokens != "auto"
    return config.max_tokens


def _train_plan(config: TrainConfig, split: Split, mixture: Mixture | None) -> BatchPlan:
    """The batches of training."""
    return plan_batches(
        split,
        max_tokens=_max_tokens(config),
        batch_size=config.batch_size,
        seed=config.seed,
        curriculum=config.sampling.curriculum,
        mixture=mixture,
    )


def _validation(config: TrainConfig, dataset: Dataset, split: Split, options: ReadOptions) -> ValidationSplit:
    """A split to validate on with its batches, which have room for any sentence."""
    plan = plan_batches(
        split,
        max_tokens=_max_tokens(config),
        batch_size=config.batch_size,
        seed=config.seed,
        stretch=True,
    )
    loader = Loader(Sentences.of(dataset, split.name, SamplingConfig(), config.seed, options, config.noise))
    return ValidationSplit(split, plan, loader if loader.samples else None)


def _learner(config: TrainConfig, objective: Objective, processes: Processes) -> Learner:
    """The objective with what trains it."""
    updater = _updater(config, objective, processes)
    tunes, parameters = config.adapter.tunes, trained_parameters(objective)
    averaged = unique_parameters(objective.model)
    if tunes:
        averaged = {name: item for name, item in averaged.items() if is_of_adapter(name)}
        parameters = {name: item for name, item in parameters.items() if not _is_of_base(name)}
    average = WeightAverage(averaged, config.ema_decay) if config.ema_decay else None
    return Learner(
        objective=objective,
        parameters=parameters,
        buffers={} if tunes else persistent_buffers(objective.model),
        updater=updater,
        schedule=build_schedule(config.lr_scheduler, config.optimizer.lr),
        average=average,
    )


def _translator(
    config: TrainConfig,
    dataset: Dataset,
    model: Model,
    tokenizers: Mapping[str, Tokenizer],
    device: torch.device,
    search: SearchConfig,
) -> Translator:
    """What translates validation data."""
    return Translator(
        engine=TorchEngine(model, device),
        tokenizers=tokenizers,
        limits=_limits(config, dataset),
        form=dataset.source_form if config.model.reads_source else SourceForm(),
        features=dataset.features if config.model.reads_source else None,
        right_to_left=config.right_to_left,
        search=search,
        batch_size=128,
        max_tokens=_max_tokens(config),
    )


def _search(config: TrainConfig, train_split: Split) -> SearchConfig:
    """The search by which validation translates.

    A model that has learned little yet does not end its outputs, and of frames there are many batches of few examples:
    from frames an output has at most twice the tokens of training's longest target, and ten.
    """
    plain = SearchConfig(beam=config.eval_beam)
    if not config.model.reads_source or train_split.features("source") is None:
        return plain
    return replace(plain, max_len_b=min(plain.max_len_b, 2 * train_split.longest("target") + 10))


def _observers(config: TrainConfig, processes: Processes, others: Sequence[Observer]) -> Observers:
    """The run's own observers, and others."""
    own: list[Observer] = [Log(config.save_dir)]
    if config.tensorboard:
        own.append(TensorBoard(config.save_dir / "tensorboard"))
    if config.wandb_project and processes.is_first:
        own.append(WeightsAndBiases(config.wandb_project, config.save_dir, as_dict(config)))
    return Observers([*own, Patience(config.patience), *others], processes.first_of)


def _valid_splits(config: TrainConfig, dataset: Dataset, options: ReadOptions) -> list[Split]:
    """The splits to validate on; DataError where the dataset lacks one that was asked for."""
    if config.disable_validation or (config.valid_subset == ("valid",) and "valid" not in dataset.splits):
        return []
    return [dataset.split(name, options) for name in config.valid_subset]


def _limits(config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    """The limits of the text that the model is trained on, which it gets to generate from too."""
    limits, longest = dict(dataset.meta["limits"]), config.max_source_length
    if longest and longest < (limits["max_source_length"] or longest + 1):
        limits |= {"max_source_length": longest, "on_long": "truncate"}
    return limits


def _settle(config: TrainConfig, tokenizers: Mapping[str, Tokenizer], processes: Processes) -> TrainConfig:
    """Decide what the config leaves open until the device and the vocabularies are known."""
    config = saved_choices(config)
    config = replace(
        config,
        precision=resolve_precision(config.precision, processes.device),
        matrix_products=resolve_library(config.matrix_products, processes.device),
    )
    if processes.kind == "fsdp":
        config.optimizer.check_sharded()
        config.model.check_sharded()
    fingerprints = [tokenizers[side].vocabulary.fingerprint for side in SIDES if side in tokenizers]
    one_vocabulary = len(fingerprints) == len(SIDES) and len({*fingerprints}) == 1
    return replace(config, model=config.model.settled(one_vocabulary=one_vocabulary))


def _matrices(objective: Objective, trained: Iterable[nn.Parameter]) -> dict[nn.Parameter, int]:
    """Which of the trained parameters are weights between layers, and how many matrices each of them is made of."""
    chosen = {*trained}
    return {
        weight: blocks
        for module, weights, blocks in inner_matrices(objective)
        # Of a weight whose lengths are apart only the direction counts.
        if not isinstance(module, NormalizedLinear)
        for weight in weights
        # One row is a vector.
        if weight in chosen and len(weight) > blocks
    }


def _updater(config: TrainConfig, objective: Objective, processes: Processes) -> Updater:
    """Shard, compile and replicate the objective as the config says, and build the optimizer of what is trained."""
    if processes.kind == "fsdp":
        shard(objective, processes)
    if config.checkpoint_activations:
        recompute_blocks(objective.model.blocks())
    if config.compile:
        compile_blocks(objective.model.blocks())
    trained = {name: item for name, item in trained_parameters(objective).items() if item.requires_grad}
    return Updater(
        objective=objective,
        optimizer=build_optimizer(
            config.optimizer,
            list(trained.values()),
            _matrices(objective, trained.values()),
            products=torch.bfloat16 if config.precision == "bf16" else torch.float32,
        ),
        parameters=trained,
        processes=processes,
        replica=replicate(objective, processes, skips_layers=config.model.skips_layers)
        if processes.kind == "ddp"
        else None,
        precision=config.precision,
        state_precision=config.optimizer.state_precision,
        clip_norm=config.clip_norm,
        skips_layers=config.model.skips_layers,
        seed=config.seed,
        scale=LossScale.of(config.precision),
        consolidation=Consolidation(trained, config.ewc_weight) if config.ewc_weight else None,
    )


def _choose_what_is_trained(config: TrainConfig, objective: Objective) -> None:
    """Leave all but an adapter, where one is trained, and what is frozen, without gradients."""
    parameters = trained_parameters(objective, every_name=True)
    if config.adapter.tunes:
        for name, item in parameters.items():
            item.requires_grad = not _is_of_base(name)
    _freeze(parameters, config.freeze)


def _is_of_base(name: str) -> bool:
    """Whether a parameter is of the model that an adapter is beside, and neither of that nor the objective's own."""
    return not is_of_adapter(name) and not is_of_objective(name)


def _freeze(parameters: Mapping[str, nn.Parameter], patterns: tuple[str, ...]) -> None:
    """Leave the parameters that match a pattern, by one of their names, as they are."""
    for pattern in patterns:
        matching = [item for name, item in parameters.items() if fnmatchcase(name, pattern)]
        if not matching:
            examples = ", ".join(list(parameters)[:: max(1, len(parameters) // 3)][:3])
            raise UsageError(f"--freeze {pattern}: no parameter has such a name; names are like {examples}")
        for item in matching:
            item.requires_grad = False
    if not any(item.requires_grad for item in parameters.values()):
        raise UsageError(f"--freeze {' '.join(patterns)}: nothing is left to train; leave a pattern out")
