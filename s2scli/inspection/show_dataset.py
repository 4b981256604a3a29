"""A dataset's description as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, asdict, fields
from typing import Any

from rich.cells import cell_len

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import counted
from s2scli.data.assembly import reasons_in_words
from s2scli.data.frame_encoding import sources_in_words
from s2scli.inspection.dataset import DatasetReport, ExampleReport
from s2scli.inspection.layout import (
    WIDTH,
    bar,
    cut,
    labelled,
    languages,
    percent,
    settings,
    size,
    table,
    text_width,
)
from s2scli.inspection.lengths import PERCENTS, LengthStatistics
from s2scli.inspection.vocabulary import OverlapReport, VocabularyReport
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS

_BAR = 18
_TITLES = {
    "longest": "the longest",
    "ratio": "the most unequal lengths",
    "unknown": "the most unknown tokens",
}


def dataset_lines(report: DatasetReport) -> Iterator[str]:
    """Lay a dataset's description out, in 80 columns but for the examples, which take the terminal's width."""
    kinds = [f"{name} {size(number)}" for name, number in report.bytes_by_kind.items() if number]
    yield f"{report.path}: dataset, {languages(report.source_lang, report.target_lang)}"
    yield from labelled("on disk", [size(report.bytes), *kinds])
    if report.verified:
        yield from labelled("checksums", ["all files are as they were written"])
    if report.num_translations:
        yield from labelled(
            "shortlist", [f"up to {counted(report.num_translations, 'translation')} of each source token"]
        )
    if report.features is not None:
        yield from labelled("features", _features(report.features))
    yield from labelled("settings", settings(_chosen(report.settings)))
    yield ""
    yield from _counts(report)
    yield ""
    yield from _quantiles(report)
    yield from _notes(report)
    yield ""
    yield from _histograms(report)
    yield ""
    yield from vocabulary_lines(report.vocabularies, report.overlap)
    for side, vocabulary in report.vocabularies.items():
        yield from _frequent(side, vocabulary, report.splits[report.examined].sides[side].num_tokens)
    for ranking, examples in report.examples.items():
        if examples:
            yield ""
            yield from _examples(ranking, examples, report.examined)


def _chosen(values: dict[str, Any]) -> dict[str, Any]:
    """The settings that differ from their defaults, and the tokenizer."""
    defaults = {
        field.name: field.default for field in fields(PreprocessConfig) if field.default is not MISSING
    }
    return {
        name: value
        for name, value in values.items()
        if name == "tokenizer"
        or name not in defaults
        or (tuple(value) if isinstance(value, list) else value) != defaults[name]
    }


def _features(form: dict[str, Any]) -> list[str]:
    """What frames are made of, in words."""
    made = [f"{form['num_features']} numbers a frame"]
    if form["sample_rate"]:
        made = [
            f"{form['num_mel_bins']} mel bands of {form['frame_length']:g} ms every {form['frame_shift']:g} ms",
            f"{form['sample_rate']:,} Hz",
        ]
    deltas = [f"deltas {form['deltas']}"] if form["deltas"] else []
    return [*made, *deltas, f"cmvn {form['cmvn']}", form["dtype"]]


def _counts(report: DatasetReport) -> list[str]:
    sides = list(report.vocabularies)
    rows = [["split", "pairs"]]
    if report.features is not None:
        rows[0] += [*([] if report.features["channels"] else ["hours"]), "frames", "a token"]
    for side in sides:
        rows[0] += [f"{side} tokens", "unknown"]
    for name, split in report.splits.items():
        row = [name, f"{split.num_examples:,}"]
        if split.frames is not None:
            frames = split.frames
            time = [] if frames.hours is None else [f"{frames.hours:,.2f}"]
            row += [*time, f"{frames.num_frames:,}", f"{frames.frames_per_token:,.1f}"]
        for found in split.sides.values():
            row += [f"{found.num_tokens:,}", percent(found.num_unknown, found.num_tokens)]
        rows.append(row)
    return table(rows)


def _quantiles(report: DatasetReport) -> list[str]:
    percents = [f"{percentage}%" for percentage in PERCENTS]
    rows = [["lengths", "", "mean", "min", *percents, "max"]]
    for name, split in report.splits.items():
        label = name
        of_frames = {"frames": split.frames.lengths} if split.frames else {}
        for column, lengths in (
            of_frames | {name: side.lengths for name, side in split.sides.items()}
        ).items():
            whole = [lengths.minimum, *lengths.quantiles.values(), lengths.maximum]
            figures = [f"{lengths.mean:,.1f}", *(f"{number:,}" for number in whole)]
            rows.append([label, column, *(figures if split.num_examples else ["-"] * len(figures))])
            label = ""
    return table(rows, left=2)


def _notes(report: DatasetReport) -> Iterator[str]:
    """Which tags there are, what is training data too, and what preprocess dropped and cut, and why."""
    for name, split in report.splits.items():
        if split.tags:
            tags = ", ".join(f"{tag} {number:,}" for tag, number in split.tags.items())
            yield f"{name}: tags {tags}, none {split.num_examples - sum(split.tags.values()):,}"
        if split.in_training:
            share = percent(split.in_training, split.num_examples)
            yield f"{name}: {counted(split.in_training, 'pair')}, {share}, of the training split too"
        if split.dropped:
            reasons = ", ".join(reasons_in_words(split.dropped))
            yield f"{name}: {counted(sum(split.dropped.values()), 'pair')} left out: {reasons}"
        if split.frames is not None and report.features is not None:
            for told in sources_in_words(report.features["sample_rate"], split.frames.counts):
                yield f"{name}: {told}"
        for side, number in split.truncated.items():
            limit = report.limits.get(f"max_{side}_length")
            lost = f", {split.truncated_tokens[side]:,} left out" if side in split.truncated_tokens else ""
            yield f"{name}: {counted(number, f'{side} sentence')} cut to {limit} tokens{lost}"


def _histograms(report: DatasetReport) -> Iterator[str]:
    """The lengths of the examined split, a column of bars for each side."""
    split = report.splits[report.examined]
    if not split.num_examples:
        yield f"{report.examined} holds no pairs"
        return
    all_lengths = {name: side.lengths for name, side in split.sides.items()}
    first = next(iter(all_lengths.values()))
    highest = max(max(lengths.histogram) for lengths in all_lengths.values())
    labels = [_range(first, number) for number in range(len(first.histogram))]
    width = max(len("tokens"), *map(len, labels))
    heading = "  ".join(f"{name:<{_BAR + 8}}" for name in all_lengths)
    yield f"{'tokens':>{width}}  {heading}".rstrip() + f"  share of {report.examined}"
    for number, label in enumerate(labels):
        cells = [
            f"{bar(count / highest, _BAR)} {percent(count, split.num_examples):>7}"
            for count in (lengths.histogram[number] for lengths in all_lengths.values())
        ]
        yield f"{label:>{width}}  {'  '.join(cells)}"


def _range(lengths: LengthStatistics, number: int) -> str:
    low = number * lengths.bin_width
    if number == len(lengths.histogram) - 1:
        return f"{low:,}+"
    high = low + lengths.bin_width - 1
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def vocabulary_lines(
    vocabularies: dict[str, VocabularyReport], overlap: OverlapReport | None
) -> Iterator[str]:
    """A table of the vocabularies, and what they have in common."""
    rows = [["vocabulary", "tokenizer", "symbols", "fingerprint", "of the tokenizer"]]
    for side, vocabulary in vocabularies.items():
        row = [side, vocabulary.tokenizer, f"{vocabulary.size:,}"]
        rows.append([*row, vocabulary.fingerprint, vocabulary.tokenizer_fingerprint])
    unused = [vocabulary.num_unused for vocabulary in vocabularies.values()]
    if any(number is not None for number in unused):
        cells = ["unused", *("-" if number is None else f"{number:,}" for number in unused)]
        rows = [[*row, cell] for row, cell in zip(rows, cells, strict=True)]
    yield from table(rows, left=2)
    for side, vocabulary in vocabularies.items():
        if vocabulary.special != FAIRSEQ_SYMBOLS:
            ids = ", ".join(f"{name} {token}" for name, token in asdict(vocabulary.special).items())
            yield f"{side}: ids of special symbols other than fairseq's: {ids}"
    if overlap and overlap.identical:
        neither = overlap.num_unused
        more = "" if neither is None else f"; {neither:,} of its symbols occur on neither"
        yield f"both sides have the same vocabulary{more}"
    elif overlap:
        yield f"{counted(overlap.num_shared, 'symbol')} in both vocabularies"


def _frequent(side: str, vocabulary: VocabularyReport, num_tokens: int) -> list[str]:
    """The most frequent symbols, as many as fit into a line."""
    line = f"frequent {side}:"
    for item in vocabulary.frequent:
        symbol = item.symbol if item.symbol.isprintable() and item.symbol.strip() else repr(item.symbol)
        more = f"  {cut(symbol, 20)} {percent(item.count, num_tokens)}"
        if cell_len(line + more) > WIDTH:
            break
        line += more
    return [line] if vocabulary.frequent else []


def _examples(ranking: str, examples: list[ExampleReport], split: str) -> Iterator[str]:
    """Examples with their tokens joined to text again, which is what a model sees of them."""
    yield f"{_TITLES[ranking]} in {split}"
    for example in examples:
        place = f"line {example.line:,}" if example.line else f"pair {example.id + 1:,} of those kept"
        frames = [] if example.num_frames is None else [counted(example.num_frames, "frame")]
        figures = [*frames, *(f"{number:,} {side}" for side, number in example.num_tokens.items())]
        if ranking == "unknown":
            figures = [
                f"{example.num_unknown[side]:,} of {number:,} {side}"
                for side, number in example.num_tokens.items()
            ]
        extra = f" tokens, ratio {example.value:.3g}" if ranking == "ratio" else " tokens"
        yield f"  {place}: {', '.join(figures)}{extra}"
        names = {"source": example.text["source"]} if example.num_frames is not None else {}
        for side, text in (names | example.decoded).items():
            label = f"    {side}  "
            yield f"{label}{cut(text, text_width() - len(label))}".rstrip()
