from __future__ import annotations

import math

import pytest
from sweeps import LOSS, with_results

from s2scli.errors import UsageError
from s2scli.sweeping.schedulers import Asha, Hyperband, ToTheEnd

ASHA = Asha(goal=LOSS, max_update=27, min_update=1, factor=3)
RUNGS = (1, 3, 9, 27)


def test_rungs_are_powers_of_the_factor_below_the_last() -> None:
    assert ASHA.all_rungs == RUNGS
    assert Asha(goal=LOSS, max_update=1000, min_update=0, factor=3).all_rungs == (37, 111, 333, 1000)
    assert Asha(goal=LOSS, max_update=100, min_update=30, factor=2).all_rungs == (50, 100)
    assert Asha(goal=LOSS, max_update=5, min_update=0, factor=4).all_rungs == (1, 5)


def test_asha_lets_one_in_three_go_on_and_no_sooner() -> None:
    two = [with_results(1, RUNGS, 5.0), with_results(2, RUNGS, 4.0)]
    assert ASHA.promoted(two, more_come=True) is None
    three = [*two, with_results(3, RUNGS, 6.0)]
    promoted = ASHA.promoted(three, more_come=True)
    assert promoted is not None
    assert promoted.number == 2
    # Once it has gone, none of the others may.
    gone = [two[0], with_results(2, RUNGS, 4.0, 3.0), three[2]]
    assert ASHA.promoted(gone, more_come=True) is None


def test_asha_prefers_the_highest_rung() -> None:
    trials = [with_results(n, RUNGS, 4.0 + n, 3.0 + n) for n in (1, 2, 3)]
    trials += [with_results(n, RUNGS, 1.0) for n in range(4, 13)]
    promoted = ASHA.promoted(trials, more_come=True)
    assert promoted is not None
    assert (promoted.number, len(promoted.results)) == (1, 2)


def test_failed_trials_and_those_without_a_figure_count_and_never_go_on() -> None:
    """Of six there is room for two on the next rung, and one that can go there."""
    trials = [with_results(1, RUNGS, 9.0)]
    trials += [with_results(n, RUNGS, figure) for n, figure in ((2, math.nan), (3, math.inf), (4, math.nan))]
    trials += [with_results(n, RUNGS, failed="out of memory", parts=1) for n in (5, 6)]
    promoted = ASHA.promoted(trials, more_come=True)
    assert promoted is not None
    assert promoted.number == 1
    trials[0] = with_results(1, RUNGS, 9.0, 8.0)
    assert ASHA.promoted(trials, more_come=True) is None
    assert [trial.number for trial in LOSS.ranked(trials)] == [1]


def test_the_best_goes_on_to_the_end_when_no_more_trials_come() -> None:
    trials = [with_results(1, RUNGS, 5.0), with_results(2, RUNGS, 4.0)]
    promoted = ASHA.promoted(trials, more_come=False)
    assert promoted is not None
    assert promoted.number == 2
    begun = [with_results(1, RUNGS, 5.0), with_results(2, RUNGS, 4.0, parts=2)]
    assert ASHA.promoted(begun, more_come=False) is None
    done = [trials[0], with_results(2, RUNGS, 4.0, 3.0, 2.0, 1.0)]
    assert ASHA.promoted(done, more_come=False) is None


def test_the_brackets_of_hyperband_are_those_of_the_paper() -> None:
    """Li et al. (2018), table 1: R = 81, factor 3."""
    hyperband = Hyperband(goal=LOSS, max_update=81, min_update=1, factor=3)
    assert hyperband.sizes == (81, 34, 15, 8, 5)
    assert hyperband.num_trials == 143
    assert hyperband.rungs(1) == (0, (1, 3, 9, 27, 81))
    assert hyperband.rungs(82) == (1, (3, 9, 27, 81))
    assert hyperband.rungs(143) == (4, (81,))
    assert hyperband.rungs(144) == (5, (1, 3, 9, 27, 81))


def test_hyperband_waits_for_all_of_a_bracket() -> None:
    hyperband = Hyperband(goal=LOSS, max_update=3, min_update=1, factor=3)
    assert hyperband.sizes == (3, 2)
    some = [with_results(1, (1, 3), 5.0), with_results(2, (1, 3), 4.0)]
    assert hyperband.promoted(some, more_come=True) is None
    full = [*some, with_results(3, (1, 3), parts=1)]
    assert hyperband.promoted(full, more_come=True) is None
    full[2] = with_results(3, (1, 3), 4.5)
    promoted = hyperband.promoted(full, more_come=True)
    assert promoted is not None
    assert promoted.number == 2
    full[1] = with_results(2, (1, 3), 4.0, 3.0)
    assert hyperband.promoted(full, more_come=True) is None


def test_trials_that_are_compared_need_a_length() -> None:
    with pytest.raises(UsageError, match="max_update is not set"):
        Asha(goal=LOSS, max_update=0, min_update=0, factor=3)
    with pytest.raises(UsageError, match="--min-update 40: is above"):
        Asha(goal=LOSS, max_update=27, min_update=40, factor=3)
    assert ToTheEnd(goal=LOSS, max_update=0, min_update=0, factor=3).rungs(7) == (0, (0,))
