"""The report in a real browser, where there is one: on PATH, or what S2S_TEST_BROWSER names (a Chromium)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_shown import BASE, NEW, RIGHT, Page

from s2scli.configs.score import ScoreConfig
from s2scli.score import score

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "chrome-headless-shell", "headless_shell")
BROWSER = os.environ.get("S2S_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser is here")
# A browser's own traffic, which pages have no part in.
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")


def loaded(page: Path) -> tuple[str, set[str]]:
    """The document as the browser has it, and the addresses that it asked for."""
    assert BROWSER is not None
    log, profile = page.with_suffix(".log"), page.with_suffix(".profile")
    found = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", *QUIET),
            *(f"--user-data-dir={profile}", f"--log-net-log={log}", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        check=True,
        timeout=120,
    )
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    addresses = {event["params"]["url"] for event in events if "url" in event.get("params", {})}
    return found.stdout.decode(), {address for address in addresses if re.match("(https?|wss?):", address)}


def test_the_report_is_read_and_asks_for_nothing(tmp_path: Path) -> None:
    for name, lines in (("base", BASE), ("new", NEW), ("right", RIGHT)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    path = tmp_path / "page.html"
    systems = (tmp_path / "base", tmp_path / "new")
    result = score(
        ScoreConfig(sys=systems, ref=(tmp_path / "right",), metrics=("chrf", "ter", "wer"), report=path)
    )
    text, asked = loaded(path)
    page = Page(text)
    assert asked == set()
    for item in result.scores:
        assert f"{item.value:.2f}" in page.text
    # Charts by length for each metric, and of lengths: a bar a system, or a system and the references.
    assert page.tags.count("svg") == 4
    assert page.tags.count("rect") >= 3 * 2 + 3
    assert {"ins", "del"} <= set(page.tags)


def test_what_a_page_asks_for_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text('<html><body><img src="http://127.0.0.1:9/picture.png"></body></html>', encoding="utf-8")
    assert loaded(path)[1] == {"http://127.0.0.1:9/picture.png"}
