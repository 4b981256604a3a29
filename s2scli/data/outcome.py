"""What preprocessing has come to, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import counted, notice
from s2scli.data.assembly import reasons_in_words
from s2scli.data.frame_encoding import hours, sources_in_words
from s2scli.features.form import FeatureForm


@dataclass(frozen=True)
class PreprocessResult:
    """What was written; every mapping but the last has the split as its key.

    num_lines: pairs read. dropped: training pairs left out, by reason; truncated: sentences cut, by side;
    truncated_tokens: what they lost. vocabulary_sizes: by side, special symbols included.
    """

    destdir: Path
    num_lines: dict[str, int]
    num_examples: dict[str, int]
    num_tokens: dict[str, dict[str, int]]
    num_unknown: dict[str, dict[str, int]]
    dropped: dict[str, dict[str, int]]
    truncated: dict[str, dict[str, int]]
    truncated_tokens: dict[str, dict[str, int]]
    vocabulary_sizes: dict[str, int]
    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    features: FeatureForm | None = None


def _frames_in_words(form: FeatureForm, counts: Mapping[str, int]) -> str:
    """How long the sources of a split are."""
    number = counts.get("frames", 0)
    time = hours(form, number)
    of_time = "" if time is None else f", {time:.2f} hours"
    return f"source {counted(number, 'frame')} of {form.num_features}{of_time}"


def tell(config: PreprocessConfig, result: PreprocessResult) -> None:
    """Tell the user what was dropped, cut and written."""
    _tell_what_is_lost(config, result)
    if config.valid_fraction:
        notice(f"valid: {counted(result.num_examples['valid'], 'pair')} held out of the training data")
    for split, number in result.num_examples.items():
        sides = []
        if result.features is not None:
            sides.append(_frames_in_words(result.features, result.sources[split]))
        for side in result.vocabulary_sizes:
            tokens = result.num_tokens[split][side]
            share = 100 * result.num_unknown[split][side] / max(1, tokens)
            sides.append(f"{side} {counted(tokens, 'token')}, {share:.2f}% unknown")
        notice(f"{split}: {counted(number, 'pair')}; {'; '.join(sides)}")
    if "train" in result.num_examples and "valid" not in result.num_examples:
        flag = "--validpref" if config.has_text_source else "--valid-file"
        notice(f"no validation data: {flag} names some, --valid-fraction 0.02 holds out some training pairs")
    sizes = ", ".join(f"{side} {size}" for side, size in result.vocabulary_sizes.items())
    separate = "vocabularies" if len(result.vocabulary_sizes) > 1 else "vocabulary"
    kind = "joined vocabulary" if config.joined_dictionary else separate
    notice(f"{kind}: {sizes} symbols; dataset written to {result.destdir}")


def _tell_what_is_lost(config: PreprocessConfig, result: PreprocessResult) -> None:
    """Tell the user what was dropped and cut, and which sources are not as they were."""
    for split, dropped in result.dropped.items():
        if dropped:
            notice(
                f"{split}: left out {counted(sum(dropped.values()), 'pair')}: {', '.join(reasons_in_words(dropped))}"
            )
    for split, cut in result.truncated.items():
        for side, number in cut.items():
            limit = getattr(config, f"max_{side}_length")
            lost = result.truncated_tokens[split][side]
            notice(
                f"{split}: cut {counted(number, f'{side} sentence')} to {limit} tokens, {lost:,} of "
                f"{counted(result.num_tokens[split][side] + lost, 'token')} left out"
            )
    if result.features is not None:
        for split, counts in result.sources.items():
            for told in sources_in_words(result.features.sample_rate, counts):
                notice(f"{split}: {told}")
