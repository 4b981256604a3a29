"""Settings of a training run as a whole: what it validates on, when it ends and which checkpoints it keeps."""

from __future__ import annotations

from dataclasses import dataclass

from s2scli.components import METRICS
from s2scli.errors import UsageError
from s2scli.registry import Names
from s2scli.schema import setting

_KEEPING = "Checkpoints"
_VALIDATION = "Validation"
_END = "Ending"


@dataclass(frozen=True, kw_only=True)
class RunningConfig:
    """What a run validates on, when it ends and which checkpoints it keeps beside the best and the last."""

    save_interval_updates: int = setting(
        0,
        "save checkpoint_last every so many updates, besides at each epoch's end; 0: only there",
        at_least=0,
        panel=_KEEPING,
    )
    keep_last_epochs: int = setting(
        0, "keep the checkpoints of the last N epochs, for averaging", at_least=0, panel=_KEEPING
    )
    keep_interval_updates: int = setting(
        0,
        "keep a checkpoint, checkpoint_EPOCH_UPDATE, of each of the last N saves by --save-interval-updates, for "
        "averaging",
        at_least=0,
        panel=_KEEPING,
        needs="save_interval_updates",
    )
    keep_best_checkpoints: int = setting(
        0,
        "keep a checkpoint, checkpoint.best_METRIC_FIGURE_UPDATE, of each of the N best validations by "
        "--best-checkpoint-metric, for averaging",
        at_least=0,
        panel=_KEEPING,
        needs="!disable_validation",
    )
    validate_interval_updates: int = setting(
        0,
        "validate every so many updates, besides at each epoch's end; 0: only there",
        at_least=0,
        panel=_VALIDATION,
        needs="!disable_validation",
    )
    best_checkpoint_metric: str = setting(
        "loss",
        "validation figure that decides which checkpoint is best",
        choices=Names("loss", "ppl", METRICS),
        panel=_VALIDATION,
        needs="!disable_validation",
        common=True,
    )
    eval_metrics: tuple[str, ...] = setting(
        (),
        "translate the validation set at each validation and score it",
        choices=METRICS,
        panel=_VALIDATION,
        needs="!disable_validation",
        common=True,
    )
    eval_beam: int = setting(
        1,
        "beam width when validation translates",
        at_least=1,
        panel=_VALIDATION,
        needs="eval_metrics | best_checkpoint_metric!=loss,ppl",
        at_most=10_000,
    )
    eval_samples: int = setting(
        3,
        "sample outputs shown when validation translates",
        at_least=0,
        panel=_VALIDATION,
        needs="eval_metrics | best_checkpoint_metric!=loss,ppl",
    )
    valid_subset: tuple[str, ...] = setting(
        ("valid",),
        "splits to validate on; the first decides which checkpoint is best, and the figures of others are in the log "
        "as SPLIT/FIGURE",
        panel=_VALIDATION,
        needs="!disable_validation",
    )
    disable_validation: bool = setting(
        False, "do not validate at all: the last checkpoint is the result", panel=_VALIDATION
    )
    decode_and_evaluate: int = setting(
        -1,
        "with --eval-metrics, translate the first N sentences of each of these splits only; -1: all",
        unit="sentences",
        at_least=-1,
        panel=_VALIDATION,
        needs="eval_metrics | best_checkpoint_metric!=loss,ppl",
    )
    max_epoch: int = setting(
        0, "stop after this many passes over the data; 0: no limit", at_least=0, panel=_END, common=True
    )
    max_update: int = setting(
        0, "stop after this many updates; 0: no limit", at_least=0, panel=_END, common=True
    )
    patience: int = setting(
        10,
        "stop after this many validations without a better one; 0: never",
        at_least=0,
        panel=_END,
        needs="!disable_validation",
        common=True,
    )
    stop_min_lr: float = setting(
        0.0,
        "stop once the learning rate is this or less, after the warm-up; 0: never",
        at_least=0,
        panel=_END,
    )
    stop_time_hours: float = setting(
        0.0,
        "stop after so much time, that of earlier starts of the run counted; 0: no limit",
        unit="hours",
        at_least=0,
        panel=_END,
    )

    def check_running(self) -> None:
        """UsageError for settings that contradict each other or have no effect."""
        if not self.valid_subset:
            raise UsageError("--valid-subset: names no split; --disable-validation does without one")
        twice = [name for name in self.valid_subset if self.valid_subset.count(name) > 1]
        if twice:
            raise UsageError(f"--valid-subset: names {twice[0]} twice; give each split once")
        if self.decode_and_evaluate == 0:
            raise UsageError(
                "--decode-and-evaluate 0: translates nothing; leave --eval-metrics out, or give -1 for all sentences"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The scores of translations that a validation needs: --eval-metrics, and what decides the best checkpoint."""
        best_by = self.best_checkpoint_metric
        return (
            self.eval_metrics
            if best_by in ("loss", "ppl", *self.eval_metrics)
            else (*self.eval_metrics, best_by)
        )
