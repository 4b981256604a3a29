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
_SEARCHED = "What the search did"
_ENDINGS = (".html", ".png", ".svg", ".pdf")


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(InputConfig, AttributionSettings, DecodingConfig, CommandConfig):
    """Which model writes what, how that is looked for, and by which method it is explained."""

    alignment_layer: int | None = setting(
        None,
        "decoder layer, not of a recurrent model, whose attention --method attention is about, from 0 at the "
        "bottom, or from -1 at the top; by default the last",
        at_least=-1000,
        needs="method=attention | coverage_penalty",
        panel="Method",
    )
    trace: bool = setting(
        False,
        "in place of what tokens come from, tell what the beam search did: what it kept at each step, what it pruned "
        "and by what; where lines have references, why it did not write those",
        panel=_SEARCHED,
        common=True,
    )
    why: str = setting(
        "",
        "with --trace, tell how probable this word would have been in place of each token of the output: a word that "
        "is one token of the model, or a piece as the output has it",
        needs="trace",
        panel=_SEARCHED,
        common=True,
    )
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
        if self.trace:
            self._check_trace()
        else:
            self.check_attribution(self.precision)
        if self.output is not None and self.output.suffix.lower() not in _ENDINGS:
            raise UsageError(f"--output {self.output}: the ending must be one of {', '.join(_ENDINGS)}")
        self.of_generate()

    def _check_trace(self) -> None:
        for name in ("mbr", "rerank_path", "coverage_penalty"):
            if getattr(self, name) != getattr(DecodingConfig, name):
                raise UsageError(
                    f"--{name.replace('_', '-')}: chooses among what a search has found, and --trace tells how it was "
                    "found; leave it out"
                )
        if self.output is not None and self.output.suffix.lower() != ".html":
            raise UsageError(
                f"--output {self.output}: of a trace there is a page alone; the ending must be .html"
            )

    def of_generate(self) -> GenerateConfig:
        """These settings as those of `s2s generate`; UsageError where they do not agree."""
        shared: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for part in (DecodingConfig, InputConfig)
            for field in fields(part)
        }
        scores = self.references and not self.trace
        return GenerateConfig(**shared, format=self.format, score_reference=scores)
