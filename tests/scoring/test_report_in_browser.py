"""The report in a real browser, where there is one: a Chromium on PATH, or what S2S_TEST_BROWSER names."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from systems import BASE, NEW, RIGHT

from s2scli.configs.score import ScoreConfig
from s2scli.score import score

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "chrome-headless-shell", "headless_shell")
BROWSER = os.environ.get("S2S_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser is here")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-zygote", "--single-process", "--no-first-run")


class Browser:
    """A page that is driven by Chromium's DevTools protocol: JSON over two pipes, with NUL after each message."""

    def __init__(self, profile: Path) -> None:
        theirs, self._to = os.pipe()
        self._from, other = os.pipe()
        # It reads from 3 and writes to 4.
        redirected = f'exec "$@" 3<&{theirs} 4>&{other}'
        self._process = subprocess.Popen(
            [
                *("bash", "-c", redirected, "bash", str(BROWSER), *FLAGS),
                *(f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"),
            ],
            pass_fds=(theirs, other),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(other)
        self._read, self._number, self._session = b"", 0, ""
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Network", "Page"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": parameters, **session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        found = self.until(lambda event: event.get("id") == self._number)
        assert "error" not in found, found
        answer: dict[str, Any] = found["result"]
        return answer

    def until(self, is_it: Any) -> dict[str, Any]:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            while b"\0" in self._read:
                line, _, self._read = self._read.partition(b"\0")
                event: dict[str, Any] = json.loads(line)
                if event.get("method") == "Network.requestWillBeSent":
                    self.requests.append(event["params"]["request"]["url"])
                if is_it(event):
                    return event
            if select.select([self._from], [], [], 1)[0]:
                self._read += os.read(self._from, 1 << 16)
        raise TimeoutError("the browser does not answer")

    def load(self, page: Path) -> None:
        self.call("Page.navigate", url=page.as_uri())
        self.until(lambda event: event.get("method") == "Page.loadEventFired")

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    made = Browser(tmp_path / "profile")
    yield made
    made.close()


def test_the_report_is_shown_and_asks_for_nothing(browser: Browser, tmp_path: Path) -> None:
    for name, lines in (("base", BASE), ("new", NEW), ("right", RIGHT)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    path = tmp_path / "page.html"
    systems = (tmp_path / "base", tmp_path / "new")
    metrics = ("chrf", "ter", "wer", "bleu", "cer", "rouge1", "length")
    result = score(ScoreConfig(sys=systems, ref=(tmp_path / "right",), metrics=metrics, report=path))
    browser.load(path)
    assert browser.requests == [path.as_uri()]
    shown = browser.value("document.body.innerText")
    for item in result.scores:
        assert f"{item.value:.2f}" in shown
    for line in (BASE[1], NEW[1], RIGHT[1]):
        assert line in shown
    # Bars that can be seen: of every metric and of the lengths.
    tall = (
        "[...document.querySelectorAll('rect')].filter(bar => bar.getBoundingClientRect().height > 1).length"
    )
    assert browser.value(tall) >= 2 * len(metrics)
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    colours = "getComputedStyle(document.querySelector('{}')).backgroundColor"
    assert browser.value(colours.format("del")) != browser.value(colours.format("ins"))


def test_what_a_page_asks_for_is_seen(browser: Browser, tmp_path: Path) -> None:
    path, asked = tmp_path / "page.html", "http://127.0.0.1:9/picture.png"
    path.write_text(f'<html><body><img src="{asked}"></body></html>', encoding="utf-8")
    browser.load(path)
    assert browser.requests == [path.as_uri(), asked]
