"""What an engine does: it searches for outputs of encoded lines, and scores given ones. torch's is one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from s2scli.configs.attribution import AttributionSettings
from s2scli.configs.search import SearchConfig
from s2scli.inference.lines import EncodedLine
from s2scli.search.request import BatchLimits, Request, ScoredOutput
from s2scli.traces import BeamTrace


@dataclass(frozen=True)
class Explaining:
    """How outputs are to be explained: by the settings' method, and against which token, by its id, if against one."""

    settings: AttributionSettings
    contrast: int | None = None


class Engine(Protocol):
    """A model that reads and writes token ids of its checkpoint's vocabularies.

    A line is a source; for a model without an encoder, a language model, it is the beginning of its own output, and the
    request has it as a prefix. A model that copies writes V + n for the n-th of a source's own words, V being the size
    of the target vocabulary. Any method may raise what `is_out_of_memory` knows.
    """

    @property
    def reads_source(self) -> bool:
        """Whether the model has an encoder."""
        ...

    @property
    def copies(self) -> bool:
        """Whether outputs may hold words of the source that are not in the target vocabulary."""
        ...

    @property
    def max_source_positions(self) -> int | None:
        """The most tokens of a source that the model has positions for, end symbol counted; None: any number."""
        ...

    @property
    def max_target_positions(self) -> int | None:
        """The most tokens of an output that the model has positions for, end symbol counted; None: any number."""
        ...

    @property
    def frame_stride(self) -> int:
        """The frames of a source from one position of the encoder to the next; 1 where the source is tokens."""
        ...

    def check(self, config: SearchConfig) -> None:
        """UsageError, with the flag, for settings that the engine cannot search by."""
        ...

    def search(
        self,
        sources: Sequence[EncodedLine],
        request: Request,
        config: SearchConfig,
        limits: BatchLimits,
        done: Callable[[int], object],
    ) -> list[list[ScoredOutput]]:
        """The outputs of each source, best first, none where nothing is allowed.

        limits: of what is searched for at a time. done: called with the number of sources finished, as they are.
        """
        ...

    def attend(
        self,
        sources: Sequence[EncodedLine],
        outputs: list[list[ScoredOutput]],
        config: SearchConfig,
        limits: BatchLimits,
    ) -> list[list[ScoredOutput]]:
        """The outputs of each source with their attention, of the config's `alignment_layer`."""
        ...

    def explain(
        self, source: EncodedLine, output: ScoredOutput, explaining: Explaining, config: SearchConfig
    ) -> ScoredOutput:
        """An output of a source with what its tokens come from.

        UsageError where the model cannot be looked into by the method. config: says the `alignment_layer`.
        """
        ...

    def trace(
        self,
        source: EncodedLine,
        request: Request,
        config: SearchConfig,
        wished: Sequence[int] | None,
        word: int | None,
    ) -> BeamTrace:
        """Search for the output of one source and tell what was done; UsageError where that cannot be told.

        wished: ids, without the end symbol, of an output that is held against what is found; word: the id of a token
        that is held against each of its tokens.
        """
        ...

    def score(self, sources: Sequence[EncodedLine], targets: Sequence[Sequence[int]]) -> list[ScoredOutput]:
        """Given targets, ids without the end symbol, one for each source, as outputs.

        Their score is the mean log-probability of their tokens, end symbol counted. All are scored at once.
        """
        ...

    def dropout(self, seed: int, line: int) -> AbstractContextManager[None]:
        """Keep dropout on in here (Gal and Ghahramani 2016), all that is drawn following from seed and line."""
        ...

    def release_memory(self) -> None:
        """Give back memory that is kept but not used, after it has run out."""
        ...
