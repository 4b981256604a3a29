"""A trial: its commands, one after the other, each in a process of its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli.configs.generate import GenerateConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.train import TrainConfig
from s2scli.errors import UsageError
from s2scli.files import DATASET_META
from s2scli.record import to_json_text
from s2scli.schema import as_dict
from s2scli.sweeping.child import CommandFailed, run_command
from s2scli.sweeping.claims import claimed
from s2scli.sweeping.figures import best_figure, score_of_outputs, validations
from s2scli.sweeping.space import Space
from s2scli.sweeping.trials import TO_ITS_END, Goal, Trial
from s2scli.toml import write_toml

_SAID = "output.log"
# Seconds between two looks at whether another process has made a dataset.
_A_WHILE = 1.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where trials are run: the sweep's folder, its space, what they are compared by.

    data: the dataset folder, where the space does not say which. path: the model whose decoding is searched; None:
    each trial trains one. meanwhile: is called every second.
    """

    folder: Path
    space: Space
    goal: Goal
    data: Path | None
    path: Path | None = None
    meanwhile: Callable[[], object] = lambda: None

    def home(self, trial: Trial) -> Path:
        """The folder of a trial, which is its run's."""
        return self.folder / "trials" / f"{trial.number:04}"

    def dataset(self, trial: Trial) -> Path | None:
        """The dataset folder of a trial, one for all trials that prepare their text alike; None: as train says."""
        if not self.space.has("preprocess"):
            return self.data
        settings = self.space.settings("preprocess", trial.values)
        key = hashlib.sha256(to_json_text(sorted(settings.items())).encode()).hexdigest()
        return self.folder / "data" / key[:12]

    def preprocess_config(self, trial: Trial) -> PreprocessConfig:
        """The settings by which a trial prepares its text; UsageError for some that cannot be."""
        settings, names = self.space.settings("preprocess", trial.values), self.space.names("preprocess")
        return PreprocessConfig.resolve({}, {**settings, "destdir": self.dataset(trial)}, names)

    def train_config(self, trial: Trial) -> TrainConfig:
        """The training settings of a trial that goes all the way; UsageError for some that cannot be."""
        given: dict[str, Any] = {"save_dir": self.home(trial)}
        if (data := self.dataset(trial)) is not None:
            given["data"] = data
        settings, names = self.space.settings("train", trial.values), self.space.names("train")
        return TrainConfig.resolve(self.space.base, settings | given, names)

    def generate_config(self, trial: Trial) -> GenerateConfig:
        """The settings by which a trial's outputs are found; UsageError for some that cannot be."""
        given: dict[str, Any] = {"data": self.data, "path": self.path, "gen_subset": "valid"}
        device = {}
        if self.path is None:
            train = self.train_config(trial)
            given = {"data": train.data, "path": self.home(trial), "gen_subset": train.valid_subset[0]}
            device = {"device": train.device}
        given |= {"format": "jsonl", "output": self.home(trial) / f"outputs-{trial.rung}.jsonl"}
        settings, names = self.space.settings("generate", trial.values), self.space.names("generate")
        return GenerateConfig.resolve({}, {**device, **settings, **given}, names)

    def settings(self, trial: Trial) -> dict[str, dict[str, Any]]:
        """The settings of each command of a trial, as a config file has them; UsageError for some that cannot be."""
        found = {} if self.path is not None else {"train": as_dict(self.train_config(trial))}
        if self.space.has("preprocess"):
            found["preprocess"] = as_dict(self.preprocess_config(trial))
        if self.space.has("generate"):
            found["generate"] = as_dict(self.generate_config(trial))
        return found

    def run(self, trial: Trial, claim: int) -> dict[str, Any]:
        """Take a trial to its next rung; gives updates, figure and seconds as the journal has them.

        The rung ends a run, whose schedule goes on as it would to the last one: train.toml has the length of the
        schedule, and only the command line says where to stop. Raises CommandFailed where the trial has failed, and
        UsageError where no trial has the goal's figure.
        """
        begin = time.monotonic()
        home = self.home(trial)
        try:
            settings = self.settings(trial)
        except UsageError as error:
            raise CommandFailed(str(error)) from None
        if "preprocess" in settings:
            self._prepare(settings["preprocess"], claim)
        there: dict[int, dict[str, Any]] = {}
        if "train" in settings:
            until = () if trial.rung == TO_ITS_END else ("--max-update", str(trial.rung))
            self._command("train", settings["train"], home, (claim,), until)
            there = validations(home, trial.rung)
        if "generate" in settings:
            self._command("generate", settings["generate"], home, (claim,), ("--overwrite",))
            figure = score_of_outputs(Path(settings["generate"]["output"]), self.goal.metric)
        else:
            figure = best_figure(there, self.goal)
        seconds = round(time.monotonic() - begin, 3)
        return {"updates": max(there, default=0), "figure": figure, "seconds": seconds}

    def _prepare(self, settings: Mapping[str, Any], claim: int) -> None:
        """Make a dataset, unless it is there; one process does, and others wait for it."""
        folder = Path(settings["destdir"])
        beside = folder.with_name(f"{folder.name}.made")
        while not (folder / DATASET_META).exists():
            with ExitStack() as resources:
                made = claimed(beside, resources)
                if made is not None and not (folder / DATASET_META).exists():
                    # One that is left behind by a process that was killed goes on, and nobody else begins.
                    self._command("preprocess", settings, beside, (claim, made))
                    return
            self.meanwhile()
            time.sleep(_A_WHILE)

    def _command(
        self,
        name: str,
        settings: Mapping[str, Any],
        home: Path,
        claims: Sequence[int],
        more: tuple[str, ...] = (),
    ) -> None:
        path = home / f"{name}.toml"
        write_toml(path, settings)
        run_command([name, "--config", str(path), *more], home / _SAID, claims, self.meanwhile)
