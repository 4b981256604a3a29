"""Error rates of speech recognition: words, characters, phonemes, sentences; through jiwer."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from s2scli.metrics.base import DEFAULTS, MetricOptions, RatioMetric, References, Rows, of_extra, present
from s2scli.metrics.words import is_unspaced, spaced

# Pairs that jiwer gets at one time.
_PAIRS_AT_ONCE = 10_000


class ErrorRate(RatioMetric):
    """100 · (substitutions + deletions + insertions) / units of the reference, by the Levenshtein alignment.

    Of several references the nearest counts: that with the fewest errors, of equals the longest. A row of statistics:
    errors, units of the reference, substitutions, deletions, insertions, and whether there is any error.
    """

    higher_is_better = False
    unit: ClassVar[str] = "words"
    # Whether words are the characters of a script without spaces.
    _is_char = False

    def __init__(self, options: MetricOptions = DEFAULTS) -> None:
        super().__init__(options)
        jiwer = of_extra(self.name, "jiwer")
        self._process = jiwer.process_words if self.unit != "characters" else jiwer.process_characters
        self._draw = jiwer.visualize_alignment

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """The counts of jiwer's alignments."""
        del sources
        self._is_char = self.unit == "words" and is_unspaced(self.options, references[0])
        return self._counted(hypotheses, references)

    def _counted(self, hypotheses: Sequence[str], references: References) -> Rows:
        pairs = [
            (line, text, right)
            for line, (text, rights) in enumerate(zip(hypotheses, present(references), strict=True))
            for right in rights
        ]
        found = np.zeros((len(hypotheses), 6), np.int64)
        seen: set[int] = set()
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            lines, texts, rights = zip(*pairs[start : start + _PAIRS_AT_ONCE], strict=True)
            output = self._process([*map(self._prepared, rights)], [*map(self._prepared, texts)])
            for line, units, chunks in zip(lines, output.references, output.alignments, strict=True):
                row = _counts(len(units), chunks)
                if line not in seen or (row[0], -row[1]) < (found[line, 0], -found[line, 1]):
                    found[line] = row
                    seen.add(line)
        return found

    def _prepared(self, text: str) -> str:
        cased = text.lower() if self.options.lowercase else text
        # jiwer's words stand between plain spaces.
        return spaced(cased) if self._is_char else " ".join(cased.split())

    def details(self, rows: Rows) -> dict[str, Any]:
        """The errors by kind, and the units of the references."""
        _, units, substitutions, deletions, insertions, wrong = (int(item) for item in rows.sum(axis=0))
        return {
            "substitutions": substitutions,
            "deletions": deletions,
            "insertions": insertions,
            f"reference_{self.unit}": units,
            "wrong_segments": wrong,
        }

    def terms(self) -> dict[str, str]:
        """Case and units."""
        return {"case": self.case, "unit": "char" if self._is_char else self.unit}

    @property
    def version(self) -> str:
        """Jiwer's."""
        return f"jiwer-{version('jiwer')}"

    def drawn(self, hypothesis: str, references: Sequence[str]) -> str:
        """The alignment with the nearest reference as three lines: reference, output, and S, D, I under the errors."""
        rows = [self._counted([hypothesis], [[reference]])[0] for reference in references]
        _, nearest = min(zip(rows, references, strict=True), key=lambda pair: (pair[0][0], -pair[0][1]))
        drawing: str = self._draw(
            self._process([self._prepared(nearest)], [self._prepared(hypothesis)]),
            show_measures=False,
            skip_correct=False,
        )
        return "\n".join(line for line in drawing.splitlines()[1:] if line.strip())


def _counts(units: int, chunks: Sequence[Any]) -> tuple[int, ...]:
    """A row of statistics from one of jiwer's alignments."""
    numbers = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for chunk in chunks:
        width = (
            chunk.hyp_end_idx - chunk.hyp_start_idx
            if chunk.type == "insert"
            else chunk.ref_end_idx - chunk.ref_start_idx
        )
        numbers[chunk.type] += width
    errors = numbers["substitute"] + numbers["delete"] + numbers["insert"]
    return errors, units, numbers["substitute"], numbers["delete"], numbers["insert"], int(errors > 0)


class Wer(ErrorRate):
    """WER: words are what stands between white space, or the characters of a script without spaces (unit:char)."""

    name = "WER"


class Cer(ErrorRate):
    """CER: characters, white space between words among them."""

    name = "CER"
    unit = "characters"


class Per(ErrorRate):
    """PER: phonemes, with white space between them; of several pronunciations the nearest."""

    name = "PER"
    unit = "phonemes"


class Ser(ErrorRate):
    """SER: the share of segments that are no reference's words; of single words in phonemes, the word error rate."""

    name = "SER"

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """Whether each segment is wrong, and 1, where WER has its errors and words."""
        rows = super().rows(hypotheses, references, sources)
        rows[:, 0], rows[:, 1] = rows[:, 5], 1
        return rows

    def details(self, rows: Rows) -> dict[str, Any]:
        """How many segments are wrong."""
        return {"wrong_segments": int(rows[:, 5].sum())}
