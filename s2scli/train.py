"""`s2s train`: train a model on a dataset folder, or go on where the same command was stopped."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import nn

from s2scli.checkpoint import load_checkpoint, vocabulary_sizes
from s2scli.checkpoint_file import BEST, SIDES
from s2scli.components import METRICS
from s2scli.configs.search import SearchConfig
from s2scli.configs.train import TrainConfig
from s2scli.console import counted, notice
from s2scli.data.batching import plan_batches
from s2scli.data.dataset import Dataset, ReadOptions
from s2scli.data.loader import Loader
from s2scli.data.mixture import mix, read_weights
from s2scli.data.sentences import Sentences, start_worker
from s2scli.data.shortlist import Shortlist
from s2scli.data.source_form import SourceForm
from s2scli.data.split import Split
from s2scli.errors import DataError, UsageError
from s2scli.inference.torch_engine import TorchEngine
from s2scli.inference.translator import Translator
from s2scli.io import write_atomically
from s2scli.locks import locked
from s2scli.models.factory import build_model, unique_parameters
from s2scli.needs import note_needs
from s2scli.nn.recomputing import recompute_blocks
from s2scli.nn.runtime import be_deterministic, compile_blocks, prepare, resolve_precision
from s2scli.optim.optimizers import build_optimizer
from s2scli.optim.schedules import build_schedule
from s2scli.schema import as_dict, to_toml
from s2scli.text.tokenizer import Tokenizer
from s2scli.training.average import WeightAverage
from s2scli.training.budget import largest_budget
from s2scli.training.distributed import Processes, joined, replicate, shard
from s2scli.training.ending import ends
from s2scli.training.log import Log, duration
from s2scli.training.loop import run_training
from s2scli.training.objectives.base import Objective, build_objective
from s2scli.training.precision import LossScale
from s2scli.training.resume import begin, saved_choices, starting_point
from s2scli.training.run import Run, ValidationSplit
from s2scli.training.signals import StopSignals
from s2scli.training.starting import first_weights
from s2scli.training.state import saved_run, trained_parameters
from s2scli.training.step import Updater
from s2scli.training.warnings import warn_before_start
from s2scli.workers import Workers


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended: why, after how many updates, and the best validation figure."""

    save_dir: Path
    finished: str
    updates: int
    best: float | None
    seconds: float


def train(config: TrainConfig) -> TrainResult:
    """Train as the config says; if its save_dir holds a run, go on with that.

    Raises Interrupted when a signal stopped the run, which is saved then.
    """
    signals = StopSignals()
    if config.save_dir.exists() and not config.save_dir.is_dir():
        raise UsageError(f"--save-dir {config.save_dir}: is a file, not a folder")
    for name in {config.best_checkpoint_metric, *config.eval_metrics} & set(METRICS):
        METRICS[name]()  # what it needs is lacking now, and not after an epoch
    with signals.caught(), joined(prepare(config.device, config.threads), config.distributed) as processes:
        if config.deterministic:
            be_deterministic()
        guard = locked(
            config.save_dir,
            "wait for its end, give another --save-dir, or remove .lock if that machine is gone",
        )
        with guard if processes.is_first else nullcontext():
            return _train(config, processes, signals)


def _train(config: TrainConfig, processes: Processes, signals: StopSignals) -> TrainResult:
    """Train in one of the processes; the run is gone when this returns, before the processes part."""
    note_needs(config)
    run = make_run(config, processes, signals)
    begin(run)
    if processes.is_first:
        with write_atomically(config.save_dir / "config.toml") as temporary:
            temporary.write_text(to_toml(as_dict(run.config)), encoding="utf-8", errors="replace")
    _introduce(run)
    run_training(run)
    processes.wait()
    return _conclude(run)


def make_run(config: TrainConfig, processes: Processes, signals: StopSignals) -> Run:
    """A run that stands at its beginning, with everything settled that the config left open."""
    dataset = Dataset.open(config.data)
    if config.verify and processes.is_first:
        dataset.verify()
    reading = _reading(config, dataset)
    train_split = dataset.split("train", reading)
    if len(train_split) == 0:
        raise DataError(f"{config.data}: the training split is empty")
    tokenizers = {side: dataset.tokenizer(side) for side in train_split.text_columns}
    valid_splits = _valid_splits(config, dataset, reading)
    config = _settle(config, tokenizers, processes)
    what_to_read = "train", config.sampling, config.seed, reading
    number = config.num_workers
    loader = Loader(
        Sentences.of(dataset, *what_to_read),
        pin=processes.device.type == "cuda",
        workers=Workers(number, start_worker, config.data, *what_to_read) if number else None,
    )
    mixture = mix(
        train_split.corpora, read_weights(config.sampling.corpus_weights), config.sampling.corpus_temperature
    )
    torch.manual_seed(config.seed)
    model = build_model(config.model, *vocabulary_sizes(tokenizers))
    if starting_point(config) is None:
        first_weights(config, model, tokenizers)
    objective = build_objective(
        config.objective, model, tokenizers, config.data, right_to_left=config.right_to_left
    ).to(processes.device)
    if config.max_tokens == "auto":
        budget = largest_budget(
            objective,
            train_split,
            processes,
            precision=config.precision,
            batch_size=config.batch_size,
            update_freq=max(config.update_freq)
            if isinstance(config.update_freq, tuple)
            else config.update_freq,
        )
        config = replace(config, max_tokens=budget)
    assert config.max_tokens != "auto"
    limits: dict[str, Any] = {
        "max_tokens": config.max_tokens,
        "batch_size": config.batch_size,
        "seed": config.seed,
    }
    updater = _make_updater(config, objective, processes)
    parameters = trained_parameters(objective)
    return Run(
        config=config,
        dataset=dataset,
        processes=processes,
        signals=signals,
        objective=objective,
        parameters=parameters,
        updater=updater,
        schedule=build_schedule(config.lr_scheduler, config.optimizer.lr),
        average=WeightAverage(unique_parameters(model), config.ema_decay) if config.ema_decay else None,
        train_split=train_split,
        train_plan=plan_batches(
            train_split, **limits, curriculum=config.sampling.curriculum, mixture=mixture
        ),
        loader=loader,
        validated_on=[
            ValidationSplit(split, plan_batches(split, **limits, stretch=True)) for split in valid_splits
        ],
        translator=Translator(
            engine=TorchEngine(model, processes.device),
            tokenizers=tokenizers,
            limits=_limits(config, dataset),
            form=dataset.source_form if reading.source else SourceForm(),
            right_to_left=config.right_to_left,
            search=SearchConfig(beam=config.eval_beam),
            batch_size=128,
            max_tokens=config.max_tokens,
        ),
        log=Log(
            config.save_dir,
            tensorboard=config.tensorboard,
            wandb_project=config.wandb_project,
            config=as_dict(config),
        ),
        shortlist=Shortlist.of(dataset.shortlist()),
    )


def _valid_splits(config: TrainConfig, dataset: Dataset, reading: ReadOptions) -> list[Split]:
    """The splits to validate on; DataError where the dataset lacks one that was asked for."""
    if config.disable_validation or (config.valid_subset == ("valid",) and "valid" not in dataset.splits):
        return []
    return [dataset.split(name, reading) for name in config.valid_subset]


def _reading(config: TrainConfig, dataset: Dataset) -> ReadOptions:
    """How the model reads the dataset; UsageError where that has no sources and the model needs them."""
    if config.model.reads_source and "source" not in dataset.sides:
        raise UsageError(
            f"{config.data}: the dataset has no source, which --arch {config.arch} reads; train a language model on "
            "it, as --arch transformer_lm"
        )
    return ReadOptions(
        source=config.model.reads_source,
        right_to_left=config.right_to_left,
        copies=config.model.copies,
        longest=_longest(config),
    )


def _longest(config: TrainConfig) -> dict[str, int]:
    """By side, the most tokens that a sentence may have, end symbol not counted; longer ones are cut."""
    longest = {side: positions - 1 for side, positions in config.model.positions_of.items()}
    if config.max_source_length:
        longest["source"] = min(config.max_source_length, longest.get("source", config.max_source_length))
    return longest


def _limits(config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    """The limits of the text that the model is trained on, which it gets to generate from too."""
    limits, longest = dict(dataset.meta["limits"]), config.max_source_length
    if longest and longest < (limits["max_source_length"] or longest + 1):
        limits |= {"max_source_length": longest, "on_long": "truncate"}
    return limits


def _settle(config: TrainConfig, tokenizers: Mapping[str, Tokenizer], processes: Processes) -> TrainConfig:
    """Decide what the config leaves open until the device and the vocabularies are known."""
    config = saved_choices(config)
    config = replace(config, precision=resolve_precision(config.precision, processes.device))
    if processes.kind == "fsdp":
        config.optimizer.check_sharded()
        config.model.check_sharded()
    fingerprints = [tokenizers[side].vocabulary.fingerprint for side in SIDES if side in tokenizers]
    one_vocabulary = len(fingerprints) == len(SIDES) and len({*fingerprints}) == 1
    return replace(config, model=config.model.settled(one_vocabulary=one_vocabulary))


def _make_updater(config: TrainConfig, objective: Objective, processes: Processes) -> Updater:
    """Freeze, shard, compile and replicate the objective's parameters as the config says, and build the optimizer."""
    _freeze(trained_parameters(objective, every_name=True), config.freeze)
    if processes.kind == "fsdp":
        shard(objective, processes)
    if config.checkpoint_activations:
        recompute_blocks(objective.model.blocks())
    if config.compile:
        compile_blocks(objective.model.blocks())
    trained = {name: item for name, item in trained_parameters(objective).items() if item.requires_grad}
    return Updater(
        objective=objective,
        optimizer=build_optimizer(config.optimizer, list(trained.values())),
        parameters=trained,
        processes=processes,
        replica=replicate(objective, processes, skips_layers=config.model.skips_layers)
        if processes.kind == "ddp"
        else None,
        precision=config.precision,
        clip_norm=config.clip_norm,
        skips_layers=config.model.skips_layers,
        seed=config.seed,
        scale=LossScale.of(config.precision),
    )


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


def _introduce(run: Run) -> None:
    """Say what is trained, on what, and from where."""
    config, position, processes = run.config, run.position, run.processes
    parameters = run.parameters.values()
    count, trained = (
        sum(item.numel() for item in items) for items in (parameters, run.updater.parameters.values())
    )
    plan = run.train_plan
    batches = plan.part(position.epoch, position.part)
    company = f"{processes.size} × {processes.device.type} ({processes.kind})" if processes.size > 1 else ""
    notice(
        f"{config.arch}: {counted(count, 'parameter')}{f', {trained:,} of them trained,' if trained < count else ''} "
        f"on {company or processes.device} ({counted(torch.get_num_threads(), 'thread')}, {config.precision}); "
        f"{counted(plan.num_pairs, 'training pair')} in {'about ' if plan.parts > 1 else ''}"
        f"{counted(plan.parts * len(batches), 'batch')}, {plan.padding(batches):.1%} padding"
    )
    for split in (run.train_split, *(part.split for part in run.validated_on)):
        for side, longest in _longest(config).items():
            number, tokens = split.count_cut(side)
            if number:
                reason = "as --max-source-length says"
                if side == "target" or longest != config.max_source_length:
                    reason = (
                        "which is what the model has positions for; "
                        f"--set model.max_{side}_positions=N has more"
                    )
                notice(
                    f"{split.name}: {counted(number, f'{side} sentence')} cut to {counted(longest, 'token')}, "
                    f"{tokens:,} "
                    f"tokens left out, {reason}"
                )
    if not run.validated_on:
        why = "--disable-validation" if config.disable_validation else "no validation split"
        notice(f"{why}: the last checkpoint is the result")
    if position.finished:
        notice(f"nothing is left to do: the run has ended before ({position.finished}); raise that to go on")
        return
    notice(f"ends after {ends(config, validates=bool(run.validated_on))}")
    warn_before_start(run)
    if position.update:
        notice(f"resuming at update {position.update}, epoch {position.epoch}")


def _conclude(run: Run) -> TrainResult:
    """Say how the run ended, and return it."""
    position, save_dir = run.position, run.save_dir
    best_path = save_dir / BEST
    best = saved_run(load_checkpoint(best_path), best_path).get("best") if best_path.exists() else None
    figure = "" if best is None else f"; best {run.config.best_checkpoint_metric} {best:.3f}"
    done = f"done after {counted(position.update, 'update')} in {duration(position.seconds)}"
    notice(f"{done} ({position.finished}){figure}; checkpoints in {save_dir}")
    return TrainResult(
        save_dir=save_dir,
        finished=position.finished,
        updates=position.update,
        best=best,
        seconds=position.seconds,
    )
