"""The engine that computes with CTranslate2, in C++; torch is not imported.

Its searches are CTranslate2's own: a sentence is done once `beam` outputs have ended, as with fairseq; what may not
come has no part in the probabilities; an output that has reached its longest length has no score for its end symbol.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from s2scli.configs.search import SearchConfig
from s2scli.console import uncounted
from s2scli.errors import DataError, UsageError
from s2scli.inference.engine import Explaining
from s2scli.inference.lines import EncodedLine
from s2scli.inference.token_names import TokenNames
from s2scli.search.request import BatchLimits, Request, ScoredOutput
from s2scli.traces import BeamTrace

# Batches that wait beside the one that is worked on: the next begins at once, and a signal need not wait for many.
_AHEAD = 2
# What SearchConfig has and CTranslate2 has not, beyond what their defaults come to.
_UNKNOWN = (
    "word_reward",
    "unkpen",
    "diverse_beam_groups",
    "sibling_diversity",
    "typical_p",
    "min_p",
    "retain_dropout",
)
_SEARCHES = ("sampling", "greedy", "beam")
_REMEDY = "leave it out, or give --path the run that the model was exported from"


def refusal(flag: str, why: str) -> UsageError:
    """The error for a setting that CTranslate2 cannot search by; why: "CTranslate2 …" goes on with it."""
    return UsageError(f"{flag}: CTranslate2 {why}; {_REMEDY}")


@dataclass(frozen=True, kw_only=True)
class Ctranslate2Engine(ABC):
    """A model in CTranslate2's hands; `Engine` says what the methods do.

    runner: ctranslate2's object that runs it. target: the tokens it writes. positions: the most tokens of a side, end
    symbol counted, where there is a most. num_layers: of the decoder, of which the last says what outputs attend to.
    uses_shortlist: whether outputs are made of the folder's shortlists. scores_outputs: whether outputs are wanted with
    their scores, which a greedy search takes longer for; scores_tokens: with the log-probability of each token, which
    takes a second pass. A score that is not wanted may be nan.
    """

    runner: Any
    target: TokenNames
    positions: Mapping[str, int]
    num_layers: int
    uses_shortlist: bool = False
    scores_outputs: bool = False
    scores_tokens: bool = False
    _latest: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    reads_source: ClassVar[bool]
    copies: ClassVar[bool] = False
    frame_stride: ClassVar[int] = 1

    @property
    def max_source_positions(self) -> int | None:
        """The most tokens of a source, end symbol counted."""
        return self.positions.get("source")

    @property
    def max_target_positions(self) -> int | None:
        """The most tokens of an output, end symbol counted."""
        return self.positions.get("target")

    def check(self, config: SearchConfig) -> None:
        """UsageError, with the flag, for settings that CTranslate2 cannot search by."""
        for name in _UNKNOWN:
            if getattr(config, name) != getattr(SearchConfig, name):
                raise refusal(f"--{name.replace('_', '-')} {getattr(config, name)}", "has no such search")
        if config.length_penalty != "average" and not config.unnormalized:
            raise refusal(f"--length-penalty {config.length_penalty}", "knows average alone")
        if config.stop == "exact":
            raise refusal("--stop exact", "stops once as many outputs as the beam is wide have ended")
        if config.temperature != 1 and not config.sampling:
            raise refusal(f"--temperature {config.temperature:g}", "has it for --sampling alone")
        if config.search_method.name not in _SEARCHES:
            raise refusal(f"--search {config.search_method.name}", "has no such search")
        layer = config.alignment_layer
        if layer is not None and layer not in (-1, self.num_layers - 1):
            raise refusal(
                f"--alignment-layer {layer}", f"tells what the last layer, {self.num_layers - 1}, attends to"
            )

    def explain(
        self, source: EncodedLine, output: ScoredOutput, explaining: Explaining, config: SearchConfig
    ) -> ScoredOutput:
        """UsageError: nobody can look into what CTranslate2 computes."""
        del source, output, config
        raise refusal(f"--method {explaining.settings.method}", "gives neither gradients nor what it reads")

    def trace(
        self,
        source: EncodedLine,
        request: Request,
        config: SearchConfig,
        wished: Sequence[int] | None,
        word: int | None,
    ) -> BeamTrace:
        """UsageError: nobody can look into what CTranslate2 computes."""
        del source, request, config, wished, word
        raise refusal("--trace", "does not tell what its search did")

    def search(
        self,
        sources: Sequence[EncodedLine],
        request: Request,
        config: SearchConfig,
        limits: BatchLimits,
        done: Callable[[int], object],
    ) -> list[list[ScoredOutput]]:
        """The outputs of each source, best first."""
        self._check_request(request)
        prefixes = request.prefixes or [request.prefix] * len(sources)
        options = self._options(config)
        # Of all lines the same tokens are forbidden, where any are.
        if forbidden := next((item.always for item in request.excluded if item is not None), None):
            also = [[name] for name in self.target.of(sorted(forbidden))]
            options = {**options, "suppress_sequences": [*options["suppress_sequences"], *also]}
        is_greedy = config.beam == 1 and not config.sampling
        is_free = not forbidden and not options["return_scores"]
        find = self._find_greedily if is_greedy and is_free else self._find
        outputs = find(sources, prefixes, options, config, limits, done)
        # What an output had to begin with has no part in the score that CTranslate2 gives it.
        if self.scores_tokens or (options["return_scores"] and any(prefixes)):
            outputs = self._with_token_scores(sources, outputs, config, limits)
        return outputs

    def _find_greedily(
        self,
        sources: Sequence[EncodedLine],
        prefixes: Sequence[Sequence[int]],
        options: Mapping[str, Any],
        config: SearchConfig,
        limits: BatchLimits,
        done: Callable[[int], object],
    ) -> list[list[ScoredOutput]]:
        """As `_find`, for a greedy search, in which only what is chosen counts.

        Special symbols that no output holds are hardly ever the most probable ones. To rule them out at each step takes
        CTranslate2 longer than to see here whether one was chosen, and only then to search again without them.
        """
        outputs = self._find(sources, prefixes, {**options, "suppress_sequences": None}, config, limits, done)
        special = self.target.special.never_shown
        again = [
            row
            for row, (items, prefix) in enumerate(zip(outputs, prefixes, strict=True))
            if not special.isdisjoint(items[0].ids[len(prefix) : -1])
        ]
        if again:
            chosen, begun = [sources[row] for row in again], [prefixes[row] for row in again]
            found = self._find(chosen, begun, options, config, limits, uncounted)
            for row, items in zip(again, found, strict=True):
                outputs[row] = items
        return outputs

    def _find(
        self,
        sources: Sequence[EncodedLine],
        prefixes: Sequence[Sequence[int]],
        options: Mapping[str, Any],
        config: SearchConfig,
        limits: BatchLimits,
        done: Callable[[int], object],
    ) -> list[list[ScoredOutput]]:
        """The outputs that CTranslate2 finds with its options for a search, scored as it scores them."""
        outputs: list[list[ScoredOutput]] = [[] for _ in sources]
        waiting: deque[tuple[list[int], Any]] = deque()
        batches = list(self._batches(sources, prefixes, config, limits))
        # Where nothing is to wait beside a batch, its results themselves are had sooner than what promises them.
        is_alone = len(batches) == 1
        options = {**options, "asynchronous": not is_alone}

        def take() -> None:
            rows, results = waiting.popleft()
            for row, result in zip(rows, results, strict=True):
                outputs[row] = self._outputs(result if is_alone else result.result())
            done(len(rows))

        for rows, longest in batches:
            chosen, begun = [sources[row] for row in rows], [prefixes[row] for row in rows]
            waiting.append((rows, self._begin(chosen, begun, longest, options)))
            if len(waiting) > _AHEAD:
                take()
        while waiting:
            take()
        return outputs

    def _check_request(self, request: Request) -> None:
        """UsageError for phrases that outputs must hold, or must not."""
        for number, constraints in zip(request.lines, request.constraints, strict=False):
            if constraints is not None:
                raise refusal(
                    f"line {number + 1}", "cannot make outputs hold phrases (constraints, --glossary)"
                )
        for number, excluded in zip(request.lines, request.excluded, strict=False):
            if excluded is not None and not excluded.is_of_tokens:
                raise refusal(f"line {number + 1}", "cannot keep phrases out (exclude), only --bad-tokens")

    def _batches(
        self,
        sources: Sequence[EncodedLine],
        prefixes: Sequence[Sequence[int]],
        config: SearchConfig,
        limits: BatchLimits,
    ) -> Iterator[tuple[list[int], int]]:
        """Sources that are searched for together, by their numbers, with the longest output that all of them have."""
        alike: dict[int, list[int]] = {}
        most = self.max_target_positions
        lengths = [len(source.ids) + 1 for source in sources]
        for number, length in enumerate(lengths):
            longest = int(config.max_len_a * length) + config.max_len_b
            longest = longest if most is None else min(longest, most - 1)
            alike.setdefault(max(longest, len(prefixes[number])), []).append(number)
        for longest, numbers in alike.items():
            batch: list[int] = []
            widest = 0
            for number in numbers:
                widest = max(widest, lengths[number])
                if batch and not limits.hold(len(batch) + 1, widest):
                    yield batch, longest
                    batch, widest = [], lengths[number]
                batch.append(number)
            yield batch, longest

    def _outputs(self, result: Any) -> list[ScoredOutput]:
        id_of, end, hypotheses = (
            self.target.ids.__getitem__,
            self.target.special.end,
            self._hypotheses(result),
        )
        scores = result.scores or [math.nan] * len(hypotheses)
        return [
            ScoredOutput([*map(id_of, names), end], [], score)
            for names, score in zip(hypotheses, scores, strict=True)
        ]

    def _with_token_scores(
        self,
        sources: Sequence[EncodedLine],
        outputs: list[list[ScoredOutput]],
        config: SearchConfig,
        limits: BatchLimits,
    ) -> list[list[ScoredOutput]]:
        """The outputs with the log-probability of each token, and so with that of the prefix in their scores."""
        scored: list[ScoredOutput] = []
        for pairs in output_batches(sources, outputs, limits):
            scored += self.score([source for source, _ in pairs], [item.ids[:-1] for _, item in pairs])
        power = 0.0 if config.unnormalized else config.lenpen
        found = iter(scored)
        return [
            sorted(
                (
                    replace(item, score=sum(item.token_scores) / len(item.ids) ** power)
                    for item in [next(found) for _ in items]
                ),
                key=lambda item: -item.score,
            )
            for items in outputs
        ]

    def score(self, sources: Sequence[EncodedLine], targets: Sequence[Sequence[int]]) -> list[ScoredOutput]:
        """Given targets as outputs, in one batch; DataError for one that there are no positions for."""
        longest, most = max(map(len, targets), default=0) + 1, self.max_target_positions
        if most is not None and longest > most:
            raise DataError(
                f"a target of {longest} tokens is longer than the {most} positions that the model was exported with; "
                "shorten it, or export with more --max-positions"
            )
        end = self.target.special.end
        return [
            ScoredOutput([*target, end], scores, sum(scores) / len(scores))
            for target, scores in zip(targets, self._forced_scores(sources, targets), strict=True)
        ]

    @abstractmethod
    def attend(
        self,
        sources: Sequence[EncodedLine],
        outputs: list[list[ScoredOutput]],
        config: SearchConfig,
        limits: BatchLimits,
    ) -> list[list[ScoredOutput]]:
        """The outputs of each source with their attention, of the last layer."""

    def dropout(self, seed: int, line: int) -> AbstractContextManager[None]:
        """There is none in an exported model: UsageError."""
        del seed, line
        raise refusal("--retain-dropout", "has no dropout")

    def release_memory(self) -> None:
        """CTranslate2 keeps what it has got: there is nothing to do."""
        return

    def _options(self, config: SearchConfig) -> Mapping[str, Any]:
        """The settings of a search, as CTranslate2 calls them; of the latest settings they are kept."""
        latest = self._latest
        if not latest or latest[0] is not config:
            never = self.target.of(self.target.special.never_predicted)
            latest[:] = (
                config,
                _common_options(config)
                | self._own_options(config)
                | {
                    # Of several outputs CTranslate2 tells the best by them.
                    "return_scores": self.scores_outputs or config.nbest > 1,
                    "suppress_sequences": [[name] for name in never],
                },
            )
        options: Mapping[str, Any] = latest[1]
        return options

    @abstractmethod
    def _own_options(self, config: SearchConfig) -> dict[str, Any]:
        """What the two runners call differently."""

    @abstractmethod
    def _begin(
        self,
        sources: Sequence[EncodedLine],
        prefixes: Sequence[Sequence[int]],
        longest: int,
        options: Mapping[str, Any],
    ) -> list[Any]:
        """Begin a search; what gives the result for each of the sources once it is there, or without the option
        `asynchronous` these results.
        """

    @abstractmethod
    def _hypotheses(self, result: Any) -> list[list[str]]:
        """The names of the tokens of a result's outputs, what they had to begin with among them."""

    @abstractmethod
    def _forced_scores(
        self, sources: Sequence[EncodedLine], targets: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """The log-probability of each token of given targets, and of the end symbol after them."""


def output_batches(
    sources: Sequence[EncodedLine], outputs: Sequence[Sequence[ScoredOutput]], limits: BatchLimits
) -> Iterator[list[tuple[EncodedLine, ScoredOutput]]]:
    """All outputs beside their sources, in order, as many at a time as a batch may have."""
    pairs = [(source, item) for source, items in zip(sources, outputs, strict=True) for item in items]
    for first in range(0, len(pairs), limits.sentences):
        yield pairs[first : first + limits.sentences]


def _common_options(config: SearchConfig) -> dict[str, Any]:
    """What both of CTranslate2's runners call the same."""
    drawn: dict[str, Any] = {"beam_size": config.beam, "length_penalty": config.lenpen}
    if config.unnormalized:
        drawn["length_penalty"] = 0.0
    if config.sampling:
        drawn = {
            "beam_size": 1,
            "sampling_topk": config.top_k,
            "sampling_topp": config.top_p,
            "sampling_temperature": config.temperature,
        }
    return drawn | {
        "num_hypotheses": config.nbest,
        "repetition_penalty": config.repetition_penalty,
        "no_repeat_ngram_size": config.no_repeat_ngram_size,
        "disable_unk": config.no_unk,
    }
