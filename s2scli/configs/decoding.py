"""Settings of every command that decodes: which models, how to search, and how to compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.configs.datastore import NeighboursConfig
from s2scli.configs.search import SearchConfig
from s2scli.errors import UsageError
from s2scli.schema import setting

# The headings of the help.
_MODELS = "Models"
_INPUT_AND_OUTPUT = "Input and output"
_BATCHES_AND_HARDWARE = "Batches and hardware"
_RERANKING = "Reranking"


@dataclass(frozen=True, kw_only=True)
class DecodingConfig(NeighboursConfig, SearchConfig):
    """Which models decode, with what around the text, and in what they compute."""

    path: Path = setting(
        ...,
        "checkpoint, or run folder (then its best checkpoint); several are an ensemble: run1:run2",
        panel=_MODELS,
        common=True,
    )
    adapter: tuple[str, ...] = setting(
        (),
        "adapters of the model, NAME=PATH each, that s2s train --adapter has made; one is for all lines, of several "
        "each record names its own in a field `adapter`",
        panel=_MODELS,
        pattern=r"[\w.-]+=.+",
        common=True,
    )
    lm_path: Path | None = setting(
        None,
        "language model over the same target vocabulary, whose log-probabilities count at every step",
        panel=_MODELS,
    )
    lm_weight: float = setting(
        0.1,
        "weight of the language model's log-probabilities",
        at_least=0,
        needs="lm_path",
        at_most=1000,
        panel=_MODELS,
    )
    ctc_weight: float = setting(
        0.0,
        "weight of the log-probabilities that a CTC head gives the next token, the model's own having the rest; 1: the "
        "head alone; for models that were trained with --ctc-weight",
        at_least=0,
        at_most=1,
        panel=_MODELS,
        common=True,
    )
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
        needs="rerank_path",
        at_least=-1000,
        at_most=1000,
    )
    rerank_candidates: int = setting(
        10,
        "outputs to choose from with --rerank-path; the beam is at least as wide",
        at_least=1,
        panel=_RERANKING,
        needs="rerank_path",
        at_most=10_000,
    )
    source_tag: str = setting(
        "", "put this symbol before each line: a tag of the training data, '<bt>'", panel=_INPUT_AND_OUTPUT
    )
    on_long: str | None = setting(
        None,
        "what becomes of a line longer than those the model was trained on or has positions for: truncate, split "
        "into sentences and join their outputs, or error; if not given, as preprocess was told, else split, with a "
        "warning",
        choices=("truncate", "split", "error"),
        panel=_INPUT_AND_OUTPUT,
    )
    precision: str = setting(
        "fp32",
        "in what to compute: bf16 or int8 on a CPU, where only products are (int8 with a scale for each row), bf16 or "
        "fp16 on a GPU; auto: bf16 where the hardware computes it faster, else fp32",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
        panel=_BATCHES_AND_HARDWARE,
        common=True,
    )
    shortlist: int = setting(
        0,
        "make each output of so many likely translations of each source token, and frequent tokens, only; from a table "
        "that s2s preprocess --shortlist has learnt; 0: of any token",
        at_least=0,
        at_most=10_000,
        panel=_BATCHES_AND_HARDWARE,
    )
    shortlist_frequent: int = setting(
        500,
        "with --shortlist, so many of the most frequent tokens are in every list",
        at_least=0,
        needs="shortlist",
        panel=_BATCHES_AND_HARDWARE,
    )
    device: str = setting(
        "auto",
        "auto, cpu, cuda, cuda:N or mps",
        pattern="auto|cpu|cuda(:[0-9]{1,3})?|mps",
        panel=_BATCHES_AND_HARDWARE,
        common=True,
        decides=False,
    )
    verbose: bool = setting(
        False,
        "warn of each line by itself of which there is something to say, and not of all in one line",
        panel=_INPUT_AND_OUTPUT,
        decides=False,
        not_beside={"serve": "whose records (--format jsonl) have what is to be said of their lines"},
    )
    threads: int = setting(
        0,
        "CPU threads; 0: as many as torch sees fit",
        at_least=0,
        at_most=1024,
        panel=_BATCHES_AND_HARDWARE,
        decides=False,
    )

    @property
    def adapters(self) -> dict[str, Path]:
        """The adapters by their names, in order."""
        return {name: Path(path) for name, _, path in (item.partition("=") for item in self.adapter)}

    @property
    def rerank_weights(self) -> tuple[float, ...]:
        """A weight for each --rerank-path."""
        weights = self.rerank_weight or (1.0,)
        return weights * len(self.rerank_path) if len(weights) == 1 else weights

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.adapters) < len(self.adapter):
            raise UsageError(f"--adapter {' '.join(self.adapter)}: two have one name; give each its own")
