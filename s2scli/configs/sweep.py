"""Settings of `s2s sweep`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.components import SAMPLERS, TRIAL_SCHEDULERS
from s2scli.configs.command import CommandConfig
from s2scli.schema import setting

# The headings of the help.
_TRIALS = "Trials"
_SEARCH = "Search"
_BUDGET = "Budget"


@dataclass(frozen=True, kw_only=True)
class SweepConfig(CommandConfig):
    """Which settings are searched, by which method, and how long."""

    space: Path = setting(
        ...,
        "TOML file that says which settings of preprocess, train and generate are searched",
        argument=True,
    )
    data: Path | None = setting(None, "dataset folder of the trials, in place of the space's", argument=True)
    save_dir: Path = setting(
        Path("sweep"),
        "folder for the journal, the trials and the best config.toml; other processes may search there too",
        panel=_TRIALS,
        common=True,
    )
    train_config: Path | None = setting(
        None,
        "config file of s2s train with what all trials have, over which the space goes",
        panel=_TRIALS,
        common=True,
    )
    path: Path | None = setting(
        None,
        "search how this model decodes, a run folder or checkpoint, by the space's [generate]: trials answer DATA's "
        "validation set, and nothing is trained",
        panel=_TRIALS,
        common=True,
    )
    metric: str = setting(
        "loss",
        "what trials are compared by, the best so far of each: loss, ppl, or another validation figure of the log",
        panel=_SEARCH,
        common=True,
    )
    goal: str = setting(
        "auto",
        "whether less or more of the metric is better; auto: as is known of loss, ppl and all metrics",
        choices=("auto", "min", "max"),
        panel=_SEARCH,
    )
    sampler: str = setting(
        "random",
        "what draws the settings of trials: at random, all combinations, or a tree-structured Parzen estimator, which "
        "needs the extra sweep",
        choices=SAMPLERS,
        panel=_SEARCH,
        common=True,
    )
    startup_trials: int = setting(
        10, "trials that are drawn at random first", at_least=1, needs="sampler=tpe", panel=_SEARCH
    )
    scheduler: str = setting(
        "none",
        "how far a trial is trained: to its end, or from rung to rung if it is among the best there",
        choices=TRIAL_SCHEDULERS,
        panel=_SEARCH,
        common=True,
    )
    reduction_factor: int = setting(
        3,
        "of the trials that are compared at a rung one in so many goes on, to so many times the updates",
        at_least=2,
        at_most=100,
        needs="scheduler=asha,hyperband",
        panel=_SEARCH,
    )
    min_update: int = setting(
        0,
        "updates after which trials are compared first, at least; 0: those of the third rung below max_update",
        unit="updates",
        at_least=0,
        needs="scheduler=asha,hyperband",
        panel=_SEARCH,
    )
    max_trials: int = setting(0, "begin so many trials; 0: no limit", at_least=0, panel=_BUDGET, common=True)
    max_total_updates: int = setting(
        0,
        "do not begin what would take all trials together to more updates; 0: no limit",
        unit="updates",
        at_least=0,
        panel=_BUDGET,
        common=True,
    )
    max_minutes: float = setting(
        0.0,
        "begin nothing once the trials, those of earlier starts and other processes counted, have taken so long; 0: no "
        "limit",
        unit="minutes",
        at_least=0,
        panel=_BUDGET,
        common=True,
    )
    seed: int = setting(1, "seed of what is drawn", at_least=0, panel=_SEARCH)

    @property
    def is_limited(self) -> bool:
        """Whether something says when the search ends."""
        return bool(self.max_trials or self.max_total_updates or self.max_minutes)
