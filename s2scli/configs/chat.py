"""Settings of `s2s chat`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from s2scli.configs.command import CommandConfig
from s2scli.configs.decoding import DecodingConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.errors import UsageError
from s2scli.schema import setting

# The headings of the help.
_CONVERSATION = "Conversation"
_INPUT_AND_OUTPUT = "Input and output"


@dataclass(frozen=True, kw_only=True)
class ChatConfig(DecodingConfig, CommandConfig):
    """Which model answers, what it is told of the turns before, and how it searches for an answer."""

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

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.adapter) > 1:
            raise UsageError(
                f"--adapter {' '.join(self.adapter)}: a conversation is answered with one adapter; give one"
            )
        self.of_generate()

    def of_generate(self, **settings: Any) -> GenerateConfig:
        """These settings, or others in their place, as those of `s2s generate`; UsageError where they do not agree."""
        shared = {field.name: getattr(self, field.name) for field in fields(DecodingConfig)}
        of_input = {"input": self.input, "format": "text" if self.format == "auto" else self.format}
        return GenerateConfig(**{**shared, **of_input, **settings})
