"""Models with an encoder in CTranslate2's hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from s2scli.configs.search import SearchConfig
from s2scli.inference.ctranslate2_engine import Ctranslate2Engine, output_batches
from s2scli.inference.lines import EncodedLine
from s2scli.inference.token_names import TokenNames
from s2scli.search.request import BatchLimits, ScoredOutput


@dataclass(frozen=True, kw_only=True)
class Ctranslate2TranslationEngine(Ctranslate2Engine):
    """A model with an encoder, which a `ctranslate2.Translator` runs; source: the tokens it reads."""

    source: TokenNames

    reads_source = True

    def _own_options(self, config: SearchConfig) -> dict[str, Any]:
        return {
            "coverage_penalty": config.coverage_penalty,
            "min_decoding_length": config.min_len,
            "use_vmap": self.uses_shortlist,
            "max_input_length": 0,
        }

    def _begin(
        self,
        sources: Sequence[EncodedLine],
        prefixes: Sequence[Sequence[int]],
        longest: int,
        options: Mapping[str, Any],
    ) -> list[Any]:
        if options["min_decoding_length"] > longest:
            options = {**options, "min_decoding_length": longest}
        begun: list[Any] = self.runner.translate_batch(
            [self.source.of(source.ids) for source in sources],
            [self.target.of(prefix) for prefix in prefixes] if any(prefixes) else None,
            max_decoding_length=longest,
            **options,
        )
        return begun

    def _hypotheses(self, result: Any) -> list[list[str]]:
        hypotheses: list[list[str]] = result.hypotheses
        return hypotheses

    def _forced_scores(
        self, sources: Sequence[EncodedLine], targets: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        found = self.runner.score_batch(
            [self.source.of(source.ids) for source in sources],
            [self.target.of(target) for target in targets],
            max_input_length=0,
        )
        return [result.log_probs for result in found]

    def attend(
        self,
        sources: Sequence[EncodedLine],
        outputs: list[list[ScoredOutput]],
        config: SearchConfig,
        limits: BatchLimits,
    ) -> list[list[ScoredOutput]]:
        """The outputs of each source with their attention, by a forced pass."""
        del config
        weights: list[Any] = []
        for pairs in output_batches(sources, outputs, limits):
            weights += self._attended(pairs)
        found = iter(weights)
        return [[replace(item, attention=next(found)) for item in items] for items in outputs]

    def _attended(self, pairs: Sequence[tuple[EncodedLine, ScoredOutput]]) -> list[Any]:
        """The attention [T, S] of outputs of sources, as a search that has no choice gives it."""
        import numpy as np  # which nothing else needs here

        given = [self.target.of(item.ids[:-1]) for _, item in pairs]
        results = self.runner.translate_batch(
            [self.source.of(source.ids) for source, _ in pairs],
            given,
            beam_size=1,
            max_decoding_length=max(map(len, given)) + 1,
            max_input_length=0,
            return_attention=True,
            return_end_token=True,
        )
        found = []
        for result, (_, item) in zip(results, pairs, strict=True):
            # Of the source's end symbol CTranslate2 says nothing; it has what is left of each row.
            inside = np.array(result.attention[0][: len(item.ids)], np.float32)  # [T, S - 1]
            left = np.maximum(1 - inside.sum(1, keepdims=True), 0)
            found.append(np.concatenate([inside, left], axis=1))
        return found
