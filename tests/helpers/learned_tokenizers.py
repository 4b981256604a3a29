"""Tokenizers of every kind that have learned from a few odd lines."""

from __future__ import annotations

from functools import cache

from s2scli.components import TOKENIZERS
from s2scli.text.normalization import Normalization, user_symbol_pattern
from s2scli.text.tokenizer import LearningSettings, Tokenizer

ALPHABET = "abcdé <>/sun\t\u2581\u2582\u2585\u3000\ufffd\u200d15中文字。ー👍"
LINES = [
    "a sun and a sand bed",
    "das sun bed <ENT> s </s> <unk> <s> <pad>",
    "中文字。没有空格",
    "  two  spaces  ",
    "bad dance; cead nudes",
    ALPHABET,
    "",
]
USER_SYMBOLS = ("<ENT>", "<ENT2>")
VARIANTS = [
    ("sentencepiece", "unigram"),
    ("sentencepiece", "bpe"),
    ("word", "unigram"),
    ("character", "unigram"),
]
LOSSLESS = [variant for variant in VARIANTS if variant[0] != "word"]


@cache
def learn(
    kind: str,
    model: str = "unigram",
    normalization: Normalization | None = None,
    lines: tuple[str, ...] = tuple(LINES * 5),
    given_model: bytes | None = None,
    **limits: object,
) -> Tokenizer:
    """A tokenizer that has learned from these lines, the same object for the same settings."""
    values: dict = {"sentencepiece_model": model, "vocab_size": 100, "user_symbols": USER_SYMBOLS} | limits
    values["model"] = given_model
    normalization = normalization or Normalization()
    pattern = user_symbol_pattern(values["user_symbols"])
    tokenizer: Tokenizer = TOKENIZERS[kind].learn(
        lambda: (normalization.split(line, pattern) for line in lines),
        LearningSettings(**values),
        normalization,
    )
    return tokenizer
