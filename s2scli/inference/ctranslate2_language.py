"""Language models in CTranslate2's hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s2scli.configs.search import SearchConfig
from s2scli.errors import UsageError
from s2scli.inference.ctranslate2_engine import Ctranslate2Engine, refusal
from s2scli.inference.lines import EncodedLine
from s2scli.search.request import BatchLimits, ScoredOutput


@dataclass(frozen=True, kw_only=True)
class Ctranslate2LanguageEngine(Ctranslate2Engine):
    """A language model, which a `ctranslate2.Generator` runs."""

    reads_source = False

    def check(self, config: SearchConfig) -> None:
        """UsageError, with the flag, for settings that CTranslate2 cannot search by."""
        super().check(config)
        if config.coverage_penalty:
            raise refusal(f"--coverage-penalty {config.coverage_penalty:g}", "has it for translation alone")

    def _own_options(self, config: SearchConfig) -> dict[str, Any]:
        return {"min_length": config.min_len}

    def _begin(
        self,
        sources: Sequence[EncodedLine],
        prefixes: Sequence[Sequence[int]],
        longest: int,
        options: Mapping[str, Any],
    ) -> list[Any]:
        del sources
        start = [self.target.special.start]
        begun: list[Any] = self.runner.generate_batch(
            [self.target.of([*start, *prefix]) for prefix in prefixes],
            max_length=longest,
            **{**options, "min_length": min(options["min_length"], longest)},
        )
        return begun

    def _hypotheses(self, result: Any) -> list[list[str]]:
        hypotheses: list[list[str]] = result.sequences
        return hypotheses

    def _forced_scores(
        self, sources: Sequence[EncodedLine], targets: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        del sources
        start, end = self.target.special.start, self.target.special.end
        texts = [self.target.of([start, *target, end]) for target in targets]
        return [result.log_probs for result in self.runner.score_batch(texts, max_input_length=0)]

    def attend(
        self,
        sources: Sequence[EncodedLine],
        outputs: list[list[ScoredOutput]],
        config: SearchConfig,
        limits: BatchLimits,
    ) -> list[list[ScoredOutput]]:
        """There is no source to attend to: UsageError."""
        del sources, outputs, config, limits
        raise UsageError("a language model has no source that its outputs could be aligned with")
