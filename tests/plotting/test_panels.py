"""What is drawn of which figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from s2scli.errors import DataError, UsageError
from s2scli.plotting.history import Events, History
from s2scli.plotting.panels import Panel, make_panels, moving_average, x_range


def make_history(name: str = "run", **events: Events) -> History:
    return History(name=name, path=Path(name), events={"train": {}, "valid": {}, "norms": {}} | events)


def panels(*histories: History, figures: tuple[str, ...] = (), **settings: Any) -> list[Panel]:
    return make_panels(
        histories, **{"figures": figures, "x": "update", "smooth": 1, "log_y": False} | settings
    )


def points(panel: Panel, run: int = 0, kind: str = "train") -> dict[float, float]:
    (line,) = (line for line in panel.lines if (line.run, line.kind) == (run, kind))
    return dict(zip(line.x, line.y, strict=True))


TRAIN: Events = {
    update: {"epoch": 1, "loss": 4.0 / update, "ppl": 9.0, "lr": 0.1 * update, "gnorm": 1.0, "padding": 0.5}
    | {"seconds": 2.0 * update, "seconds_left": 7.0}
    for update in (1, 2, 3)
}
VALID: Events = {3: {"epoch": 1, "loss": 2.0, "ppl": 8.0, "ter": 50.0, "chrf++": 40, "best": True}}
NORMS: Events = {
    update: {"update": update, "norms": {"encoder": 0.1 * update, "decoder": 2.0}} for update in (1, 2)
}


def test_all_figures_there_are() -> None:
    made = panels(make_history(train=TRAIN, valid=VALID, norms=NORMS))
    assert [panel.figure for panel in made] == ["loss", "ppl", "ter", "chrf++", "gnorm", "lr", "gradients"]
    assert [panel.label for panel in made[:4]] == ["loss (bits per token)", "perplexity", "TER", "chrF++"]
    assert points(made[0]) == {1: 4, 2: 2, 3: 4 / 3}
    assert points(made[0], kind="valid") == {3: 2}
    assert points(made[3], kind="valid") == {3: 40}
    assert [panel.figure for panel in panels(make_history(train=TRAIN))] == ["loss", "ppl", "gnorm", "lr"]


def test_figures_that_are_chosen() -> None:
    made = panels(make_history(train=TRAIN, valid=VALID), figures=("padding", "ter", "padding"))
    assert [panel.figure for panel in made] == ["padding", "ter"]


def test_a_figure_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"^--figures pll: no such figure in the log; did you mean ppl\?$"):
        panels(make_history(train=TRAIN), figures=("pll",))
    with pytest.raises(UsageError, match=r"known: gnorm, loss, lr, padding, ppl$"):
        panels(make_history(train=TRAIN), figures=("epoch",))


def test_runs_share_panels() -> None:
    made = panels(make_history("a", train=TRAIN), make_history("b", train={7: {"loss": 3.0}}, valid=VALID))
    assert [panel.figure for panel in made] == ["loss", "ppl", "ter", "chrf++", "gnorm", "lr"]
    assert [(line.run, line.kind, line.name) for line in made[0].lines] == [
        (0, "train", "a"),
        (1, "train", "b"),
        (1, "valid", "b"),
    ]
    assert points(made[0], run=1) == {7: 3}
    assert x_range(made) == (1, 7)
    assert x_range(panels(make_history(train={1: {"loss": 1.0}, 20: {"loss": 1.0}}))) == (0, 20)
    assert x_range(panels(make_history(train={5: {"loss": 1.0}}))) == (5, 6)


def test_gradients_are_a_panel_of_each_run() -> None:
    zero: Events = {
        1: {"norms": {"encoder": 0.0, "decoder": 2.0, "odd": "x"}},
        2: {"norms": {"encoder": 0.5}},
    }
    made = panels(make_history("a", norms=NORMS), make_history("b"), make_history("c", norms=zero))
    assert [(panel.figure, panel.title, panel.log_y) for panel in made] == [
        ("gradients", "a", True),
        ("gradients", "c", True),
    ]
    assert [(line.name, line.y) for line in made[0].lines] == [
        ("encoder", (0.1, 0.2)),
        ("decoder", (2.0, 2.0)),
    ]
    assert [(line.name, line.x, line.y) for line in made[1].lines] == [
        ("encoder", (2.0,), (0.5,)),
        ("decoder", (1.0,), (2.0,)),
    ]


def test_gradients_of_the_parts_of_a_layer() -> None:
    names = {"embedding": 1.0, "layers.0.attention": 3.0, "layers.0.mlp.up": 4.0, "layers.1.mlp.up": 6.0}
    history = make_history(norms={1: {"norms": names}})
    whole, parts, single = panels(history, figures=("gradients", "gradients.layers.0", "gradients.embedding"))
    assert [(line.name, line.y) for line in whole.lines] == [
        ("embedding", (1.0,)),
        ("layers.0", (5.0,)),
        ("layers.1", (6.0,)),
    ]
    assert parts.label == "gradient norm in layers.0"
    assert [(line.name, line.y) for line in parts.lines] == [("attention", (3.0,)), ("mlp.up", (4.0,))]
    assert [(line.name, line.y) for line in single.lines] == [("embedding", (1.0,))]
    with pytest.raises(UsageError, match=r"did you mean gradients\.layers\.1\?$"):
        panels(history, figures=("gradients.layers.7",))


def test_moving_average() -> None:
    values = [1.0, 2.0, 6.0, 3.0, 8.0]
    assert moving_average(values, 1) == tuple(values)
    assert moving_average(values, 3) == (1, 3, 11 / 3, 17 / 3, 8)
    assert moving_average(values, 5) == (1, 3, 4, 17 / 3, 8)
    assert moving_average(values, 4) == moving_average(values, 5)
    straight = tuple(float(value) for value in range(20))
    assert moving_average(straight, 7) == straight


def test_smoothing_is_of_training_figures_and_keeps_what_was_logged() -> None:
    history = make_history(train=TRAIN, valid={update: {"loss": float(update)} for update in (1, 2, 4)})
    loss, lr = panels(history, figures=("loss", "lr"), smooth=3)
    train, valid = loss.lines
    assert train.logged == (4, 2, 4 / 3)
    assert train.y == pytest.approx((4, 22 / 9, 4 / 3))
    assert valid.y == valid.logged == (1, 2, 4)
    assert lr.lines[0].y == pytest.approx((0.1, 0.2, 0.3))


def test_logarithmic_axes() -> None:
    history = make_history(train=TRAIN, valid={3: {"bleu": 0.0}})
    figures = ("loss", "ppl", "bleu")
    assert [panel.log_y for panel in panels(history, figures=figures)] == [False, True, False]
    assert [panel.log_y for panel in panels(history, figures=figures, log_y=True)] == [True, True, False]


def test_a_long_loss_is_shown_without_its_steep_beginning() -> None:
    long: Events = {update: {"loss": 100.0 / update, "gnorm": 100.0 / update} for update in range(1, 101)}
    loss, gnorm = panels(make_history(train=long))
    assert loss.limits == (1, 100 / 6)  # 5 % of the way from update 1 to 100 is update 6
    assert gnorm.limits == (1, 100)
    assert len(loss.lines[0].y) == 100
    assert panels(make_history(train=TRAIN))[0].limits == (4 / 3, 4)
    assert panels(make_history(train=long), log_y=True)[0].limits == (1, 100)


def test_values_that_are_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    train: Events = {1: {"loss": math.inf}, 2: {"loss": 5.0, "ppl": math.nan}, 3: {"loss": math.nan}}
    (panel,) = panels(make_history(train=train))
    assert points(panel) == {2: 5}
    assert "run: loss: 2 train values left out, not finite\n" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"^run: no finite value to draw$"):
        panels(make_history(train=train), figures=("ppl",))


def test_gradients_that_have_vanished_everywhere_are_nothing_to_draw() -> None:
    norms: Events = {1: {"norms": {"encoder.weight": 0.0}}}
    with pytest.raises(DataError, match=r"^run: no finite value to draw$"):
        panels(make_history(train=TRAIN, norms=norms), figures=("gradients",))


def test_the_x_axis_of_each_run() -> None:
    slow = make_history("slow", train={update: {"loss": 1.0, "seconds": 10.0 * update} for update in (1, 2)})
    made = panels(make_history(train=TRAIN), slow, figures=("loss",), x="seconds")
    assert [line.x for line in made[0].lines] == [(2, 4, 6), (10, 20)]
