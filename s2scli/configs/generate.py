"""Settings of `s2s generate`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from s2scli.configs.address import parse_address
from s2scli.configs.search import SearchConfig
from s2scli.errors import UsageError
from s2scli.schema import setting

_CLIENTS = "whose text comes from its clients and goes to them"
# Settings that have no meaning for a server, and why.
_NOT_SERVED = {
    **dict.fromkeys(("data", "gen_subset", "input", "output", "overwrite"), _CLIENTS),
    **dict.fromkeys(("num_shards", "shard_id"), "which answers every line of a request"),
    "follow": "which answers each request at once",
    "processes": "which computes in one process; give it --threads",
}


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(SearchConfig):
    """Which model, which text, how to search and how to print."""

    data: Path | None = setting(
        None,
        "dataset folder to translate a split of; without it, standard input is translated",
        argument=True,
    )
    path: Path = setting(
        ..., "checkpoint, or run folder (then its best checkpoint); several are an ensemble: run1:run2"
    )
    gen_subset: str = setting("test", "split of the dataset folder")
    input: Path = setting(Path("-"), "text file to translate, one sentence a line; -: standard input")
    input_format: str = setting(
        "auto",
        "lines of text, or JSON records, whose other fields go into JSON output unless it has fields of that name; "
        "auto: jsonl where --input ends so, else text",
        choices=("auto", "text", "jsonl"),
    )
    source_field: str = setting("source", "JSON field to translate; a.b: b within a")
    output: Path | None = setting(
        None,
        "file to write in place of standard output; it appears when it is complete, and a repeated command goes on "
        "with what an interrupted one has done",
    )
    overwrite: bool = setting(False, "begin --output anew, whatever was done before")
    source_tag: str = setting("", "put this symbol before each line: a tag of the training data, '<bt>'")
    batch_size: int = setting(128, "most sentences in a batch", unit="sentences", at_least=1)
    max_tokens: int = setting(
        12000, "most source tokens in a batch, padding counted", unit="tokens", at_least=1
    )
    buffer_size: int = setting(
        4096, "lines read ahead and sorted by length before they are translated", unit="lines", at_least=1
    )
    score_reference: bool = setting(
        False,
        "in place of translating, the model's log-probability of each token of the references; as text, their mean "
        "and the reference, tab-separated",
    )
    follow: bool = setting(False, "answer each line at once, as is done when standard input is a terminal")
    format: str = setting(
        "text",
        "plain text, a JSON record a line, or the S-, T-, H-, D- and P- lines of fairseq-generate, in order",
        choices=("text", "jsonl", "fairseq"),
    )
    on_long: str | None = setting(
        None,
        "what becomes of a line longer than those the model was trained on or has positions for: truncate, split "
        "into sentences and join their outputs, or error; if not given, as in training, with a warning",
        choices=("truncate", "split", "error"),
    )
    num_shards: int = setting(
        1, "divide the lines over so many commands: line i, from 0, is of shard i modulo N", at_least=1
    )
    shard_id: int = setting(0, "which lines this command translates, from 0", at_least=0)
    serve: str | None = setting(
        None,
        "in place of translating --input, answer requests over HTTP at a Unix socket (its path, or unix:PATH) or a "
        "port of this machine (8080, localhost:8080; 0: any) until a signal ends it",
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps")
    processes: int = setting(
        1, "processes that translate, each with the model and a thread (or --threads) of its own", at_least=1
    )
    threads: int = setting(0, "CPU threads; 0: as many as torch sees fit", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard_id >= self.num_shards:
            raise UsageError(f"--shard-id {self.shard_id} must be under --num-shards {self.num_shards}")
        if self.serve is not None:
            parse_address(self.serve)
            for field in fields(self):
                if field.name in _NOT_SERVED and getattr(self, field.name) != field.default:
                    flag = "DATA" if field.name == "data" else f"--{field.name.replace('_', '-')}"
                    raise UsageError(f"{flag} does not go with --serve, {_NOT_SERVED[field.name]}")
        if self.data is not None and self.input_format != "auto":
            raise UsageError("--input-format is for --input; a dataset's text is known")
