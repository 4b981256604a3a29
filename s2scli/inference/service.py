"""What a server does with a request, whatever brought it: from the bytes of some lines to those of their answers."""

from __future__ import annotations

import io
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace

from s2scli import __version__
from s2scli.checkpoint_file import find_checkpoints, open_checkpoint
from s2scli.configs.generate import GenerateConfig
from s2scli.data.source_form import SourceComposer
from s2scli.errors import S2SError
from s2scli.inference.answering import check_line, spell
from s2scli.inference.engine import Engine, Line
from s2scli.inference.input import json_lines, text_lines
from s2scli.inference.pool import Pool
from s2scli.io import decode_lines
from s2scli.record import to_line

# What messages call a request, as they would a file.
_NAME = "request"


class Ending(S2SError):  # noqa: N818 (it has not gone wrong)
    """The server takes no more requests."""


class Service:
    """A model that answers requests from any number of threads, each as `s2s generate` answers its input."""

    def __init__(self, engine: Engine, config: GenerateConfig) -> None:
        self.config = config
        self._engine = engine
        self._compose()  # a wrong --source-tag is known at the start
        self._pool = Pool(engine, config)
        self._changed = threading.Condition()
        self._running = self.num_answered = 0
        self._is_ending = False

    def _compose(self) -> SourceComposer:
        return SourceComposer(self._engine.form, self.config.source_tag)

    def describe(self) -> str:
        """Which model it is, as a line of JSON."""
        models = []
        for path in find_checkpoints(self.config.path):
            with open_checkpoint(path) as (_, header):
                languages = {key: header["dataset"].get(key) for key in ("source_lang", "target_lang")}
                models.append({"path": str(path), "arch": header["config"].get("arch"), **languages})
        return to_line({"version": __version__, "models": models, "format": self.config.format})

    def lines(self, body: bytes, *, is_json: bool) -> list[Line]:
        """The lines of a request; S2SError for one that cannot be answered."""
        raw = io.BytesIO(body.removeprefix(b"\xef\xbb\xbf"))
        texts = decode_lines(raw, _NAME, replace=True)
        if is_json:
            lines = list(json_lines(texts, _NAME, self._compose(), self.config.source_field))
        else:
            lines = list(text_lines(texts, self._compose()))
        for line in lines:
            check_line(self._engine, self.config, line)
        return lines

    def answer(self, lines: list[Line], form: str) -> Generator[bytes, None, None]:
        """The output for some lines, as `--format form` has it, as it gets done."""
        config = replace(self.config, format=form)
        for records in self._pool.answer(lines):
            yield "".join(f"{spell(record, config)}\n" for record in records).encode()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a request as begun, and then as answered; Ending where no more may begin."""
        with self._changed:
            if self._is_ending:
                raise Ending("the server is ending; ask again when it has been started again")
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self.num_answered += 1
                self._changed.notify_all()

    def end(self) -> None:
        """Let no more requests begin, and wait for those that have."""
        with self._changed:
            self._is_ending = True
            self._changed.wait_for(lambda: not self._running)
