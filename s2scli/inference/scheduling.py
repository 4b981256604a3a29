"""In what order and how many at a time an engine is given lines, and what is done when its memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from s2scli.configs.search import SearchConfig
from s2scli.console import uncounted
from s2scli.errors import is_out_of_memory
from s2scli.inference.engine import Engine, Explaining
from s2scli.inference.lines import EncodedLine
from s2scli.search.request import BatchLimits, Request, ScoredOutput


@dataclass(frozen=True)
class ForcedPair:
    """A target to be scored.

    line: its number. target: ids without the end symbol. context: ids of the text before it, which are read too, and
    not scored.
    """

    line: int
    source: EncodedLine
    target: Sequence[int]
    context: Sequence[int] = ()

    @property
    def length(self) -> int:
        """The tokens, or frames, of the longer side, end symbols not counted."""
        return max(self.source.length, len(self.context) + len(self.target))


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """Has an engine work on encoded lines in batches.

    batch_size, max_tokens: the most lines, and padded source tokens, of a batch. right_to_left: whether the model
    writes so; what comes from here is in reading order. attends: whether outputs are to have their attention. explains:
    how they are to be explained, if they are.
    """

    engine: Engine
    config: SearchConfig
    batch_size: int
    max_tokens: int
    right_to_left: bool = False
    attends: bool = False
    explains: Explaining | None = None

    def search(
        self,
        sources: Sequence[EncodedLine],
        request: Request,
        choose: Callable[[list[ScoredOutput], EncodedLine], list[ScoredOutput]],
        done: Callable[[int], object],
    ) -> list[list[ScoredOutput]]:
        """The outputs of each source; where memory runs out, of half as many at a time.

        choose: takes some of a source's outputs, before their attention is computed.
        """
        limits = BatchLimits(min(self.batch_size, len(sources)), self.max_tokens)
        if self.config.retain_dropout:
            # It is drawn for each line by itself.
            outputs = []
            for row, source in enumerate(sources):
                with self._dropout(request.lines[row]):
                    outputs += self._search_in(limits, [source], request.select([row]), choose, done)
        else:
            outputs = self._search_in(limits, sources, request, choose, done)
        outputs = self._explained(sources, outputs)
        if not self.right_to_left:
            return outputs
        return [[self._in_reading_order(item) for item in items] for items in outputs]

    def _explained(
        self, sources: Sequence[EncodedLine], outputs: list[list[ScoredOutput]]
    ) -> list[list[ScoredOutput]]:
        if self.explains is None:
            return outputs
        return [
            [self.engine.explain(source, output, self.explains, self.config) for output in items]
            for source, items in zip(sources, outputs, strict=True)
        ]

    def _search_in(
        self,
        limits: BatchLimits,
        sources: Sequence[EncodedLine],
        request: Request,
        choose: Callable[[list[ScoredOutput], EncodedLine], list[ScoredOutput]],
        done: Callable[[int], object],
    ) -> list[list[ScoredOutput]]:
        counted = 0

        def count(number: int) -> None:
            nonlocal counted
            counted += number
            done(number)

        try:
            found = self.engine.search(sources, request, self.config.of_candidates, limits, count)
            outputs = [choose(items, source) for items, source in zip(found, sources, strict=True)]
            return self.engine.attend(sources, outputs, self.config, limits) if self.attends else outputs
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or limits.sentences == 1:
                raise
        # Outside of the handler, where the failed search's tensors are no longer held by its traceback.
        self.engine.release_memory()
        outputs = self._search_in(limits.halved(), sources, request, choose, uncounted)
        done(len(sources) - counted)
        return outputs

    def score(
        self, pairs: Mapping[int, ForcedPair], done: Callable[[int], object]
    ) -> dict[int, ScoredOutput]:
        """The targets of pairs as outputs, scored by the mean of their tokens' log-probabilities."""
        outputs: dict[int, ScoredOutput] = {}
        for indices in self._batches({index: pair.length for index, pair in pairs.items()}):
            chosen = [self._fitting(pairs[index]) for index in indices]
            targets = [[*pair.context, *pair.target] for pair in chosen]
            if self.right_to_left:
                targets = [target[::-1] for target in targets]
            sources = [pair.source for pair in chosen]
            with self._dropout(chosen[0].line):
                found = self.engine.score(sources, targets)
                if self.attends:
                    single = self.engine.attend(
                        sources, [[item] for item in found], self.config, BatchLimits(len(found))
                    )
                    found = [items[0] for items in single]
                found = [items[0] for items in self._explained(sources, [[item] for item in found])]
            for index, output, pair in zip(indices, found, chosen, strict=True):
                outputs[index] = _without_first(self._in_reading_order(output), len(pair.context))
            done(len(indices))
        return outputs

    def _dropout(self, line: int) -> AbstractContextManager[None]:
        return self.engine.dropout(self.config.seed, line) if self.config.retain_dropout else nullcontext()

    def _batches(self, lengths: Mapping[int, int]) -> Iterator[list[int]]:
        """Indices of similar lengths, longest first."""
        order = sorted(lengths, key=lambda index: -lengths[index])
        while order:
            longest = lengths[order[0]] + 1
            # Dropout that is kept is drawn for each line by itself.
            size = 1 if self.config.retain_dropout else self.batch_size
            size = max(1, min(size, self.max_tokens // longest))
            yield order[:size]
            order = order[size:]

    def _fitting(self, pair: ForcedPair) -> ForcedPair:
        """A pair with as much of its context as the model has positions for."""
        positions = self.engine.max_target_positions
        if not pair.context or positions is None:
            return pair
        left = max(0, positions - 1 - len(pair.target))
        return replace(pair, context=pair.context[max(0, len(pair.context) - left) :])

    def _in_reading_order(self, output: ScoredOutput) -> ScoredOutput:
        """An output of the model as it is read, its end symbol last."""
        if not self.right_to_left:
            return output
        order = [*reversed(range(len(output.ids) - 1)), len(output.ids) - 1]
        return replace(
            output,
            ids=[output.ids[index] for index in order],
            token_scores=[output.token_scores[index] for index in order],
            attention=None if output.attention is None else output.attention[order],
            explanation=None if output.explanation is None else output.explanation.in_order(order),
        )


def _without_first(output: ScoredOutput, number: int) -> ScoredOutput:
    """A scored target without its first tokens, its score the mean of the others' log-probabilities."""
    if not number:
        return output
    scores = output.token_scores[number:]
    return replace(output, ids=output.ids[number:], token_scores=scores, score=sum(scores) / len(scores))
