"""The engine that computes with torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch, Frames, Source, Tokens, pad_outputs
from s2scli.data.padding import pad, pad_frames
from s2scli.data.shortlist import ChosenShortlist
from s2scli.errors import UsageError
from s2scli.inference.engine import Explaining
from s2scli.inference.lines import EncodedLine
from s2scli.inference.monte_carlo import drawing_dropout
from s2scli.models.base import Decodable, Model
from s2scli.models.chosen_adapters import Adapted
from s2scli.nn.runtime import give_back_freed_memory
from s2scli.search.attention import with_attention
from s2scli.search.decoding import search
from s2scli.search.request import BatchLimits, Explanation, Request, ScoredOutput
from s2scli.traces import BeamTrace


@dataclass(frozen=True)
class TorchEngine:
    """A model on a device; `Engine` says what the methods do.

    shortlist: of what tokens outputs are made, if not of the whole vocabulary. has_adapters: whether each line says
    which adapter is for it.
    """

    model: Decodable
    device: torch.device
    shortlist: ChosenShortlist | None = None
    has_adapters: bool = False

    @property
    def reads_source(self) -> bool:
        """Whether the model has an encoder."""
        return self.model.reads_source

    @property
    def copies(self) -> bool:
        """Whether outputs may hold words of the source that are not in the target vocabulary."""
        return self.model.copies

    @property
    def max_source_positions(self) -> int | None:
        """The most tokens of a source, end symbol counted; None: any number."""
        return self.model.max_source_positions

    @property
    def max_target_positions(self) -> int | None:
        """The most tokens of an output, end symbol counted; None: any number."""
        return self.model.max_target_positions

    @property
    def frame_stride(self) -> int:
        """The frames of a source from one position of the encoder to the next."""
        return self.model.frame_stride

    def check(self, config: SearchConfig) -> None:
        """All settings are torch's."""

    def search(
        self,
        sources: Sequence[EncodedLine],
        request: Request,
        config: SearchConfig,
        limits: BatchLimits,
        done: Callable[[int], object],
    ) -> list[list[ScoredOutput]]:
        """The outputs of each source, best first."""
        return search(self.model, self._source(sources), config, request, limits, done, self.shortlist)

    def attend(
        self,
        sources: Sequence[EncodedLine],
        outputs: list[list[ScoredOutput]],
        config: SearchConfig,
        limits: BatchLimits,
    ) -> list[list[ScoredOutput]]:
        """The outputs of each source with their attention, by a forced pass where the search has not kept it."""
        return with_attention(self.model, self._source(sources), outputs, config, limits)

    def explain(
        self, source: EncodedLine, output: ScoredOutput, explaining: Explaining, config: SearchConfig
    ) -> ScoredOutput:
        """An output of a source with what its tokens come from; UsageError where several models wrote it."""
        # Few commands explain.
        from s2scli.attribution.base import AttributionMethod, ExplainedPair

        read, model = self._source([source]), self.model
        if isinstance(model, Adapted):
            model = model.chosen_for(read)
        if not isinstance(model, Model):
            raise UsageError(
                "s2s explain looks into one model: give one --path, and no --lm-path, --ctc-weight or --datastore"
            )
        settings = explaining.settings
        method: AttributionMethod = settings.attribution.builder(settings, config)
        target = pad_outputs([output.ids[:-1]], model.target_size, model.symbols).to(self.device)
        shares = method.shares(ExplainedPair(model, read, target, explaining.contrast))
        explanation = Explanation(
            shares.source.cpu().numpy(), shares.prefix.cpu().numpy(), shares.error, shares.steps
        )
        return replace(output, explanation=explanation)

    def trace(
        self,
        source: EncodedLine,
        request: Request,
        config: SearchConfig,
        wished: Sequence[int] | None,
        word: int | None,
    ) -> BeamTrace:
        """What a beam search for one source does."""
        from s2scli.search.traced import traced

        if self.shortlist is not None:
            raise UsageError(
                "--shortlist: is not for --trace, which tells of the whole vocabulary; leave it out"
            )
        return traced(self.model, self._source([source]), request, config, wished, word)

    def score(self, sources: Sequence[EncodedLine], targets: Sequence[Sequence[int]]) -> list[ScoredOutput]:
        """Given targets as outputs, in one batch."""
        model = self.model
        target = pad_outputs(targets, model.target_size, model.symbols).to(self.device)
        batch = Batch(self._source(sources), target)
        assert batch.target is not None
        with torch.inference_mode():
            scores = self.model.score_targets(batch).tolist()
        rows = zip(batch.target.predicted.tolist(), scores, batch.target.lengths.tolist(), strict=True)
        return [
            ScoredOutput(ids[:length], row[:length], sum(row[:length]) / length) for ids, row, length in rows
        ]

    def dropout(self, seed: int, line: int) -> AbstractContextManager[None]:
        """Keep dropout on in here, all that is drawn following from seed and line."""
        return drawing_dropout(self.model, seed, line)

    def release_memory(self) -> None:
        """Give back memory that the allocator keeps."""
        give_back_freed_memory(self.device)

    def _source(self, sources: Sequence[EncodedLine]) -> Source:
        source = self._padded(sources)
        if self.has_adapters:
            source = replace(source, adapters=torch.tensor([item.adapter for item in sources]))
        return source.to(self.device)

    def _padded(self, sources: Sequence[EncodedLine]) -> Tokens | Frames:
        frames = [source.frames for source in sources if source.frames is not None]
        if frames:
            return Frames.of(pad_frames(frames))
        extended = [source.extended for source in sources] if self.copies else None
        own, target = self.model.source_symbols, self.model.symbols
        ids = [source.ids for source in sources]
        return Tokens.of(pad(ids, own, extended, target))
