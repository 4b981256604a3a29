"""Settings of `s2s chat`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from s2scli.configs.command import CommandConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.search import SearchConfig
from s2scli.schema import same_setting, setting

# The headings of the help.
_MODELS = "Models"
_CONVERSATION = "Conversation"
_INPUT_AND_OUTPUT = "Input and output"

_OF_GENERATE = [field.name for field in fields(GenerateConfig)]


@dataclass(frozen=True, kw_only=True)
class ChatConfig(SearchConfig, CommandConfig):
    """Which model answers, what it is told of the turns before, and how it searches for an answer."""

    path: Path = setting(
        ...,
        "checkpoint, or run folder (then its best checkpoint); several are an ensemble: run1:run2",
        panel=_MODELS,
        common=True,
    )
    lm_path: Path | None = same_setting(GenerateConfig, "lm_path")
    lm_weight: float = same_setting(GenerateConfig, "lm_weight")
    rerank_path: tuple[Path, ...] = same_setting(GenerateConfig, "rerank_path")
    rerank_weight: tuple[float, ...] = same_setting(GenerateConfig, "rerank_weight")
    rerank_candidates: int = same_setting(GenerateConfig, "rerank_candidates")
    context_turns: int | None = setting(
        None,
        "the last so many turns are what the model answers to; if not given, as many as in training, and 1 where that "
        "was not on dialogues",
        at_least=1,
        panel=_CONVERSATION,
        common=True,
    )
    speaker: str = setting(
        "",
        "who the model speaks as, where it was trained with --speakers; if not given, who answered in training",
        panel=_CONVERSATION,
    )
    source_tag: str = same_setting(GenerateConfig, "source_tag")
    input: Path = setting(
        Path("-"),
        "file to read in place of standard input, which is a conversation where it is a terminal",
        panel=_INPUT_AND_OUTPUT,
        common=True,
    )
    input_format: str = setting(
        "auto",
        'what --input or a pipe holds: a JSON dialogue a line, {"turns": [...]}, each answered by itself, or text, the '
        "turns of one conversation, where a blank line begins another; auto: dialogues where it begins with {",
        choices=("auto", "text", "dialogue"),
        panel=_INPUT_AND_OUTPUT,
    )
    format: str = setting(
        "auto",
        "answers as text, or as JSON records; auto: records to dialogues and text to text",
        choices=("auto", "text", "jsonl"),
        panel=_INPUT_AND_OUTPUT,
        common=True,
    )
    on_long: str | None = same_setting(GenerateConfig, "on_long")
    precision: str = same_setting(GenerateConfig, "precision")
    shortlist: int = same_setting(GenerateConfig, "shortlist")
    shortlist_frequent: int = same_setting(GenerateConfig, "shortlist_frequent")
    device: str = same_setting(GenerateConfig, "device")
    verbose: bool = same_setting(GenerateConfig, "verbose")
    threads: int = same_setting(GenerateConfig, "threads")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.of_generate()

    def of_generate(self, **settings: Any) -> GenerateConfig:
        """These settings, or others in their place, as those of `s2s generate`; UsageError where they do not agree."""
        own = {name: getattr(self, name) for name in _OF_GENERATE if hasattr(self, name)}
        of_input = {"input_format": "auto", "format": "text" if self.format == "auto" else self.format}
        return GenerateConfig(**{**own, **of_input, **settings})
