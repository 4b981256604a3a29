"""Settings of `s2s explain`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from s2scli.configs.attribution import AttributionSettings
from s2scli.configs.command import CommandConfig
from s2scli.configs.decoding import DecodingConfig
from s2scli.configs.generate import MOST_MAPS, GenerateConfig
from s2scli.configs.input import InputConfig
from s2scli.errors import UsageError
from s2scli.schema import setting

# The heading of the help.
_INPUT_AND_OUTPUT = "Input and output"
_ENDINGS = (".html", ".png", ".svg", ".pdf")


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(InputConfig, AttributionSettings, DecodingConfig, CommandConfig):
    """Which model writes what, how that is looked for, and by which method it is explained."""

    references: bool = setting(
        False,
        "explain the references in place of the model's own outputs: those of a dataset, or of JSON lines with "
        '"reference"',
        panel=_INPUT_AND_OUTPUT,
        common=True,
    )
    format: str = setting(
        "text",
        "what to print: for each output token its strongest sources, or JSON records, one a line",
        choices=("text", "jsonl"),
        panel=_INPUT_AND_OUTPUT,
        common=True,
    )
    output: Path | None = setting(
        None,
        f"file to draw all of it into besides: .html for all outputs, .png, .svg or .pdf for the first {MOST_MAPS}",
        short="-o",
        panel=_INPUT_AND_OUTPUT,
        common=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_attribution(self.precision)
        if self.output is not None and self.output.suffix.lower() not in _ENDINGS:
            raise UsageError(f"--output {self.output}: the ending must be one of {', '.join(_ENDINGS)}")
        self.of_generate()

    def of_generate(self) -> GenerateConfig:
        """These settings as those of `s2s generate`; UsageError where they do not agree."""
        shared: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for part in (DecodingConfig, InputConfig)
            for field in fields(part)
        }
        return GenerateConfig(**shared, format=self.format, score_reference=self.references)
