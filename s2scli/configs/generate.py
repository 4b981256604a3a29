"""Settings of `s2s generate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.configs.search import SearchConfig
from s2scli.schema import setting


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
    format: str = setting("text", "plain text, or a JSON record a line", choices=("text", "jsonl"))
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps")
    threads: int = setting(0, "CPU threads; 0: as many as torch sees fit", at_least=0)
