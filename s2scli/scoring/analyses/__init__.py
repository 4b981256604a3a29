"""What a report tells of systems beyond their scores: an analysis a file, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from s2scli.configs.score import ScoreConfig
from s2scli.plotting.history import History
from s2scli.scoring.analyses.base import Analysis, read_words
from s2scli.scoring.analyses.calibration import calibration
from s2scli.scoring.analyses.curves import learning_curves
from s2scli.scoring.analyses.frequency import by_frequency
from s2scli.scoring.analyses.repeated import repeated
from s2scli.scoring.analyses.translated import translated
from s2scli.scoring.results import ScoreResult


def analyses(config: ScoreConfig, result: ScoreResult, histories: Sequence[History]) -> Iterator[Analysis]:
    """Every analysis that the config, and what is scored, has all for."""
    words = read_words(config, result)
    for analyse in (by_frequency, translated, repeated):
        yield from analyse(words)
    yield from calibration(result)
    yield from learning_curves(histories)
