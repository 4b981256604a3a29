"""The settings of `s2s score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.schema import setting

# sacrebleu's; the help is printed without importing it.
_SPLITTERS = ("13a", "char", "intl", "ja-mecab", "ko-mecab", "none", "zh")
_SUBWORD = ("spm", "flores101", "flores200", "spBLEU-1K")
TOKENIZERS = (*_SPLITTERS, *_SUBWORD)


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """What to score, against what, and how."""

    sys: Path = setting(Path("-"), "system output, one segment a line; -: standard input; may be .gz")
    ref: tuple[Path, ...] = setting((), "reference files, parallel to the system output; may be .gz")
    sys_format: str = setting(
        "auto",
        "plain lines, or the records of `s2s generate --format jsonl`, whose references count where --ref is "
        "not given; auto goes by the ending .jsonl",
        choices=("auto", "text", "jsonl"),
    )
    metrics: tuple[str, ...] = setting(
        ("bleu", "chrf", "ter"), "metrics to compute", choices=("bleu", "chrf", "chrf++", "ter")
    )
    tokenize: str = setting(
        "auto",
        "sacrebleu's tokenizer for BLEU; auto is 13a, which does not cut Chinese or Japanese into "
        "words: give zh or ja-mecab for those",
        choices=("auto", *TOKENIZERS),
    )
    lowercase: bool = setting(False, "ignore case in BLEU and chrF (TER always does)")
    format: str = setting("text", "how to print the scores", choices=("text", "json"))
    width: int = setting(2, "decimals of a score", at_least=0, at_most=17)
