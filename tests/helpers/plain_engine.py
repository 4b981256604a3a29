"""An engine in plain Python, which answers a source with its tokens backwards; nothing here imports torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from s2scli.configs.search import SearchConfig
from s2scli.inference.engine import Engine, Explaining
from s2scli.inference.lines import EncodedLine, Line
from s2scli.inference.translator import Translator
from s2scli.search.request import BatchLimits, Request, ScoredOutput
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, Vocabulary
from s2scli.text.word import WordTokenizer
from s2scli.traces import BeamTrace

EOS = FAIRSEQ_SYMBOLS.end

WORDS = WordTokenizer(Vocabulary([*"abcdefgh", "a.", "b."], [*range(10, 0, -1)]))


class PlainEngine:
    """The best output is the source backwards, the second the source itself; a language model repeats its prefix.

    memory: for how many sentences at a time it is enough. calls: how many sentences it had at a time, search by search.
    """

    max_source_positions = max_target_positions = None
    copies = False
    frame_stride = 1

    def __init__(self, *, memory: int = 100, reads_source: bool = True) -> None:
        self.reads_source, self._memory = reads_source, memory
        self.calls: list[int] = []
        self.lines: list[int] = []
        self.num_released = 0

    def check(self, config: SearchConfig) -> None:
        """Any settings will do."""

    def search(
        self,
        sources: Sequence[EncodedLine],
        request: Request,
        config: SearchConfig,
        limits: BatchLimits,
        done: Callable[[int], object],
    ) -> list[list[ScoredOutput]]:
        """Answer in the order of the sources; MemoryError for more at a time than there is memory for."""
        self.calls.append(limits.sentences)
        self.lines += request.lines
        if limits.sentences > self._memory:
            done(1)
            raise MemoryError
        found = []
        for row, source in enumerate(sources):
            ids = [*request.prefix, *source.ids[::-1]]
            if not self.reads_source:
                ids = [*request.prefixes[row], *request.prefixes[row]]
            found.append([output(ids, -0.5), output([*source.ids], -1.5)][: config.nbest])
        done(len(sources))
        return found

    def explain(
        self, source: EncodedLine, output: ScoredOutput, explaining: Explaining, config: SearchConfig
    ) -> ScoredOutput:
        """There is nothing to explain."""
        del source, explaining, config
        return output

    def trace(
        self,
        source: EncodedLine,
        request: Request,
        config: SearchConfig,
        wished: Sequence[int] | None,
        word: int | None,
    ) -> BeamTrace:
        """There is no beam."""
        del source, request, wished, word
        return BeamTrace(config.beam)

    def attend(
        self,
        sources: Sequence[EncodedLine],
        outputs: list[list[ScoredOutput]],
        config: SearchConfig,
        limits: BatchLimits,
    ) -> list[list[ScoredOutput]]:
        """Each token attends to the one it comes from, counted from the end; the end symbol to the end symbol."""
        del config, limits
        found = []
        for source, items in zip(sources, outputs, strict=True):
            size = len(source.ids)
            weights = np.zeros((size + 1, size + 1), np.float32)
            weights[[*range(size), size], [*reversed(range(size)), size]] = 1
            found.append([output(item.ids[:-1], item.score, weights) for item in items])
        return found

    def score(self, sources: Sequence[EncodedLine], targets: Sequence[Sequence[int]]) -> list[ScoredOutput]:
        """A token is worth its number, below zero."""
        self.calls.append(len(sources))
        scores = [[-float(token) for token in [*target, EOS]] for target in targets]
        return [
            ScoredOutput([*target, EOS], row, sum(row) / len(row))
            for target, row in zip(targets, scores, strict=True)
        ]

    @contextmanager
    def dropout(self, seed: int, line: int) -> Iterator[None]:
        """There is none."""
        del seed, line
        yield

    def release_memory(self) -> None:
        """Count how often it is asked for."""
        self.num_released += 1


def output(ids: Sequence[int], score: float, attention: Any = None) -> ScoredOutput:
    """An output of tokens that are all worth the same."""
    return ScoredOutput([*ids, EOS], [score] * (len(ids) + 1), score, attention)


def translator_over(engine: Engine, **settings: Any) -> Translator:
    """A translator of words, with settings of its own or of the search."""
    own = {name: settings.pop(name) for name in [*settings] if name in Translator.__dataclass_fields__}
    values: dict[str, Any] = {
        "tokenizers": {"source": WORDS, "target": WORDS} if engine.reads_source else {"target": WORDS},
        "limits": {"max_source_length": 0, "max_target_length": 0, "on_long": "truncate"},
        "search": SearchConfig(**settings),
        "batch_size": 8,
        "max_tokens": 1000,
    }
    return Translator(engine=engine, **values | own)


if __name__ == "__main__":
    lines = [Line(number, text) for number, text in enumerate(["a b c", "", "d"])]
    records = list(translator_over(PlainEngine(), nbest=2, beam=2).records(lines, window=2))
    print(json.dumps([[record.text, "torch" in sys.modules] for record in records]))
