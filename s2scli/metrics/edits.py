"""Edits between two lines of words where moving a run of words counts as one, for TER.

The search is that of Snover et al. (2006) as Tercom and sacrebleu do it, so that every number is theirs: as long as it
lowers the Levenshtein distance, the best move of a run that the reference has elsewhere is made. A distance takes a few
operations on whole numbers for each word, with a bit for each word of the reference (Myers 1999; Hyyrö 2003).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from sacrebleu.metrics.lib_ter import translation_edit_rate

# Tercom's limits: words of a run, how far from each other its places are, and moves that are tried.
_LONGEST, _FARTHEST, _MOST_TRIED = 10, 50, 1000
# sacrebleu looks for distances near the diagonal only: from this to the true one there may be a difference where the
# reference has more words than the first, and the distance and the difference in length are more than the second.
_SHORT, _NEAR = 24, 45

# A row of the table of distances, as bits of its cells: whether a cell is one more, or one less, than the cell before
# it; whether it is the same as the cell before it in the row above; whether it is one more than the cell above.
_Row = tuple[int, int, int, int]
_Move = tuple[int, int, int]
"""Where a run starts, its words, and the place it is moved to."""


def edits(output: list[str], reference: list[str]) -> int:
    """The number of insertions, deletions, substitutions and moves that make the reference of an output."""
    if not reference:
        return len(output)
    known = _Reference(reference)
    rows = known.rows(output)
    distance = known.distance(rows[-1], (), len(output))
    if len(reference) > _SHORT and distance + abs(len(reference) - len(output)) > _NEAR:
        found: int = translation_edit_rate(output, reference)[0]
        return found
    moves = tried = 0
    words = output
    while True:
        possible = [*known.moves(words, rows, _MOST_TRIED - tried)] if distance else []
        tried += len(possible)
        if tried >= _MOST_TRIED:
            break
        best = None
        for move in dict.fromkeys(possible):
            moved = _moved(words, move)
            same = min(move[0], move[2])
            after = known.distance(rows[same], moved[same:], len(words))
            start, length, target = move
            rank = after, -length, start, target
            if after < distance and (best is None or rank < best[0]):
                best = rank, moved
        if best is None:
            break
        (distance, *_), words = best
        moves += 1
        rows = known.rows(words)
    return moves + distance


def in_reference(output: list[str], reference: list[str]) -> list[bool]:
    """Which words of an output stand beside the same word in an alignment of fewest edits with the reference."""
    if not reference:
        return [False] * len(output)
    known = _Reference(reference)
    _, wrong, _ = known.alignment(output, known.rows(output))
    return [not item for item in wrong]


class _Reference:
    """A reference, and where its words are."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(words):
            self._places[word].append(place)
        self._bits = {word: sum(1 << place for place in places) for word, places in self._places.items()}
        self._every = (1 << len(words)) - 1

    def rows(self, output: Sequence[str]) -> list[_Row]:
        """The table of distances: a row for none of the output's words, and one for each of them."""
        every, (up, down) = self._every, (self._every, 0)
        rows = [(up, down, 0, 0)]
        for word in output:
            same = self._bits.get(word, 0)
            kept = ((((same & up) + up) ^ up) | same | down) & every
            risen = down | (every & ~(kept | up))
            beside = risen << 1 | 1
            up, down = ((kept & up) << 1 | ~(kept | beside)) & every, kept & beside
            rows.append((up, down, kept, risen))
        return rows

    def distance(self, above: _Row, words: Sequence[str], length: int) -> int:
        """The distance of an output of some length, whose last words come after a row."""
        every, bits = self._every, self._bits
        up, down = above[:2]
        for word in words:
            same = bits.get(word, 0)
            kept = ((((same & up) + up) ^ up) | same | down) & every
            beside = (down | (every & ~(kept | up))) << 1 | 1
            up, down = ((kept & up) << 1 | ~(kept | beside)) & every, kept & beside
        return length + up.bit_count() - down.bit_count()

    def moves(self, output: Sequence[str], rows: Sequence[_Row], most: int) -> Iterator[_Move]:
        """The moves that Tercom tries: of runs with an error, to where the reference has them, and errors too."""
        aligned, wrong_output, wrong_reference = self.alignment(output, rows)
        if not any(wrong and word in self._places for word, wrong in zip(output, wrong_output, strict=True)):
            return
        tried = 0
        for start, place, length, is_wrong in self._runs(output, wrong_output, wrong_reference):
            if not is_wrong or start <= aligned[place] < start + length:
                continue
            before = -1
            for offset in range(place - 1, place + length):
                target = aligned[offset] + 1 if offset >= 0 else 0
                if target != before:
                    yield start, length, target
                    tried += 1
                before = target
            if tried >= most:
                return

    def _runs(
        self, output: Sequence[str], wrong_output: Sequence[bool], wrong_reference: Sequence[bool]
    ) -> Iterator[tuple[int, int, int, bool]]:
        """Runs of words that both have: where in each, how many words, and whether errors are in both places."""
        for start, word in enumerate(output):
            for place in self._places.get(word, ()):
                if abs(place - start) > _FARTHEST:
                    continue
                most = min(_LONGEST, len(output) - start, len(self._words) - place)
                in_output = in_reference = False
                for length in range(most):
                    if output[start + length] != self._words[place + length]:
                        break
                    in_output |= wrong_output[start + length]
                    in_reference |= wrong_reference[place + length]
                    yield start, place, length + 1, in_output and in_reference

    def alignment(
        self, output: Sequence[str], rows: Sequence[_Row]
    ) -> tuple[list[int], list[bool], list[bool]]:
        """The place in the output of each reference word, or that before it; which words of either are wrong.

        Of equally short ways back through the table: substitute rather than delete, delete rather than insert.
        """
        row, cell = len(output), len(self._words)
        aligned = [-1] * cell
        wrong_output, wrong_reference = [False] * row, [False] * cell
        while row or cell:
            bit = 1 << cell >> 1
            _, _, kept, risen = rows[row]
            is_same = row and cell and output[row - 1] == self._words[cell - 1]
            if is_same or (row and cell and not kept & bit):
                wrong_output[row - 1] = wrong_reference[cell - 1] = not is_same
                aligned[cell - 1] = row - 1
                row, cell = row - 1, cell - 1
            elif row and (not cell or risen & bit):
                wrong_output[row - 1] = True
                row -= 1
            else:
                wrong_reference[cell - 1] = True
                aligned[cell - 1] = row - 1
                cell -= 1
        return aligned, wrong_output, wrong_reference


def _moved(words: list[str], move: _Move) -> list[str]:
    """The words after a move; a target within the run takes it so many words on."""
    start, length, target = move
    run, rest = words[start : start + length], words[:start] + words[start + length :]
    place = target if target < start else target - length if target > start + length else target
    return rest[:place] + run + rest[place:]
