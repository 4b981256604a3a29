"""A program that is a browser for tests: Qt's WebEngine, which is Chromium, driven by lines of JSON.

It needs PyQt6-WebEngine, and no screen with QT_QPA_PLATFORM=offscreen.

Each line of its input is {"load": URL}, {"value": EXPRESSION} or {"width": PIXELS}. Each is answered by a line: the
value, true, or, of a load, {"requests": all URLs that were asked for, "errors": what the console was told}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from PyQt6.QtCore import QEventLoop, QTimer, QUrl
from PyQt6.QtWebEngineCore import (
    QWebEnginePage,
    QWebEngineProfile,
    QWebEngineSettings,
    QWebEngineUrlRequestInfo,
    QWebEngineUrlRequestInterceptor,
)
from PyQt6.QtWebEngineWidgets import QWebEngineView
from PyQt6.QtWidgets import QApplication

# Milliseconds: after which what is asked for has not been answered; until a page knows the width of its window.
_PATIENCE, _TO_SETTLE = 60_000, 200


class _Requests(QWebEngineUrlRequestInterceptor):
    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def interceptRequest(self, info: QWebEngineUrlRequestInfo) -> None:  # noqa: N802 (Qt's name)
        self.urls.append(info.requestUrl().toString())


class _Page(QWebEnginePage):
    errors: list[str]

    def javaScriptConsoleMessage(self, *told: Any) -> None:  # noqa: N802 (Qt's name)
        self.errors.append(told[1])


def answered(ask: Callable[[Callable[..., None]], object]) -> Any:
    """What a call that answers later is answered with, the arguments of its callback."""
    loop, found = QEventLoop(), []

    def answer(*values: Any) -> None:
        found.append(values)
        loop.quit()

    QTimer.singleShot(_PATIENCE, loop.quit)
    ask(answer)
    if not found:
        loop.exec()
    if not found:
        raise TimeoutError("the browser does not answer")
    return found[0]


class WebEngine:
    """A window with one page."""

    def __init__(self) -> None:
        self._profile, self._requests = QWebEngineProfile(), _Requests()
        self._profile.setUrlRequestInterceptor(self._requests)
        self._page = _Page(self._profile)
        self._page.errors = []
        settings = self._page.settings()
        assert settings is not None
        # Or else a page in a file could not ask for anything, and nothing would be seen of that it does.
        settings.setAttribute(QWebEngineSettings.WebAttribute.LocalContentCanAccessRemoteUrls, True)
        self._view = QWebEngineView()
        self._view.setPage(self._page)
        self.resize(1024)
        self._view.show()

    def load(self, url: str) -> dict[str, list[str]]:
        """Open a page; what was asked for, and what the console was told."""
        self._requests.urls.clear()
        self._page.errors.clear()
        loaded = self._page.loadFinished

        def begin(done: Callable[..., None]) -> None:
            loaded.connect(done)
            self._page.load(QUrl(url))

        (is_loaded,) = answered(begin)
        loaded.disconnect()
        assert is_loaded, url
        return {"requests": self._requests.urls, "errors": self._page.errors}

    def value(self, expression: str) -> Any:
        """The value of some JavaScript."""
        (found,) = answered(lambda done: self._page.runJavaScript(expression, done))
        return found

    def resize(self, width: int) -> bool:
        """Make the window so many pixels wide, and wait until the page knows."""
        self._view.resize(width, 768)
        answered(lambda done: QTimer.singleShot(_TO_SETTLE, done))
        return True


def main() -> None:
    """Answer lines until the input ends."""
    application = QApplication(sys.argv)
    engine = WebEngine()
    calls = {"load": engine.load, "value": engine.value, "width": engine.resize}
    for line in sys.stdin:
        ((name, argument),) = json.loads(line).items()
        print(json.dumps(calls[name](argument)), flush=True)
    del engine, application


if __name__ == "__main__":
    main()
