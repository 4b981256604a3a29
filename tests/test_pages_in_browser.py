"""The pages of HTML in a real browser, where PyQt6-WebEngine is installed: `make test-browser` installs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import Browser
from explaining import Explainer
from generating import Generator
from systems import BASE, NEW, RIGHT

from s2scli.configs.plot import PlotConfig
from s2scli.configs.score import ScoreConfig
from s2scli.plot import plot
from s2scli.score import score

pytestmark = pytest.mark.skipif(find_spec("PyQt6") is None, reason="no browser is here")
# What would be run, or asked for, were it not escaped.
HOSTILE = """<script>document.title="run"</script><img src="http://127.0.0.1:9/x.png" onerror='document.title="run"'>"""
ATTRIBUTE = "\" onmouseover=\"document.title='run'\" '><b>bold</b>&lt;i&gt;"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    made = Browser()
    yield made
    made.close()


def check(browser: Browser, page: Path, *texts: str) -> None:
    """Fail unless a page shows texts as they are, asks for nothing, runs nothing, and fits into narrow windows."""
    browser.load(page)
    assert browser.requests == [page.as_uri()]
    assert browser.errors == []
    shown = browser.value("document.body.innerText")
    for text in texts:
        assert text in shown
    assert browser.value("document.title") != "run"
    assert browser.value("document.querySelectorAll('script, b, i, [onmouseover], [onerror]').length") == 0
    for width in (1024, 360):
        browser.resize(width)
        assert browser.value("innerWidth") == width
        assert browser.value("document.documentElement.scrollWidth") <= width
    browser.resize(1024)


def test_what_a_page_asks_for_is_seen(browser: Browser, tmp_path: Path) -> None:
    path, asked = tmp_path / "page.html", "http://127.0.0.1:9/picture.png"
    path.write_text(f'<html><body><img src="{asked}"><script>none()</script></body></html>', encoding="utf-8")
    browser.load(path)
    assert browser.requests == [path.as_uri(), asked]
    assert browser.errors == ["Uncaught ReferenceError: none is not defined"]


def test_the_report_is_shown_and_asks_for_nothing(browser: Browser, tmp_path: Path) -> None:
    for name, lines in (("base", BASE), ("new", NEW), ("right", RIGHT)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    path = tmp_path / "page.html"
    systems = (tmp_path / "base", tmp_path / "new")
    metrics = ("chrf", "ter", "wer", "bleu", "cer", "rouge1", "length")
    result = score(ScoreConfig(sys=systems, ref=(tmp_path / "right",), metrics=metrics, report=path))
    check(browser, path, *(f"{item.value:.2f}" for item in result.scores), BASE[1], NEW[1], RIGHT[1])
    # Bars that can be seen: of every metric and of the lengths.
    tall = (
        "[...document.querySelectorAll('rect')].filter(bar => bar.getBoundingClientRect().height > 1).length"
    )
    assert browser.value(tall) >= 2 * len(metrics)
    colours = "getComputedStyle(document.querySelector('{}')).backgroundColor"
    assert browser.value(colours.format("del")) != browser.value(colours.format("ins"))


def test_a_report_of_hostile_text_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    """With all that a report can have: sources, records with probabilities, and runs with names of their own."""
    for name, text in (("source", HOSTILE), ("right", ATTRIBUTE)):
        (tmp_path / name).write_text(f"{text} word\nplain\n" * 4, encoding="utf-8")
    record = {
        "text": f"{HOSTILE} {ATTRIBUTE} other",
        "tokens": [HOSTILE, "</s>"],
        "token_scores": [-0.5, -0.1],
    }
    lines = [
        json.dumps({"version": 1, "id": number, "source": HOSTILE, "score": -0.3} | record)
        for number in range(8)
    ]
    output = tmp_path / "x<b>y.jsonl"
    output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    run = tmp_path / "run<b>x"
    run.mkdir()
    events = [
        {"event": kind, "update": 1 + number, "loss": 2.0}
        for number in range(3)
        for kind in ("train", "valid")
    ]
    (run / "log.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events), encoding="utf-8")
    path = tmp_path / "page.html"
    given = ScoreConfig(
        sys=(output,),
        ref=(tmp_path / "right",),
        src=tmp_path / "source",
        metrics=("chrf", "bleu"),
        report=path,
        runs=(run,),
    )
    score(given)
    check(browser, path, HOSTILE, "x<b>y", "run<b>x")


@pytest.mark.parametrize("settings", [{}, {"trace": True}, {"trace": True, "why": "ba"}], ids=str)
def test_an_explanation_of_hostile_text_runs_nothing(
    browser: Browser,
    toy_runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, object],
) -> None:
    run, path = Explainer(toy_runs / "transformer", capsys, monkeypatch), tmp_path / "page.html"
    run(f"ba be\n{HOSTILE} {ATTRIBUTE} bi\n", output=path, **{"method": "erasure"} | settings)
    check(browser, path, "ba be", HOSTILE)


def test_attention_of_hostile_text_runs_nothing(
    browser: Browser,
    toy_runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "page.html"
    Generator(toy_runs / "transformer", capsys, monkeypatch)(
        f"ba be\n{HOSTILE} {ATTRIBUTE}\n", attention=path
    )
    check(browser, path, "ba be", HOSTILE)


def test_a_picture_of_hostile_names_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    run = tmp_path / "run<b>x"
    run.mkdir()
    norms = {f"layer<script>{number}": 1.0 for number in range(3)}
    events = [{"event": "train", "update": 1, "loss": 2.0}, {"event": "norms", "update": 1, "norms": norms}]
    (run / "log.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events), encoding="utf-8")
    path = tmp_path / "curves.svg"
    plot(PlotConfig(runs=(run,), output=path))
    browser.load(path)
    assert browser.requests == [path.as_uri()]
    assert browser.errors == []
    assert "run<b>x" in browser.value("document.documentElement.textContent")
    assert browser.value("document.querySelectorAll('script').length") == 0
