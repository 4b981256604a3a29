"""Settings of `s2s generate`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from s2scli.configs.search import SearchConfig
from s2scli.errors import UsageError
from s2scli.schema import setting

_RERANKING = "Reranking"


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
    lm_path: Path | None = setting(
        None, "language model over the same target vocabulary, whose log-probabilities count at every step"
    )
    lm_weight: float = setting(0.1, "weight of the language model's log-probabilities", at_least=0)
    rerank_path: tuple[Path, ...] = setting(
        (),
        "put the outputs in the order that another model has them in, too: one of the same languages (right to left, "
        "for one), of the opposite direction, or a language model; repeat it for several",
        panel=_RERANKING,
    )
    rerank_weight: tuple[float, ...] = setting(
        (),
        "what such a model's log-probability for each token is multiplied by before it is added to the score, one for "
        "all or one for each; if not given, 1",
        panel=_RERANKING,
    )
    rerank_candidates: int = setting(
        10,
        "outputs to choose from with --rerank-path; the beam is at least as wide",
        at_least=1,
        panel=_RERANKING,
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
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps")
    processes: int = setting(
        1, "processes that translate, each with the model and a thread (or --threads) of its own", at_least=1
    )
    threads: int = setting(0, "CPU threads; 0: as many as torch sees fit", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard_id >= self.num_shards:
            raise UsageError(f"--shard-id {self.shard_id} must be under --num-shards {self.num_shards}")
        if self.data is not None and self.input_format != "auto":
            raise UsageError("--input-format is for --input; a dataset's text is known")
        self._check_reranking()

    def _check_reranking(self) -> None:
        if self.rerank_weight and len(self.rerank_weight) not in (1, len(self.rerank_path)):
            raise UsageError(
                f"--rerank-weight has {len(self.rerank_weight)} values; give one, or one for each --rerank-path "
                f"({len(self.rerank_path)})"
            )
        if not self.rerank_path:
            if self.rerank_weight:
                raise UsageError("--rerank-weight has no effect without --rerank-path")
            return
        if self.mbr != "none" or self.score_reference:
            other = "--score-reference" if self.score_reference else f"--mbr {self.mbr}"
            raise UsageError(f"--rerank-path chooses among outputs by scores, and {other} does not; give one")
        if self.nbest > self.rerank_candidates:
            raise UsageError(
                f"--nbest {self.nbest} needs as many --rerank-candidates; they are {self.rerank_candidates}"
            )

    @property
    def rerank_weights(self) -> tuple[float, ...]:
        """A weight for each --rerank-path."""
        weights = self.rerank_weight or (1.0,)
        return weights * len(self.rerank_path) if len(weights) == 1 else weights

    @property
    def of_candidates(self) -> SearchConfig:
        """The settings by which the outputs are found that are chosen from, for --mbr or --rerank-path."""
        if not self.rerank_path:
            return super().of_candidates
        number, groups = self.rerank_candidates, self.diverse_beam_groups
        beam = self.beam if self.sampling else max(self.beam, -(-number // groups) * groups)
        return replace(self, nbest=number, beam=beam)
