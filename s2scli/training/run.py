"""A run: everything that trains, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from s2scli.checkpoint import Checkpoint, first_not_finite, save_checkpoint
from s2scli.checkpoint_file import LAST, SIDES
from s2scli.configs.train import TrainConfig
from s2scli.data.batching import BatchPlan
from s2scli.data.dataset import Dataset
from s2scli.data.loader import Loader
from s2scli.data.shortlist import Shortlist
from s2scli.data.source_form import SourceForm
from s2scli.data.split import Split
from s2scli.errors import S2SError
from s2scli.inference.translator import Translator
from s2scli.models.base import Model
from s2scli.optim.schedules import Schedule
from s2scli.schema import as_dict, by_epoch
from s2scli.training.average import WeightAverage
from s2scli.training.distributed import Processes, gathered
from s2scli.training.objectives.base import Objective
from s2scli.training.observers import Observers
from s2scli.training.signals import StopSignals
from s2scli.training.state import Position, is_of_objective, of_objective, optimizer_tensors, snapshot
from s2scli.training.step import Updater


@dataclass(frozen=True)
class ValidationSplit:
    """A split that is validated on, and its batches.

    noise: what reads its examples where they have noise, the same in each validation; None: they are as they are.
    """

    split: Split
    plan: BatchPlan
    noise: Loader | None = None


@dataclass(frozen=True, kw_only=True)
class RunData:
    """What a run reads: a dataset, its training split in batches, and the splits that it is validated on.

    loader: what reads the batches of training. validated_on: the first split decides which checkpoint is best; none:
    nothing is validated.
    """

    dataset: Dataset
    train_split: Split
    train_plan: BatchPlan
    loader: Loader
    validated_on: Sequence[ValidationSplit]

    @property
    def splits(self) -> dict[str, str]:
        """The split that is trained on, as "train", and the one whose figures are compared, as "valid", if any."""
        valid = {"valid": self.validated_on[0].split.name} if self.validated_on else {}
        return {"train": self.train_split.name, **valid}


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What a run trains, and what trains it.

    parameters: name → every parameter that checkpoints keep, frozen ones too: of an adapter that is trained, its own.
    buffers: name → what else checkpoints keep of the model.
    average: of the weights; None: none is kept.
    """

    objective: Objective
    parameters: dict[str, nn.Parameter]
    buffers: dict[str, Tensor]
    updater: Updater
    schedule: Schedule
    average: WeightAverage | None

    @property
    def model(self) -> Model:
        """The model that is trained."""
        return self.objective.model


@dataclass(kw_only=True)
class Run:
    """Everything a run is made of: settings, surroundings, what it reads and trains, and where it stands.

    translator: what translates validation data. shortlist: the table that checkpoints get, the dataset's if it has one.
    counted_until: up to when position.seconds counts the time.
    base: the fingerprint of the model that an adapter is trained beside, if one is.
    has_last: whether its folder holds its last checkpoint. unsound: why the model, as it was last validated, is no
    result, or nothing. resets: what of that checkpoint was reset when the run began, until it is written anew.
    """

    config: TrainConfig
    processes: Processes
    signals: StopSignals
    observers: Observers
    data: RunData
    learner: Learner
    translator: Translator
    shortlist: Shortlist | None = None
    base: str = ""
    position: Position = field(default_factory=Position)
    counted_until: float = 0.0
    has_last: bool = False
    unsound: str = ""
    resets: frozenset[str] = frozenset()

    @property
    def save_dir(self) -> Path:
        """Where checkpoints go."""
        return self.config.save_dir

    @property
    def batches_per_update(self) -> int:
        """How many batches make an update in the current epoch, over all processes."""
        return by_epoch(self.config.update_freq, self.position.epoch) * self.processes.size

    def rate(self, ahead: int = 0) -> float:
        """The learning rate of the current update, or of the one so many later."""
        position = self.position
        update = position.update - position.schedule_start + ahead
        return self.learner.schedule.rate(update, position.epoch) * position.rate_factor

    def stop_if_asked(self) -> None:
        """Raise Stop where a signal has come in; every process must come here."""
        self.signals.check(self.processes.any)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model as it is validated and kept: its weights' average if there is one, whole, without dropout."""
        objective, average = self.learner.objective, self.learner.average
        objective.eval()
        try:
            with ExitStack() as stack:
                if average is not None:
                    stack.enter_context(average.applied())
                if self.processes.kind == "fsdp":
                    stack.enter_context(gathered(objective))
                yield
        finally:
            objective.train()

    def save(self, name: str, *, resumable: bool, finished: str = "") -> None:
        """Write a checkpoint: to resume with all there is, or to generate with the weights as they are evaluated.

        finished: why the run ends with this update, if it does. Raises S2SError where the weights are not finite; what
        was there stays.
        """
        learner = self.learner
        if name == LAST:
            self.has_last, self.resets = True, frozenset()
        if not self.processes.is_first and self.processes.kind != "fsdp":
            return
        of_model = {name: item for name, item in learner.parameters.items() if not is_of_objective(name)}
        weights: dict[str, Tensor] = {**of_model, **learner.buffers}
        averages = learner.average.tensors if learner.average is not None else {}
        groups: dict[str, Any] = {"weights": snapshot(weights | (averages if not resumable else {}))}
        if resumable:
            groups["ema"] = snapshot(averages)
            held = learner.updater.consolidation
            groups["ewc"] = snapshot(held.tensors if held is not None else {})
            groups["objective"] = snapshot(of_objective(learner.parameters))
            groups["optimizer"] = snapshot(optimizer_tensors(learner.updater.optimizer, learner.parameters))
        if not self.processes.is_first:
            return
        self._check_finite(groups["weights"] | groups.get("ema", {}))
        scale, translator = learner.updater.scale, self.translator
        state: dict[str, Any] = {
            **self.position.as_dict(),
            "finished": finished,
            "processes": self.processes.size,
            "schedule": learner.schedule.state_dict(),
            "loss_scale": {"value": scale.value, "good_updates": scale.good_updates},
        }
        save_checkpoint(
            self.save_dir / name,
            Checkpoint(
                config=as_dict(self.config),
                tokenizers=translator.tokenizers,
                dataset=dataset_facts(
                    self.data.dataset, self.data.splits, tuple(translator.tokenizers), translator.limits
                )
                | self._facts_of_sources(),
                run=state,
                resumable=resumable,
                shortlist=self.shortlist,
                base=self.base,
                **groups,
            ),
        )
        self.observers.saved(self.save_dir / name)

    def _facts_of_sources(self) -> dict[str, Any]:
        """What a checkpoint remembers of the examples beside the dataset's facts."""
        split, features = self.data.train_split, self.translator.features
        sides = [side for side in SIDES if side in split.columns]
        of_frames = {} if features is None else {"features": features.to_meta()}
        return {"longest": {side: split.longest(side) for side in sides}, **of_frames}

    def _check_finite(self, tensors: Mapping[str, Tensor]) -> None:
        """S2SError where weights to be saved are not finite: they are no result, and nothing can be done with them."""
        broken = first_not_finite(tensors)
        if broken is not None:
            raise S2SError(self.no_result(f"the weights are not finite ({broken} holds NaN or an infinity)"))

    def no_result(self, reason: str) -> str:
        """What to tell the user of a model that is not worth saving, and what to do about it."""
        last, start = self.save_dir / LAST, "begin anew"
        if last.exists():
            start = f"go on from {last}, which is of before, or begin anew"
        rate = by_epoch(self.config.optimizer.lr, self.position.epoch)
        return (
            f"after update {self.position.update} {reason}: this is no result, and is not saved; lower --lr "
            f"({rate:g}), lengthen --warmup-updates or clip with --clip-norm, and {start}"
        )


def dataset_facts(
    dataset: Dataset, splits: Mapping[str, str], sides: Sequence[str], limits: Mapping[str, Any]
) -> dict[str, Any]:
    """What a checkpoint remembers of the dataset, for generating and for resuming on the same one.

    splits: see RunData.splits; sides: those that the model reads; limits: of what it reads.
    """
    has_source = "source" in sides
    return {
        "source_lang": dataset.source_lang if has_source else "",
        "target_lang": dataset.target_lang,
        "limits": dict(limits),
        "source_form": (dataset.source_form if has_source else SourceForm()).to_meta(),
        "vocabularies": {side: dataset.tokenizer(side).fingerprint for side in sides},
        **{use: dataset.fingerprint(split) for use, split in splits.items()},
    }
