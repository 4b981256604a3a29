"""What a server does with a request, whatever brought it: from the bytes of some lines to those of their answers."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from s2scli import __version__
from s2scli.checkpoint_file import find_checkpoints
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.search import SearchConfig
from s2scli.data.exported import arch_and_dataset
from s2scli.data.source_form import SourceComposer
from s2scli.errors import UsageError, did_you_mean
from s2scli.inference.formats import format_record
from s2scli.inference.input import json_lines, text_lines
from s2scli.inference.lines import Line
from s2scli.inference.server.connection import Refused
from s2scli.inference.server.pool import Pool, Question
from s2scli.inference.translator import ADAPTER, Translator
from s2scli.io import decode
from s2scli.needs import with_changes
from s2scli.record import NOT_TEXT, to_line
from s2scli.streams import to_bytes

# What messages call a request, as they would a file.
_NAME = "request"
# The settings that a request may have of its own, and those that it may only lower, lest it hold the server.
SETTINGS = tuple(field.name for field in fields(SearchConfig))
_WIDTHS = ("beam", "nbest", "mbr_candidates")
_LENGTHS = ("max_len_a", "max_len_b")
# So many variations of the settings are kept.
_MOST_VARIATIONS = 64
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _described(config: GenerateConfig) -> str:
    """Which model a config names, as a line of JSON."""
    models = []
    for path in find_checkpoints(config.path):
        arch, dataset = arch_and_dataset(path)
        languages = {key: dataset.get(key) for key in ("source_lang", "target_lang")}
        models.append({"path": str(path), "arch": arch, **languages})
    return to_line({"version": __version__, "models": models, "format": config.format})


class Service:
    """A model that answers requests from any number of threads, each as `s2s generate` answers its input.

    description: which model it is, as a line of JSON.
    """

    def __init__(self, translator: Translator, config: GenerateConfig) -> None:
        self.config = config
        self.translator = translator
        self.composer()  # a wrong --source-tag is known at the start
        self.description = _described(config)
        self.pool = Pool(config.batch_size, config.max_tokens, config.buffer_size)
        self._variations: OrderedDict[GenerateConfig, Translator] = OrderedDict({config: translator})
        self._changing = threading.Lock()

    def composer(self) -> SourceComposer:
        """What makes sources of lines; it knows those before, and so each request has one of its own."""
        return SourceComposer.of_text(self.translator.form, self.config.source_tag, self.config.path)

    def asked(self, body: io.BytesIO, query: str, kind: str) -> Asked:
        """What a request asks whose body is lines of "text", records, "jsonl", or one recording, "audio".

        UsageError for settings in its query that are not known, or not allowed, and for a recording where the model
        reads text.
        """
        if kind == "audio" and self.translator.features is None:
            raise UsageError(
                "the model reads text: send lines of text/plain, or JSON lines as application/x-ndjson"
            )
        given: dict[str, str] = {}
        adapter: str | None = None
        for name, value in parse_qsl(query, keep_blank_values=True):
            key = _key(name)
            if key == ADAPTER and self.translator.adapters:
                adapter = self._adapter(value)
                continue
            if key not in SETTINGS:
                raise UsageError(f"?{name}: a request has no such setting{did_you_mean(key, SETTINGS)}")
            if key in given:
                raise UsageError(f"?{name}: given twice")
            given[key] = value
        return Asked(self, body, given, kind, adapter)

    def _adapter(self, name: str) -> str:
        """The adapter that a request asks for; UsageError where there is none such."""
        if name and name not in self.translator.adapters:
            raise UsageError(
                f"?{ADAPTER}={name}: there is no such adapter{did_you_mean(name, self.translator.adapters)}"
            )
        return name

    def answer(self, asked: Asked, form: str, watch: Callable[[], object]) -> Generator[bytes, None, None]:
        """The output for some lines, as `--format form` has it, as it gets done.

        S2SError, before there is any output, for a line that cannot be answered. watch: called now and then, may raise.
        """
        if asked.is_doubtful:
            self.pool.go_through(asked.checked(), watch)
        for answers in self.pool.answer(asked, watch):
            yield to_bytes(
                "".join(
                    f"{format_record(record, replace(config, format=form))}\n" for record, config in answers
                )
            )

    def vary(self, given: Mapping[str, Any], mark: str) -> tuple[Translator, GenerateConfig]:
        """The translator and its settings with some of its own; UsageError for a value that is not allowed.

        mark: what stands before the name of one, as the client gave it.
        """
        if not given:
            return self.translator, self.config
        names = {name: f"{mark}{name}" for name in given}
        given = {
            name: NOT_TEXT.sub("\ufffd", value) if isinstance(value, str) else value
            for name, value in given.items()
        }
        config = with_changes(self.config, given, names, lambda key: f"{mark}{key}")
        for name in given:
            self._check_bound(name, getattr(config, name), names[name])
        with self._changing:
            translator = self._variations.get(config) or self.translator.with_search(config, config.path)
            self._variations[config] = translator
            self._variations.move_to_end(config)
            if len(self._variations) > _MOST_VARIATIONS:
                self._variations.popitem(last=False)
        return translator, config

    def _check_bound(self, name: str, value: Any, called: str) -> None:
        own = getattr(self.config, name)
        if name in _WIDTHS and value > (most := max(own, self.config.max_beam)):
            raise UsageError(f"{called} = {value} is not allowed; allowed: ≤ {most} (--max-beam)")
        if name in _LENGTHS and value > own:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{called} = {value:g} is not allowed; allowed: ≤ {own:g} (the server's {flag})")
        if name == "target_prefix" and _num_bytes(value) > (most := self.config.max_line_tokens):
            number = len(self.translator.tokenizers["target"].encode(value))
            if number > most:
                raise UsageError(f"{called}: has {number:,} tokens; allowed: ≤ {most:,} (--max-line-tokens)")


class Asked:
    """The lines of a request, read anew each time, each with the translator and settings that answer it.

    adapter: that of lines which name none themselves.
    """

    def __init__(
        self,
        service: Service,
        body: io.BytesIO,
        given: Mapping[str, str],
        kind: str,
        adapter: str | None = None,
    ) -> None:
        self._service, self._body, self._given = service, body, given
        self._kind, self._adapter = kind, adapter
        self._own = service.vary(given, "?")
        if kind == "audio":
            self.num_lines, self._has_long = 1, False
            return
        text = body.getvalue()
        self.num_lines = text.count(b"\n") + (not text.endswith(b"\n") and bool(text))
        _check_lines(text, service.config.max_line_bytes)
        # A token has a byte at least.
        self._has_long = _longer(text, service.config.max_line_tokens) is not None

    @property
    def is_doubtful(self) -> bool:
        """Whether a line may turn out to be one that cannot be answered."""
        config = self._service.config
        return self._kind == "jsonl" or self._has_long or config.score_reference or config.on_long == "error"

    def checked(self) -> Iterator[None]:
        """Go through the lines; S2SError, or Refused, for one that cannot be answered."""
        for line, translator, config in self:
            translator.check(line)
            if self._has_long:
                _check_tokens(translator, config, line)
            yield

    def _lines(self) -> Iterator[Line]:
        """The lines of the body, read from its beginning."""
        if self._service.translator.features is not None:
            return self._recordings()
        config, composer = self._service.config, self._service.composer()
        if self._kind == "text":
            return text_lines(self._texts(), composer)
        return json_lines(self._texts(), _NAME, composer, config.source_field)

    def _recordings(self) -> Iterator[Line]:
        """The lines of a body that is one recording, or names some in the folder that the server runs in."""
        from s2scli.inference import recordings

        if self._kind == "audio":
            return iter([recordings.recording_line(self._body.getvalue(), _NAME)])
        texts = self._texts()
        lines = (
            recordings.path_lines(texts)
            if self._kind == "text"
            else recordings.recording_records(texts, _NAME)
        )
        return recordings.only_within(lines, Path(), _NAME)

    def _texts(self) -> Iterator[str]:
        self._body.seek(len(_BYTE_ORDER_MARK) if self._body.getvalue()[:3] == _BYTE_ORDER_MARK else 0)
        # What is no UTF-8 is replaced; a client sees that, and its server's user could not mend it.
        return (decode(raw)[0] for raw in self._body)

    def __iter__(self) -> Iterator[Question]:
        for line in self._lines():
            if self._adapter is not None and line.extra.get(ADAPTER) is None:
                line = replace(line, extra={**line.extra, ADAPTER: self._adapter})
            if self._kind != "jsonl":
                yield Question(line, *self._own)
                continue
            given = {
                _key(name): value for name, value in line.extra.items() if _is_setting(_key(name), value)
            }
            if not given:
                yield Question(line, *self._own)
                continue
            try:
                own = self._service.vary({**self._given, **given}, "")
            except UsageError as error:
                raise UsageError(f"{_NAME}:{line.id + 1}: {error}") from None
            yield Question(line, *own)


def _key(name: str) -> str:
    return name.replace("-", "_")


def _is_setting(name: str, value: object) -> bool:
    """Whether a record's field is a setting; a list of outputs, as a record of `s2s generate` has, is none."""
    return name in SETTINGS and not (name == "nbest" and isinstance(value, list))


def _check_lines(text: bytes, most: int) -> None:
    """Refused for a line that is too long."""
    start = _longer(text, most)
    if start is not None:
        number = text.count(b"\n", 0, start) + 1
        raise Refused(
            413,
            f"{_NAME}:{number}: the line has more than {most:,} bytes (--max-line-bytes); divide it, or use a pipe",
        )


def _longer(text: bytes, most: int) -> int | None:
    """Where the first line with more than so many bytes begins; None where there is none."""
    start = 0
    while len(text) - start > most:
        end = text.rfind(b"\n", start, start + most + 1)
        if end < 0:
            return start
        start = end + 1
    return None


def _check_tokens(translator: Translator, config: GenerateConfig, line: Line) -> None:
    """Refused for a line, a part of one that is divided, or constraints of one, which would hold others up."""
    most, number, phrases = config.max_line_tokens, 0, line.constraints
    # A token has a byte at least.
    if _num_bytes(line.text) > most:
        number = max(translator.length(part.line) for part in translator.parts_of(line))
    if _num_bytes(*phrases) > most:
        target = translator.tokenizers["target"]
        number = max(number, sum(len(target.encode_phrase(phrase)) for phrase in phrases))
    if number > most:
        raise Refused(
            413,
            f"{_NAME}:{line.id + 1}: the line has {number:,} tokens, more than {most:,} "
            "(--max-line-tokens); divide it, or use a pipe",
        )


def _num_bytes(*texts: str) -> int:
    return sum(len(text.encode(errors="replace")) for text in texts)
