"""Words as the rules of a language divide them, by sacremoses, the Moses scripts (Koehn et al. 2007) in Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from s2scli.errors import S2SError
from s2scli.text.normalization import Normalization
from s2scli.text.tokenizer import LearningSettings, SplittingTokenizer, TokenizerDocument, common_parts
from s2scli.text.vocabulary import Vocabulary


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
        try:
            import sacremoses
        except ImportError:
            raise S2SError(
                "--tokenizer moses needs sacremoses, which is not installed: pip install 's2scli[words]'"
            ) from None
        self.language = language
        self._tokenizer = sacremoses.MosesTokenizer(language)
        self._detokenizer = sacremoses.MosesDetokenizer(language)

    @classmethod
    def _blank(cls, settings: LearningSettings, normalization: Normalization) -> Self:
        return cls(Vocabulary((), ()), normalization, settings.user_symbols, settings.language)

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
        """Join ids to text; <s>, <pad> and </s> are skipped, an unknown token shows as <unk>."""
        text: str = self._detokenizer.detokenize(self._visible_pieces(ids), unescape=False)
        return text
