"""A trial: its commands, one after the other, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli.configs.train import TrainConfig
from s2scli.errors import UsageError
from s2scli.io import write_atomically
from s2scli.schema import as_dict
from s2scli.sweeping.child import CommandFailed, run_command
from s2scli.sweeping.figures import best_figure
from s2scli.sweeping.space import Space
from s2scli.sweeping.trials import TO_ITS_END, Goal, Trial
from s2scli.toml import to_toml

_SETTINGS, _SAID = "settings.toml", "output.log"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where trials are run: the sweep's folder, its space, what they are compared by.

    data: the dataset folder, where the space does not say which. meanwhile: is called every second.
    """

    folder: Path
    space: Space
    goal: Goal
    data: Path | None
    meanwhile: Callable[[], object] = lambda: None

    def home(self, trial: Trial) -> Path:
        """The folder of a trial, which is its run's."""
        return self.folder / "trials" / f"{trial.number:04}"

    def train_config(self, trial: Trial) -> TrainConfig:
        """The training settings of a trial that goes all the way; UsageError for some that cannot be."""
        given: dict[str, Any] = {"save_dir": self.home(trial)}
        if self.data is not None:
            given["data"] = self.data
        return self.space.train_config(trial.values, **given)

    def run(self, trial: Trial, claim: int) -> dict[str, Any]:
        """Take a trial to its next rung; gives updates, figure and seconds as the journal has them.

        The rung ends a run, whose schedule goes on as it would to the last one: settings.toml has the length of the
        schedule, and only the command line says where to stop. Raises CommandFailed where the trial has failed, and
        UsageError where no trial has the goal's figure.
        """
        begin = time.monotonic()
        home = self.home(trial)
        try:
            config = self.train_config(trial)
        except UsageError as error:
            raise CommandFailed(str(error)) from None
        with write_atomically(home / _SETTINGS) as temporary:
            temporary.write_text(to_toml(as_dict(config)), encoding="utf-8")
        until = [] if trial.rung == TO_ITS_END else ["--max-update", str(trial.rung)]
        words = ["train", "--config", str(home / _SETTINGS), *until]
        run_command(words, home / _SAID, claim, self.meanwhile)
        figure, updates = best_figure(home, self.goal, trial.rung)
        return {"updates": updates, "figure": figure, "seconds": round(time.monotonic() - begin, 3)}
