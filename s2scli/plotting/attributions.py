"""What is shown of where output tokens come from: lines of text with the strongest sources, and maps to draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from s2scli.plotting.heat import HeatMap, fit, label
from s2scli.record import Attribution, Hypothesis, Record

# The least share that is named, and from which on it is strong; the widest output token and named token.
_LEAST, _STRONG = 0.05, 0.25
_WIDEST, _NAMED = 16, 18
# What speaks for a token and against it, stronger and weaker, in the colours that every terminal has.
_FOR, _FOR_STRONGLY = Style(color="green"), Style(color="green", bold=True)
_AGAINST, _AGAINST_STRONGLY = Style(color="red"), Style(color="red", bold=True)
_BEFORE = "←"


def shares_of(attribution: Attribution) -> list[list[float]]:
    """Source and prefix of each token as one row, divided by the sum of their sizes: from -1 to 1."""
    rows = []
    for source, prefix in zip(attribution.source, attribution.prefix, strict=True):
        row = [*source, *prefix]
        total = sum(map(abs, row)) or 1.0
        rows.append([value / total for value in row])
    return rows


def attribution_maps(record: Record) -> Iterator[HeatMap]:
    """A map of each hypothesis: columns are the source, a gap, and what had been written."""
    source = _columns(record)
    for item in record.hypotheses:
        if item.attribution is None:
            continue
        prefix = [label(token) for token in item.attribution.prefix_tokens]
        gap = len(source)
        yield HeatMap(
            number=record.id + 1,
            source=record.source,
            text=item.text,
            rows=[label(token) for token in item.tokens],
            columns=[*source, "", *prefix],
            weights=[[*row[:gap], 0.0, *row[gap:]] for row in shares_of(item.attribution)],
        )


def attribution_table(record: Record, width: int) -> Text:
    """A record as lines: its source, and each output with a line for each token, at most `width` columns each.

    A line has the token, its probability, and its sources with their shares, strongest first: what had been written
    before it has a sign, ←. Shares have colours, and signs for those without.
    """
    lines = [Text(f"{record.id + 1}  {record.source}", style=Style(bold=True))]
    for item in record.hypotheses:
        lines.append(Text(f"   {item.text}"))
        if item.attribution is not None:
            lines += _rows(record, item, item.attribution, width)
    return Text("\n").join([*lines, Text("")])


def _rows(record: Record, item: Hypothesis, attribution: Attribution, width: int) -> Iterator[Text]:
    """A line for each token of a hypothesis."""
    tokens = [label(token) for token in item.tokens]
    room = min(_WIDEST, max(map(cell_len, tokens)))
    names = [*_columns(record), *(f"{_BEFORE}{label(name)}" for name in attribution.prefix_tokens)]
    for token, shares, score in zip(tokens, shares_of(attribution), item.token_scores, strict=True):
        line = Text(f"   {fit(token, room)} {_percent(score)} ")
        for place in sorted(range(len(shares)), key=lambda place: -abs(shares[place])):
            share = shares[place]
            name = names[place] if cell_len(names[place]) <= _NAMED else fit(names[place], _NAMED)
            part = f" {name} {share:+.2f} "
            if abs(share) < _LEAST or line.cell_len + cell_len(part) > width:
                break
            line.append(part, _style(share))
        line.rstrip()
        yield line


def _columns(record: Record) -> list[str]:
    """What each column of the source is called: its token, or where its frames begin."""
    return record.frames.labels if record.frames else [label(token) for token in record.attended]


def _percent(score: float) -> str:
    return f"{100 * exp(min(score, 0.0)):3.0f}%"


def _style(share: float) -> Style:
    styles: Sequence[Style] = (_FOR, _FOR_STRONGLY) if share > 0 else (_AGAINST, _AGAINST_STRONGLY)
    return styles[abs(share) >= _STRONG]
