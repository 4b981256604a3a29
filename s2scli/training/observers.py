"""What a training run tells those who follow it, and how they ask it to stop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli.console import is_silent, warn
from s2scli.errors import S2SError


@dataclass(frozen=True)
class Sample:
    """A line of a validation split, its translation and its reference; id: the line's number from 0."""

    id: int
    source: str
    text: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """What a validation has found, after update number `update` in epoch number `epoch`, both from 1.

    figures: name → value, the loss in bits per token; those of other splits than `split`, the one whose figures are
    compared, are called SPLIT/NAME. is_best: whether the figure that runs are compared by is the best so far;
    since_best: the validations since the best one, 0 where this is it. samples: some translated lines of `split`.
    """

    epoch: int
    update: int
    figures: Mapping[str, float]
    split: str
    is_best: bool
    since_best: int
    samples: Sequence[Sample] = ()


class Observer:
    """Follows a training run; a subclass overrides the methods for what it wants to be told.

    `validated` may ask the run to stop. What an observer raises ends the run, as an error of the run itself does. Where
    several processes train together, each asks its own observers, and all of them stop when one is asked to.
    """

    def updated(self, update: int, total: int | None) -> None:
        """Be told that an update is made; total: the one at which the run ends at the latest, None: not known."""

    def progressed(self, figures: Mapping[str, Any]) -> None:
        """Be told the figures since the last such call, those of a "train" line in log.jsonl, as loss and lr."""

    def measured(self, update: int, norms: Mapping[str, float]) -> None:
        """Be told the gradient's norm of each layer, by its name in the model."""

    def skipped(self, figures: Mapping[str, Any]) -> None:
        """Be told of an update that was left out, as its loss or gradient was not finite: update, gnorm, loss_scale."""

    def validated(self, report: ValidationReport) -> str:
        """Be told what a validation has found; returns why the run is to stop here, or nothing."""
        del report
        return ""

    def saved(self, path: Path) -> None:
        """Be told that a checkpoint is written; in the process that has written it."""

    def ended(self, update: int, reason: str) -> None:
        """Be told that the run has ended after an update, and why: a limit with its flag, or what an observer said."""

    def close(self) -> None:
        """Let go of files and connections: nothing more is told, however the run has ended."""


class EventObserver(Observer):
    """An observer that keeps figures as events, each of a kind with values, as log.jsonl has them.

    A disk that is full for a while costs no training: an S2SError for what cannot be written is shown once, until
    something can be written again.
    """

    _is_failing = False

    @abstractmethod
    def event(self, kind: str, values: Mapping[str, Any]) -> None:
        """Keep an event: "train", "norms", "skipped" or "valid"."""

    def _keep(self, kind: str, values: Mapping[str, Any]) -> None:
        # Of several processes one speaks, and it alone writes.
        if is_silent():
            return
        try:
            self.event(kind, values)
        except S2SError as error:
            if not isinstance(error.__context__, OSError):
                raise
            if not self._is_failing:
                warn(f"{error}; training goes on, and the log is written when that can be done again")
            self._is_failing = True
        else:
            self._is_failing = False

    def progressed(self, figures: Mapping[str, Any]) -> None:
        """Keep the figures of a progress line."""
        self._keep("train", figures)

    def measured(self, update: int, norms: Mapping[str, float]) -> None:
        """Keep the gradient's norms."""
        self._keep("norms", {"update": update, "norms": dict(norms)})

    def skipped(self, figures: Mapping[str, Any]) -> None:
        """Keep that an update was left out."""
        self._keep("skipped", figures)

    def validated(self, report: ValidationReport) -> str:
        """Keep a validation's figures; asks for nothing."""
        self._keep("valid", {"epoch": report.epoch, "update": report.update, **report.figures})
        return ""


class Observers(Observer):
    """Several observers as one, told one after the other.

    agree: makes one answer of those of all processes, to a question that each of them asks.
    """

    def __init__(self, observers: Sequence[Observer], agree: Callable[[str], str] = str) -> None:
        self._observers = tuple(observers)
        self._agree = agree

    def updated(self, update: int, total: int | None) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.updated(update, total)

    def progressed(self, figures: Mapping[str, Any]) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.progressed(figures)

    def measured(self, update: int, norms: Mapping[str, float]) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.measured(update, norms)

    def skipped(self, figures: Mapping[str, Any]) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.skipped(figures)

    def validated(self, report: ValidationReport) -> str:
        """Tell each; returns the first reason to stop that one of them has, in the first process that has one."""
        reasons = [observer.validated(report) for observer in self._observers]
        return self._agree(next(filter(None, reasons), ""))

    def saved(self, path: Path) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.saved(path)

    def ended(self, update: int, reason: str) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.ended(update, reason)

    def close(self) -> None:
        """Close each."""
        for observer in self._observers:
            observer.close()
