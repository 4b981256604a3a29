"""How the systems learned."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from s2scli.plotting.history import History, is_number
from s2scli.scoring.analyses.base import Analysis, Curves


def learning_curves(histories: Sequence[History]) -> Iterator[Analysis]:
    """The loss of training and of validation of runs, by update; see `s2s plot` for other figures."""
    if not histories:
        return
    charts = []
    for kind, caption in (("train", "loss in training"), ("valid", "loss in validation")):
        curves = {
            history.name: [
                (float(update), float(event["loss"]))
                for update, event in history.events[kind].items()
                if is_number(event.get("loss")) and math.isfinite(event["loss"])
            ]
            for history in histories
        }
        charts += [Curves(caption=caption, curves=curves)] if any(curves.values()) else []
    yield Analysis(
        title="Learning curves",
        text="The loss in bits a target token by update, as each run logged it.",
        charts=charts,
        keys=[history.name for history in histories],
    )
