"""Settings of `s2s datastore`, and of searching in what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.configs.command import CommandConfig
from s2scli.errors import UsageError
from s2scli.schema import setting

_NEIGHBOURS = "Nearest neighbours"


@dataclass(frozen=True, kw_only=True)
class DatastoreConfig(CommandConfig):
    """Which model reads which pairs, and where what it knows of them goes."""

    path: Path = setting(..., "checkpoint, or run folder (then its best checkpoint)", argument=True)
    data: Path = setting(
        ..., "dataset folder with the pairs to remember, of the model's vocabularies", argument=True
    )
    output: Path = setting(..., "file to write, .safetensors")
    gen_subset: str = setting("train", "split of the dataset folder")
    dtype: str = setting(
        "float16",
        "numbers of the decoder's states; float32 takes twice the room, and a CPU searches in it faster",
        choices=("float16", "float32"),
    )
    max_tokens: int = setting(
        8000,
        "most tokens on either side of a batch, padding counted",
        unit="tokens",
        at_least=1,
        decides=False,
    )
    device: str = setting(
        "auto", "auto, cpu, cuda, cuda:N or mps", pattern="auto|cpu|cuda(:[0-9]{1,3})?|mps", decides=False
    )
    threads: int = setting(
        0, "CPU threads; 0: as many as torch sees fit", at_least=0, at_most=1024, decides=False
    )

    def __post_init__(self) -> None:
        if self.output.suffix != ".safetensors":
            raise UsageError(f"--output {self.output}: the ending must be .safetensors")


@dataclass(frozen=True, kw_only=True)
class NeighboursConfig:
    """What the nearest of the states that a model has had before say of the next token (Khandelwal et al. 2021)."""

    datastore: Path | None = setting(
        None,
        "file that s2s datastore has written of this checkpoint: the next token is also told by those of the nearest "
        "states in it",
        panel=_NEIGHBOURS,
    )
    knn_k: int = setting(
        8,
        "how many nearest states are asked",
        at_least=1,
        at_most=65_536,
        needs="datastore",
        panel=_NEIGHBOURS,
    )
    knn_temperature: float = setting(
        10.0,
        "what squared distances are divided by before their softmax: more asks the farther ones too",
        above=0,
        at_least=1e-6,
        at_most=1e9,
        needs="datastore",
        panel=_NEIGHBOURS,
    )
    knn_weight: float = setting(
        0.5,
        "share of what the nearest states say, the model's probabilities having the rest",
        at_least=0,
        below=1,
        needs="datastore",
        panel=_NEIGHBOURS,
    )
