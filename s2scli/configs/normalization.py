"""Settings of `s2s preprocess` that rewrite the text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.schema import setting

# The heading of the help.
_NORMALIZATION = "Normalization"
_FORMS = ("none", "NFC", "NFD", "NFKC", "NFKD")


@dataclass(frozen=True, kw_only=True)
class NormalizationConfig:
    """How the text of both sides is rewritten before it is split, and where one side differs."""

    unicode_normalization: str = setting(
        "none", "Unicode form of the text", choices=_FORMS, panel=_NORMALIZATION
    )
    lowercase: bool = setting(False, "lowercase the text", panel=_NORMALIZATION, common=True)
    strip_punctuation: bool = setting(
        False, "remove punctuation (Unicode categories P*)", panel=_NORMALIZATION
    )
    normalize_whitespace: bool = setting(
        False, "put a single space for white space, none at the ends", panel=_NORMALIZATION
    )
    normalize_digits: bool = setting(
        False, "put 0 to 9 for the decimal digits of all scripts", panel=_NORMALIZATION
    )
    stopwords: Path | None = setting(None, "remove the words in this file, one a line", panel=_NORMALIZATION)
    source_unicode_normalization: str | None = setting(
        None, "source only, in place of --unicode-normalization", choices=_FORMS, panel=_NORMALIZATION
    )
    source_lowercase: bool | None = setting(
        None, "source only, in place of --lowercase", panel=_NORMALIZATION
    )
    source_strip_punctuation: bool | None = setting(
        None, "source only, in place of --strip-punctuation", panel=_NORMALIZATION
    )
    source_normalize_whitespace: bool | None = setting(
        None, "source only, in place of --normalize-whitespace", panel=_NORMALIZATION
    )
    source_normalize_digits: bool | None = setting(
        None, "source only, in place of --normalize-digits", panel=_NORMALIZATION
    )
    source_stopwords: Path | None = setting(
        None, "source only, in place of --stopwords", panel=_NORMALIZATION
    )
    target_unicode_normalization: str | None = setting(
        None, "target only, in place of --unicode-normalization", choices=_FORMS, panel=_NORMALIZATION
    )
    target_lowercase: bool | None = setting(
        None, "target only, in place of --lowercase", panel=_NORMALIZATION
    )
    target_strip_punctuation: bool | None = setting(
        None, "target only, in place of --strip-punctuation", panel=_NORMALIZATION
    )
    target_normalize_whitespace: bool | None = setting(
        None, "target only, in place of --normalize-whitespace", panel=_NORMALIZATION
    )
    target_normalize_digits: bool | None = setting(
        None, "target only, in place of --normalize-digits", panel=_NORMALIZATION
    )
    target_stopwords: Path | None = setting(
        None, "target only, in place of --stopwords", panel=_NORMALIZATION
    )
