"""Settings of `s2s preprocess` for text of one language, or of many pairs of languages."""

from __future__ import annotations

from dataclasses import dataclass

from s2scli.components import NOISES
from s2scli.registry import Names
from s2scli.schema import setting

_LANGUAGES = "Languages"


@dataclass(frozen=True, kw_only=True)
class LanguagesConfig:
    """What is made of text of one language, and how a source says which language its target is of."""

    denoise: str = setting(
        "none",
        "text of one language, for s2s train --noise: each line is both source and target, with one vocabulary that "
        "has the symbols of this noise too; given as --trainpref P with --target-lang, as --train-target, or as a "
        "field of --train-file; several languages: --trainpref en=P de=Q, without --target-lang, for P.en and Q.de",
        choices=Names(NOISES),
        panel=_LANGUAGES,
    )
    encoder_langtok: str = setting(
        "none",
        "tgt: put the symbol of the target's language before every source, <2de>",
        choices=("none", "tgt"),
        panel=_LANGUAGES,
    )
