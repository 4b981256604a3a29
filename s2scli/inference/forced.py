"""The log-probabilities that a checkpoint gives to texts, for the metrics that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s2scli.checkpoint_file import find_checkpoint
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.search import SearchConfig
from s2scli.console import counter, warn
from s2scli.data.source_form import SourceComposer, SourceForm
from s2scli.errors import UsageError
from s2scli.inference.lines import Line
from s2scli.inference.loading import open_model
from s2scli.inference.records import summarized
from s2scli.inference.translator import Translator
from s2scli.notes import Summary
from s2scli.text.pieces import NONE

# Lines that are sorted by length, and those of a batch with their padded tokens.
_WINDOW, _BATCH_SIZE, _MAX_TOKENS = 4096, 128, 4096


class ForcedScores:
    """The model of a checkpoint, a run's folder or an exported one, that scores outputs.

    are_raw: its sources are as users type them.
    """

    def __init__(self, path: Path, *, are_raw: bool) -> None:
        found = find_checkpoint(path)
        opened = open_model(found)
        kind = opened.tokenizers["target"].piece_kind
        if kind != NONE:
            warn(
                f"--path {found}: reads pieces of words by {kind}, and knows few whole words; give it text in such "
                "pieces to score"
            )
        self._path, self._are_raw = found, are_raw
        self._latest: tuple[Sequence[str], list[tuple[float, int]]] | None = None
        self._translator = Translator(
            engine=opened.scoring_engine(GenerateConfig(path=found)),
            tokenizers=opened.tokenizers,
            limits=opened.dataset["limits"],
            form=SourceForm.from_meta(opened.dataset.get("source_form", {})),
            right_to_left=opened.right_to_left,
            search=SearchConfig(),
            batch_size=_BATCH_SIZE,
            max_tokens=_MAX_TOKENS,
        )

    @property
    def reads_source(self) -> bool:
        """Whether the model scores texts as the outputs of sources, and is no language model."""
        return self._translator.engine.reads_source

    def __call__(self, texts: Sequence[str], sources: Sequence[str]) -> list[tuple[float, int]]:
        """The log-probability of each text and its tokens, end symbol counted; 0 and 0 where there is nothing to read.

        sources: parallel to the texts; a language model takes no notice of them. Of the texts of the latest call, as
        another metric asks about them, the scores are kept.
        """
        if self._latest is None or self._latest[0] is not texts:
            self._latest = texts, self._score(texts, sources)
        return self._latest[1]

    def _score(self, texts: Sequence[str], sources: Sequence[str]) -> list[tuple[float, int]]:
        if not self._translator.engine.reads_source:
            lines = [Line(number, text, text) for number, text in enumerate(texts)]
        elif sources:
            composer = SourceComposer(self._translator.form)
            given = [composer.compose(source) for source in sources] if self._are_raw else sources
            lines = [
                Line(number, source, text)
                for number, (source, text) in enumerate(zip(given, texts, strict=True))
            ]
        else:
            raise UsageError(f"--path {self._path}: reads sources; give them as --src, or a dataset folder")
        summary = Summary(name=f"--path {self._path}", remedy="")
        with counter("score", total=len(lines)) as done:
            # Of a million records only this is kept.
            return [
                (sum(scores), len(scores))
                for record in summarized(self._translator.score(lines, _WINDOW, done), summary)
                for scores in [record.hypotheses[0].token_scores if record.hypotheses else []]
            ]
