"""`s2s train`: train a model on a dataset folder, or go on where the same command was stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from s2scli.checkpoint import BEST, LAST, SIDES, Checkpoint, load_checkpoint, load_weights
from s2scli.configs.search import SearchConfig
from s2scli.configs.train import TrainConfig
from s2scli.console import notice
from s2scli.data.batching import plan_batches
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, DataError
from s2scli.inference.engine import Engine
from s2scli.io import write_atomically
from s2scli.models.base import build_model, unique_parameters
from s2scli.nn.runtime import prepare, resolve_precision
from s2scli.optim.optimizers import build_optimizer
from s2scli.optim.schedules import build_schedule
from s2scli.schema import as_dict, to_toml
from s2scli.text.tokenizer import Tokenizer
from s2scli.training.log import Log, duration
from s2scli.training.loop import Run, dataset_facts, run_training
from s2scli.training.objectives import OBJECTIVES
from s2scli.training.state import Position, restore_optimizer

# Settings that a resumed run must keep, since its weights or its place in the data depend on them.
_FIXED = (
    "model",
    "optimizer.name",
    "lr_scheduler.name",
    "seed",
    "max_tokens",
    "batch_size",
    "update_freq",
    "precision",
)


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

    Raises KeyboardInterrupt after saving when a signal stopped the run.
    """
    device = prepare(config.device, config.threads)
    dataset = Dataset.open(config.data)
    tokenizers = {side: dataset.tokenizer(side) for side in SIDES}
    config = _settle(config, tokenizers, device)
    run = _make_run(config, dataset, tokenizers, device)
    last = config.save_dir / LAST
    if last.exists():
        _resume(run, load_checkpoint(last, resume=True), last)
    with write_atomically(config.save_dir / "config.toml") as temporary:
        temporary.write_text(to_toml(as_dict(config)), encoding="utf-8")
    _introduce(run)
    run_training(run)
    position = run.position
    if run.interrupted:
        notice(f"stopped at update {position.update}; {last} is saved, repeat the command to go on")
        raise KeyboardInterrupt
    best_path = config.save_dir / BEST
    best = load_checkpoint(best_path).run["best"] if best_path.exists() else None
    figure = "" if best is None else f"; best {config.best_checkpoint_metric} {best:.3f}"
    notice(
        f"done after {position.update} updates in {duration(position.seconds)} ({position.finished}){figure}; "
        f"checkpoints in {config.save_dir}"
    )
    return TrainResult(
        save_dir=config.save_dir,
        finished=position.finished,
        updates=position.update,
        best=best,
        seconds=position.seconds,
    )


def _settle(config: TrainConfig, tokenizers: dict[str, Tokenizer], device: torch.device) -> TrainConfig:
    """Decide what the config leaves open until the device and the vocabularies are known."""
    config = replace(config, precision=resolve_precision(config.precision, device))
    if config.model.share_all_embeddings is not None:
        return config
    source, target = (tokenizers[side].vocabulary.fingerprint for side in SIDES)
    share = source == target and config.model.encoder_embed_dim == config.model.decoder_embed_dim
    return replace(config, model=replace(config.model, share_all_embeddings=share))


def _make_run(
    config: TrainConfig, dataset: Dataset, tokenizers: dict[str, Tokenizer], device: torch.device
) -> Run:
    train_split = dataset.split("train")
    if len(train_split) == 0:
        raise DataError(f"{config.data}: the training split is empty")
    valid_split = dataset.split("valid") if "valid" in dataset.splits else None
    limits: dict[str, Any] = {
        "max_tokens": config.max_tokens,
        "batch_size": config.batch_size,
        "seed": config.seed,
    }
    torch.manual_seed(config.seed)
    model = build_model(config.model, *(len(tokenizers[side]) for side in SIDES)).to(device)
    return Run(
        config=config,
        dataset=dataset,
        model=model,
        objective=OBJECTIVES[config.objective.name](config.objective),
        optimizer=build_optimizer(config.optimizer, list(unique_parameters(model).values())),
        schedule=build_schedule(config.lr_scheduler, config.optimizer.lr),
        device=device,
        train_split=train_split,
        train_plan=plan_batches(train_split, **limits),
        valid_split=valid_split,
        valid_plan=plan_batches(valid_split, **limits, stretch=True) if valid_split else None,
        engine=Engine(
            model=model,
            tokenizers=tokenizers,
            limits=dataset.meta["limits"],
            search=SearchConfig(beam=config.eval_beam),
            device=device,
            batch_size=128,
            max_tokens=config.max_tokens,
        ),
        log=Log(config.save_dir),
    )


def _resume(run: Run, checkpoint: Checkpoint, path: Path) -> None:
    """Put a run where its last checkpoint left it.

    Raises CheckpointError where the dataset or a setting that must stay has changed.
    """
    facts = dataset_facts(run.dataset)
    for name in ("vocabularies", "train"):
        if checkpoint.dataset[name] != facts[name]:
            raise CheckpointError(
                f"{path}: this run was trained on another dataset or vocabulary ({name}: {checkpoint.dataset[name]}, "
                f"now {facts[name]}); give another --save-dir to start anew"
            )
    before, now = _flat(checkpoint.config), _flat(as_dict(run.config))
    changed = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    for key in sorted(changed):
        change = f"{key} = {before.get(key)!r} before, {now.get(key)!r} now"
        if key in _FIXED or key.split(".")[0] in _FIXED:
            raise CheckpointError(
                f"{path}: {change}; a resumed run must keep it: give another --save-dir to start anew"
            )
        if key not in ("data", "save_dir", "arch"):
            notice(f"resuming with {change}")
    parameters = unique_parameters(run.model)
    load_weights(run.model, checkpoint.weights, path)
    restore_optimizer(run.optimizer, parameters, dict(checkpoint.optimizer))
    state = dict(checkpoint.run)
    run.schedule.load_state_dict(state.pop("schedule"))
    run.position = Position(**state)
    run.position.finished = _still_finished(run)


def _flat(config: Any) -> dict[str, Any]:
    """{"model": {"dropout": 0.3}} → {"model.dropout": 0.3}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= (
            {f"{key}.{name}": item for name, item in value.items()}
            if isinstance(value, dict)
            else {key: value}
        )
    return flat


def _still_finished(run: Run) -> str:
    """Why a resumed run has nothing left to do under its present limits, or nothing."""
    config, position = run.config, run.position
    if config.max_update and position.update >= config.max_update:
        return f"--max-update {config.max_update}"
    if config.max_epoch and position.epoch > config.max_epoch:
        return f"--max-epoch {config.max_epoch}"
    if config.patience and position.stale >= config.patience:
        return f"--patience {config.patience}"
    return ""


def _introduce(run: Run) -> None:
    """Say what is trained, on what, and from where."""
    config, position = run.config, run.position
    parameters = sum(parameter.numel() for parameter in unique_parameters(run.model).values())
    batches = run.train_plan.epoch(position.epoch)
    notice(
        f"{config.arch}: {parameters:,} parameters on {run.device} ({torch.get_num_threads()} threads); "
        f"{len(run.train_split):,} training pairs in {len(batches)} batches, "
        f"{run.train_plan.padding(batches):.1%} padding"
    )
    if run.valid_split is None:
        notice(
            "no validation split: the last checkpoint is the result (--max-epoch or --max-update ends the run)"
        )
    if position.update and not position.finished:
        notice(f"resuming at update {position.update}, epoch {position.epoch}")
