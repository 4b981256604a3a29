"""Words as the rules of a language divide them, by sacremoses, the Moses scripts (Koehn et al. 2007) in Python."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from s2scli.console import notice
from s2scli.errors import S2SError
from s2scli.text.normalization import Normalization
from s2scli.text.tokenizer import LearningSettings, SplittingTokenizer, TokenizerDocument, common_parts
from s2scli.text.vocabulary import Vocabulary

# ISO 639-2 and 639-3 codes of the languages that the Moses scripts have rules for, which call them by ISO 639-1.
_THREE_LETTERS_TABLE = (
    "asm:as ben:bn cat:ca ces:cs cze:cs deu:de ger:de ell:el gre:el eng:en spa:es est:et ekk:et fin:fi "
    "fra:fr fre:fr gle:ga guj:gu hin:hi hun:hu isl:is ice:is ita:it jpn:ja kan:kn kor:ko lit:lt lav:lv "
    "lvs:lv mal:ml mar:mr nld:nl dut:nl ori:or ory:or pan:pa pol:pl por:pt ron:ro rum:ro rus:ru slk:sk "
    "slo:sk slv:sl swe:sv tam:ta tel:te tet:tdt zho:zh chi:zh cmn:zh"
)
_THREE_LETTERS = dict(pair.split(":") for pair in _THREE_LETTERS_TABLE.split())
# What the scripts know besides the languages whose abbreviations they have.
_BY_SCRIPT = ("ja", "ko")


def _sacremoses() -> Any:
    """The package; S2SError where it is not installed."""
    try:
        import sacremoses
        import sacremoses.corpus
    except ImportError:
        raise S2SError(
            "--tokenizer moses needs sacremoses, which is not installed: pip install 's2scli[words]'"
        ) from None
    return sacremoses


def moses_language(name: str) -> str | None:
    """The code by which the Moses scripts know a language, of en_US, pt-BR, EN, eng or english; None without rules."""
    known = _sacremoses().corpus.NonbreakingPrefixes().available_langs | dict(
        zip(_BY_SCRIPT, _BY_SCRIPT, strict=True)
    )
    first = re.split(r"[-_.@]", name.lower())[0]
    code: str | None = known.get(_THREE_LETTERS.get(first, first))
    return code


@dataclass(frozen=True, kw_only=True)
class MosesDocument(TokenizerDocument):
    """A document with the code of the language."""

    language: str


class MosesTokenizer(SplittingTokenizer):
    """Takes words and punctuation apart, and puts them together again as the language writes them.

    language: a code such as "de"; its abbreviations, apostrophes and quotation marks are what differs. What the
    detokenizer makes of a text is not always the text: white space and quotation marks may differ.

    Raises S2SError where sacremoses is not installed.
    """

    kind = "moses"
    Document = MosesDocument
    separator = " "

    def __init__(
        self,
        vocabulary: Vocabulary,
        normalization: Normalization | None = None,
        user_symbols: Iterable[str] = (),
        language: str = "en",
    ) -> None:
        super().__init__(vocabulary, normalization, user_symbols)
        sacremoses = _sacremoses()
        self.language = language
        self._tokenizer = sacremoses.MosesTokenizer(language)
        self._detokenizer = sacremoses.MosesDetokenizer(language)

    @classmethod
    def _blank(cls, settings: LearningSettings, normalization: Normalization) -> Self:
        language = moses_language(settings.language)
        if language is None:
            notice(
                f"{settings.name}: the Moses scripts have no rules for the language {settings.language!r}; its text is "
                "split by those of English"
            )
        return cls(Vocabulary((), ()), normalization, settings.user_symbols, language or "en")

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> Self:
        """Make a tokenizer from a document that fits its `Document`."""
        return cls(*common_parts(values), values["language"])

    def document(self) -> dict[str, Any]:
        """What makes the tokenizer, as JSON values."""
        return super().document() | {"language": self.language}

    def split(self, text: str) -> list[str]:
        """The words and punctuation marks of a text."""
        tokens: list[str] = self._tokenizer.tokenize(text, escape=False)
        return tokens

    def decode(self, ids: Sequence[int]) -> str:
        """Join ids to text; an unknown token shows as <unk>, the other special symbols are skipped."""
        text: str = self._detokenizer.detokenize(self._visible_pieces(ids), unescape=False)
        return text
