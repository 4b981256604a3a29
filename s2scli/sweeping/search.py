"""The search: what is to be done next, decided under the journal's lock, and done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from s2scli.configs.sweep import SweepConfig
from s2scli.errors import S2SError, UsageError
from s2scli.inference.signals import InterruptSignals
from s2scli.sweeping.child import CommandFailed
from s2scli.sweeping.claims import claimed
from s2scli.sweeping.journal import Journal, open_journal
from s2scli.sweeping.running import Bench
from s2scli.sweeping.samplers import Sampler
from s2scli.sweeping.schedulers import TrialScheduler
from s2scli.sweeping.trials import LENGTH, Trial, read_trials

# Seconds until there may be something to do again, where all that can be done is being done by other processes.
_A_WHILE = 0.5
# So many trials that fail before any has a result say that something is wrong with all of them, and so many in a row
# afterwards that something has happened.
_HOPELESS, _HOPELESS_LATER = 5, 20

Job = tuple[Trial, int]
"""A trial that this process has claimed, and the file descriptor of the claim."""


@dataclass(frozen=True, kw_only=True)
class SettingsSearch:
    """One process's part in a sweep; others may work in the same folder.

    told: is called with what the journal says after each event of this process.
    """

    config: SweepConfig
    facts: dict[str, Any]
    sampler: Sampler
    scheduler: TrialScheduler
    bench: Bench
    told: Callable[[list[Trial]], object]

    def run(self, signals: InterruptSignals) -> list[Trial]:
        """Work until there is nothing left to do; the trials then.

        Raises Interrupted where a signal says so: a repeated command goes on. Raises S2SError where no trial can work.
        """
        while True:
            with ExitStack() as resources:
                with signals.whole():
                    job, trials, is_taken = self._next_job(resources)
                if job is not None:
                    self.told(trials)
                    self._do(*job, signals)
                    continue
            if not is_taken and not any(trial.is_begun for trial in trials):
                return trials
            self.bench.meanwhile()
            time.sleep(_A_WHILE)

    def _next_job(self, resources: ExitStack) -> tuple[Job | None, list[Trial], bool]:
        """What this process does next, written down and claimed until the resources are closed; None: nothing now.

        And all trials, and whether one could go on that another process still holds, which has just written down its
        result. Trials that somebody has left come first, then those that may go on, then new ones.
        """
        is_taken = False
        with open_journal(self.config.save_dir) as journal:
            self._check_facts(journal)
            trials = read_trials(journal.events)
            self._check_hope(trials)
            for trial in self._candidates(trials, journal):
                claim = claimed(self.bench.home(trial), resources)
                if claim is None:
                    is_taken = True
                    continue
                if not trial.is_begun:
                    journal.add("part", trial=trial.number)
                    trial = replace(trial, parts=trial.parts + 1)
                return (trial, claim), read_trials(journal.events), is_taken
            return None, trials, is_taken

    def _candidates(self, trials: list[Trial], journal: Journal) -> Iterator[Trial]:
        yield from (trial for trial in trials if trial.is_begun)
        number = len(trials) + 1
        bracket, rungs = self.scheduler.rungs(number)
        values = self.sampler.draw(number, trials) if self._has_room(trials, 1, is_new=True) else None
        # Searched, each trial has a length of its own.
        rungs = rungs if values is None or LENGTH not in values else (values[LENGTH],)
        if values is not None and not self._has_room(trials, rungs[0], is_new=True):
            values = None
        promoted = self.scheduler.promoted(trials, more_come=values is not None)
        if promoted is not None:
            cost = promoted.rungs[promoted.parts] - promoted.updates
            if self._has_room(trials, cost, is_new=False):
                yield promoted
            return
        if values is not None:
            journal.add("trial", trial=number, values=values, rungs=list(rungs), bracket=bracket)
            yield read_trials(journal.events)[-1]

    def _has_room(self, trials: list[Trial], cost: int, *, is_new: bool) -> bool:
        """Whether the budget has something left for so many updates more."""
        config = self.config
        most = config.max_trials or (0 if config.is_limited else self.scheduler.num_trials)
        if is_new and most and len(trials) >= most:
            return False
        promised = sum(max(0, trial.rung - trial.updates) for trial in trials if trial.is_begun)
        spent = promised + sum(trial.updates for trial in trials)
        if config.max_total_updates and spent + max(1, cost) > config.max_total_updates:
            return False
        seconds = sum(trial.seconds for trial in trials)
        return not config.max_minutes or seconds < 60 * config.max_minutes

    def _do(self, trial: Trial, claim: int, signals: InterruptSignals) -> None:
        begin = time.monotonic()
        try:
            event: tuple[str, dict[str, Any]] = "result", self.bench.run(trial, claim)
        except CommandFailed as failure:
            event = "failed", {"reason": str(failure), "seconds": round(time.monotonic() - begin, 3)}
        with signals.whole(), open_journal(self.config.save_dir) as journal:
            journal.add(event[0], trial=trial.number, **event[1])
            trials = read_trials(journal.events)
        self.told(trials)

    def _check_facts(self, journal: Journal) -> None:
        """Write down which search this is, or UsageError where the folder is of another one."""
        if not journal.events:
            journal.add("sweep", facts=self.facts)
            return
        before = journal.events[0]["facts"]
        for name in (*self.facts, *before):
            if before.get(name) != self.facts.get(name):
                what = "space" if name in ("base", "fixed", "searched") else name
                raise UsageError(
                    f"--save-dir {self.config.save_dir}: holds a search with another {what}; give another --save-dir, "
                    f"or set the {what} back"
                )

    def _check_hope(self, trials: list[Trial]) -> None:
        ended = [trial for trial in trials if trial.failed or trial.results]
        in_a_row = [*takewhile(lambda trial: trial.failed and not trial.results, reversed(ended))]
        first = len(in_a_row) == len(ended)
        if len(in_a_row) >= (_HOPELESS if first else _HOPELESS_LATER):
            raise S2SError(
                f"all of the {'first' if first else 'last'} {len(in_a_row)} trials have failed, the last by: "
                f"{in_a_row[0].failed}; mend that, and give another --save-dir to begin anew"
            )
