"""Settings of what is read, of every command that generates from lines, recordings or datasets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.components import FRAME_READERS
from s2scli.errors import UsageError
from s2scli.registry import Names
from s2scli.schema import setting

# The heading of the help.
_INPUT_AND_OUTPUT = "Input and output"
# Why a server has none of it.
CLIENTS = "whose text comes from its clients and goes to them"


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """Where the lines, recordings or pairs come from, and in what form."""

    data: Path | None = setting(
        None,
        "dataset folder to translate a split of, or for a model of speech a recording, or - for one on standard input; "
        "without it, the lines of standard input are translated",
        argument=True,
        not_beside={"serve": CLIENTS},
    )
    recordings: tuple[Path, ...] = setting(
        (), "more recordings", argument=True, needs="data", not_beside={"serve": CLIENTS}
    )
    gen_subset: str = setting(
        "test",
        "split of the dataset folder",
        needs="data",
        panel=_INPUT_AND_OUTPUT,
        common=True,
        not_beside={"serve": CLIENTS},
    )
    source_type: str | None = setting(
        None,
        "what the input names or is; by default, and at most, what the model was trained on",
        choices=Names("text", FRAME_READERS),
        panel=_INPUT_AND_OUTPUT,
    )
    input: Path = setting(
        Path("-"),
        "text file to translate, one sentence a line; -: standard input",
        needs="!data",
        panel=_INPUT_AND_OUTPUT,
        common=True,
        decides=False,
        not_beside={"serve": CLIENTS},
    )
    input_format: str = setting(
        "auto",
        "lines of text, or JSON records, whose other fields go into JSON output unless it has fields of that name; "
        "auto: jsonl where --input ends so, else text",
        choices=("auto", "text", "jsonl"),
        needs="!data",
        panel=_INPUT_AND_OUTPUT,
    )
    source_field: str = setting(
        "source",
        "JSON field to translate; a.b: b within a",
        needs=("!data", "input_format=jsonl | input"),
        panel=_INPUT_AND_OUTPUT,
    )
    pieces: str | None = setting(
        None,
        "the pieces of words that the model writes, which are joined in outputs and references: marked by @@ "
        "(subword-nmt) or by U+2581 (sentencepiece), or none; for checkpoints that do not say, as those made without "
        "s2s preprocess --pieces",
        choices=("subword-nmt", "sentencepiece", "none"),
        panel=_INPUT_AND_OUTPUT,
    )

    @property
    def files(self) -> tuple[Path, ...]:
        """The recordings that are named in place of a dataset folder."""
        return () if self.data is None or self.data.is_dir() else (self.data, *self.recordings)

    def check_input(self) -> None:
        """UsageError for recordings beside a folder."""
        if self.recordings and not self.files:
            raise UsageError(
                f"{self.recordings[0]}: {self.data} is a folder; give one dataset folder, or recordings"
            )
