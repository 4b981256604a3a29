"""What the outputs of lines must hold and must not: phrases of their own, a glossary, lists of what is excluded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

from s2scli.console import counted
from s2scli.errors import DataError, UsageError, did_you_mean
from s2scli.inference.lines import Line
from s2scli.io import read_lines
from s2scli.notes import Note, Summary
from s2scli.search.constraints import Constraints
from s2scli.text.excluded import ExcludedPhrases, TokenTexts
from s2scli.text.glossary import Glossary, read_glossary
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.words import extend

_NO_TOKEN = "holds what the model has no token for"

_LEFT_OUT = "have constraints that cannot be met and are left out"


class LexicalConstraints:
    """Turns the phrases that outputs must hold, and must not, into tokens.

    ordered: whether a line's constraints come in their order. glossary, exclude, bad_tokens: files for all lines:
    `source TAB target`, phrases, and entries of the target vocabulary, one a line. has_glossary: whether one is given.
    Raises DataError that names file and line for one of them that is wrong.
    """

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        *,
        ordered: bool = False,
        glossary: Path | None = None,
        exclude: Path | None = None,
        bad_tokens: Path | None = None,
    ) -> None:
        self._target = tokenizers["target"]
        self._ordered = ordered
        self._glossary = self._read_glossary(glossary, tokenizers["source"]) if glossary else None
        self.has_glossary = self._glossary is not None
        self._excluded = tuple(read_lines(exclude)) if exclude else ()
        self._bad_tokens = _read_bad_tokens(bad_tokens, self._target) if bad_tokens else ()
        # Lines that exclude the same share what is worked out for it.
        self._with_phrases = lru_cache(maxsize=256)(self._make_excluded)

    def concerns(self, lines: Iterable[Line]) -> bool:
        """Whether there is anything that the outputs of some lines must hold, or must not."""
        if self.has_glossary or self._excluded or self._bad_tokens:
            return True
        return any(line.constraints or line.excluded for line in lines)

    def excluded(
        self, phrases: tuple[str, ...], prefix: Sequence[int], line: int, words: tuple[str, ...] = ()
    ) -> ExcludedPhrases | None:
        """What a line's output must not hold, phrases of its own among it; UsageError where its prefix does.

        words: those that can be copied of the line, and that the vocabulary does not have.
        """
        if not (phrases or self._excluded or self._bad_tokens):
            return None
        found = self._with_phrases(phrases, words)
        if found.occurs_in(prefix):
            raise UsageError(
                f"line {line + 1}: --target-prefix holds what its output must not; leave one of them out"
            )
        return found

    def constraints(
        self,
        phrases: Sequence[str],
        source: str,
        excluded: ExcludedPhrases | None,
        room: int | None,
        notes: list[Note],
        words: tuple[str, ...] = (),
    ) -> Constraints | None:
        """What a line's output must hold: phrases of its own, then those for the terms of its source.

        What cannot be is left out, and that put into the notes: what has no token, what is excluded, and what goes
        beyond `room`, the tokens that the model has positions for. words: as in `excluded`.
        """
        terms = self._glossary.find(source) if self._glossary else []
        found: list[list[int]] = []
        for phrase in [*phrases, *(term for term in terms if term not in phrases)]:
            ids = extend(self._target, phrase, self._target.encode_phrase(phrase), words)
            problem = ""
            if self._target.special.unknown in ids:
                problem = _NO_TOKEN
            elif excluded is not None and excluded.occurs_in(ids):
                problem = "holds what is excluded"
            elif room is not None and sum(map(len, found)) + len(ids) > room:
                problem = f"does not fit into the {counted(room, 'token')} that the model has positions for"
            if problem:
                notes.append(Note(_LEFT_OUT, f"the constraint {phrase!r} {problem}; it is left out"))
            elif ids:
                found.append(ids)
        return Constraints(found, ordered=self._ordered, before=self._before) if found else None

    @cached_property
    def _before(self) -> list[int]:
        """Where a space is a token, the start of an output is as good as one."""
        space = self._target.vocabulary.lookup(" ")
        return [] if space == self._target.special.unknown else [space]

    @cached_property
    def _texts(self) -> TokenTexts:
        return TokenTexts(self._target)

    def _make_excluded(self, phrases: tuple[str, ...], words: tuple[str, ...]) -> ExcludedPhrases:
        texts = TokenTexts(self._target.with_words(words)) if words else self._texts
        excluded = [texts.of_phrase(phrase) for phrase in (*self._excluded, *phrases)]
        return ExcludedPhrases(texts, excluded, self._bad_tokens)

    def _read_glossary(self, path: Path, source: Tokenizer) -> Glossary:
        terms: dict[str, str] = {}
        summary = Summary(name=str(path), remedy="lines that hold them are translated without")
        for term, (target, number) in read_glossary(path).items():
            if self._target.special.unknown in self._target.encode_phrase(target):
                kind = f"have a term that {_NO_TOKEN} and is left out"
                summary.add(number - 1, [Note(kind, f"{target!r} {_NO_TOKEN}; the term is left out")])
            else:
                terms[term] = target
        summary.tell()
        return Glossary(terms, lambda text: source.normalization.apply(text, source.user_symbols))


def _read_bad_tokens(path: Path, target: Tokenizer) -> tuple[int, ...]:
    tokens, names = [], target.special.names
    for number, symbol in enumerate(read_lines(path), start=1):
        special = names.index(symbol) if symbol in names else None
        if special == target.special.end:
            raise DataError(
                f"{path}:{number}: every output ends with {symbol!r}; --min-len and --max-len-b say how soon and how "
                "late"
            )
        if special is not None:
            tokens.append(special)
        elif symbol and symbol not in target.vocabulary:
            known = did_you_mean(symbol, target.vocabulary.ordinary_symbols) if len(target) < 100_000 else ""
            hint = known if known.startswith("; did") else ""
            raise DataError(f"{path}:{number}: {symbol!r} is not in the target vocabulary{hint}")
        if symbol in target.vocabulary:
            tokens.append(target.vocabulary.lookup(symbol))
    return tuple(tokens)
