"""The checkpoint's file without its weights: where it is, and what its header says; no torch."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from s2scli import document
from s2scli.errors import CheckpointError, DataError
from s2scli.files import DATASET_META, RUN_LOG, is_regular, kind_of, name_in_utf8
from s2scli.schema import Limits, setting

FORMAT = "s2s-checkpoint"
VERSION = 1
BEST = "checkpoint_best.safetensors"
LAST = "checkpoint_last.safetensors"
# What a folder that `s2s export` has written says of its model; see data/exported.py.
EXPORTED = "s2s.json"
SIDES = ("source", "target")
_OF_OTHERS = (
    "as the checkpoints of fairseq, OpenNMT-py, Joey NMT and Sockeye are, and no checkpoint of s2s train; nothing is "
    "loaded that may hold code"
)
_BEST_NAME = re.compile(
    r"checkpoint\.best_(?P<metric>.+)_(?P<figure>-?\d+\.\d+)_(?P<update>\d+)\.safetensors"
)


@dataclass(frozen=True, kw_only=True)
class Component:
    """A section of the training settings; its other keys are those of the component that it names."""

    name: str


@dataclass(frozen=True, kw_only=True)
class TrainedWith:
    """The training settings as a header has them; `restore_config` in s2scli/checkpoint.py checks all of them."""

    arch: str
    model: Component
    optimizer: Component
    lr_scheduler: Component
    objective: Component
    right_to_left: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingLimits:
    """The most tokens of the text that a model was trained on, 0: any number, and what became of longer lines."""

    max_source_length: int = setting(0, "tokens", at_least=0)
    max_target_length: int = setting(0, "tokens", at_least=0)
    on_long: str = setting(..., "what became of longer ones", choices=("error", "truncate", "skip"))


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """What a checkpoint remembers of its dataset.

    vocabularies: fingerprints of the tokenizers, by side; train, valid: of the split that it was trained on, and of
    the one whose figures it compared, if any. longest: the tokens of the longest line of training, by side, end symbols
    not counted; older checkpoints do not say. features: what the frames are made of that are its source, as
    `FeatureForm.to_meta` says; nothing where that is text.
    """

    source_lang: str
    target_lang: str
    limits: TrainingLimits
    source_form: Mapping[str, Any] = field(default_factory=dict)
    vocabularies: Mapping[str, str] = field(default_factory=dict)
    train: str = ""
    valid: str = ""
    features: Mapping[str, Any] | None = None
    longest: Mapping[str, int] = field(
        default_factory=dict, metadata={"limits": Limits(help="tokens", at_least=0)}
    )


# What the header's metadata holds as JSON.
_DOCUMENTS = {"config": TrainedWith, "dataset": TrainedOn, "run": Mapping[str, Any], "resumable": bool}


def epoch_checkpoint(epoch: int) -> str:
    """The file name of an epoch's checkpoint."""
    return f"checkpoint{epoch}.safetensors"


def epoch_checkpoints(folder: Path) -> dict[int, Path]:
    """The epochs' checkpoints of a run folder, by epoch, in order."""
    found = (
        (re.fullmatch(r"checkpoint(\d+)\.safetensors", path.name), path)
        for path in folder.glob("checkpoint*")
    )
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def update_checkpoint(epoch: int, update: int) -> str:
    """The file name of a checkpoint that is kept of an update, within or at the end of an epoch."""
    return f"checkpoint_{epoch}_{update}.safetensors"


def update_checkpoints(folder: Path) -> dict[int, Path]:
    """The updates' checkpoints of a run folder, by update, in order."""
    found = (
        (re.fullmatch(r"checkpoint_\d+_(\d+)\.safetensors", path.name), path)
        for path in folder.glob("checkpoint_*")
    )
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def best_checkpoint(metric: str, figure: float, update: int) -> str:
    """The file name of a checkpoint that is kept as one of the best by a validation's figure."""
    return f"checkpoint.best_{metric}_{figure:.4f}_{update}.safetensors"


def best_checkpoints(folder: Path, metric: str | None = None) -> dict[Path, float]:
    """The checkpoints of a run folder that are kept as the best by a metric, or by any, with their figures.

    They are in the order of their updates.
    """
    found = (
        (int(match["update"]), path, float(match["figure"]))
        for match, path in _of_figures(folder)
        if metric in (None, match["metric"])
    )
    return {path: figure for _, path, figure in sorted(found)}


def metrics_of_best(folder: Path) -> list[str]:
    """The metrics by which checkpoints of a run folder are kept as the best."""
    return sorted({match["metric"] for match, _ in _of_figures(folder)})


def _of_figures(folder: Path) -> Iterator[tuple[re.Match[str], Path]]:
    for path in folder.glob("checkpoint.best_*"):
        match = _BEST_NAME.fullmatch(path.name)
        if match:
            yield match, path


def find_checkpoint(path: Path, names: Sequence[str] = (BEST, LAST)) -> Path:
    """The checkpoint that --path means: a file, or the first of these in a run folder, by default its best one.

    Of a folder that `s2s export` has written it is the file that says what is in it.
    """
    if path.is_dir():
        for name in (*names, EXPORTED):
            if (path / name).is_file():
                return path / name
        foreign = next(
            (f"; {file.name} is {found}" for file in path.glob("*.pt") if (found := _foreign(file))), ""
        )
        raise CheckpointError(
            f"{path}: the folder has no {' and no '.join(names)}{foreign or '; ' + _instead(path)}"
        )
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint")
    return path


def _instead(folder: Path) -> str:
    """What a folder without a checkpoint is, as far as its files tell."""
    if (folder / RUN_LOG).is_file():
        return "it is of a run that has saved no checkpoint yet"
    if (folder / DATASET_META).is_file():
        return "it is a dataset folder; give the --save-dir of a run"
    return "is it the --save-dir of a run?"


def find_checkpoints(path: Path) -> list[Path]:
    """The checkpoints that --path means: one, or several with colons between them."""
    names = [str(path)] if path.exists() else str(path).split(":")
    return [find_checkpoint(Path(name)) for name in names]


def sides_of(header: Mapping[str, Any]) -> tuple[str, ...]:
    """The sides that a checkpoint has tokenizers of: source and target, or of a language model the target alone."""
    return tuple(header["dataset"].get("vocabularies", SIDES))


@contextmanager
def open_checkpoint(
    path: Path, *, framework: str = "numpy", device: str = "cpu"
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield a checkpoint as safetensors opens it, and the JSON values of its header; no tensor is read yet.

    Raises CheckpointError for a file that is no checkpoint, is cut short or is of a newer format; also where what is
    done with it in the `with` block finds that a tensor is missing or broken.
    """
    try:
        if not is_regular(path):
            raise CheckpointError(f"{path}: is {kind_of(path.stat().st_mode)}, not a file")
        with name_in_utf8(path) as name, safe_open(name, framework=framework, device=device) as stream:
            yield stream, _read_header(path, stream.metadata() or {})
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read: {error.strerror or error}") from None
    except SafetensorError as error:
        problem = _foreign(path) or f"not a checkpoint, or cut short ({error}); {_others(path)}"
        raise CheckpointError(f"{path}: {problem}") from None
    except DataError as error:
        raise CheckpointError(f"{path}: the checkpoint is broken: {error}; {_others(path)}") from None


def _read_header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The checked JSON values of a header; DataError, or for another format CheckpointError, where it is broken."""
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: a safetensors file, but not a checkpoint of s2s; {_others(path)}")
    version = metadata.get("version", "")
    if not version.isascii() or not version.isdecimal():
        raise DataError(f"version = {version[:20]!r} is not valid; wanted: a whole number")
    if len(version) > 9 or int(version) > VERSION:
        raise CheckpointError(
            f"{path}: checkpoint format {version[:20]} is newer than this s2s knows ({VERSION}); install a newer s2s"
        )
    header: dict[str, Any] = {}
    for name, shape in _DOCUMENTS.items():
        if name not in metadata:
            raise DataError(f"{name} is missing")
        try:
            header[name] = document.parse(metadata[name])
        except DataError as error:
            raise DataError(f"{name} {error}") from None
        document.check(header[name], shape, name)
    # Of an adapter's checkpoint, which holds that part alone, the fingerprint of the model that it is for.
    header["base"] = metadata.get("base", "")
    sides = sides_of(header)
    if set(sides) not in ({"target"}, set(SIDES)):
        found = ", ".join(sides)[:60]
        raise DataError(f"dataset.vocabularies = {found} is not valid; wanted: target, or source and target")
    return header


def _foreign(path: Path) -> str:
    """What a file is that is no checkpoint, by its first bytes and names alone; empty for one that nobody knows."""
    if path.name == EXPORTED:
        return (
            "of a model that s2s export has written, which s2s generate and s2s chat read; give the run that it was "
            "made of"
        )
    with suppress(OSError, zipfile.BadZipFile, ValueError):
        with path.open("rb") as stream:
            begin = stream.read(8)
        start = begin[:2]
        if start == b"PK":
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            if any(name.endswith("data.pkl") for name in names):
                return f"a file of PyTorch's, {_OF_OTHERS}"
            if any(name.endswith(".npy") for name in names):
                return "an archive of NumPy's, as Marian's models are, and no checkpoint of s2s train"
        if start[:1] == b"\x80" and start[1:] in (b"\x02", b"\x03", b"\x04", b"\x05"):
            return f"a pickle, {_OF_OTHERS}"
        # The eight bytes of a length that a checkpoint begins with are no text.
        if len(begin) > 1 and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in begin):
            remedy = _others(path) if path.suffix == ".toml" else "give a run folder, or a checkpoint of one"
            return f"text, as it seems, and no checkpoint; {remedy}"
    return ""


def _others(path: Path) -> str:
    """What to do without a checkpoint: take another one of its folder, if there is one."""
    files = [path.parent / BEST, path.parent / LAST, *reversed(epoch_checkpoints(path.parent).values())]
    found = [file.name for file in files if file.is_file() and not _is_same(file, path)]
    if not found:
        return "take another copy of it"
    return f"take another one of its folder: {', '.join(found[:3])}"


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one == other


def tokenizer_bytes(stream: Any, side: str) -> bytes:
    """The document of a side's tokenizer in a checkpoint that is open; DataError where it has none."""
    name = f"tokenizer.{side}"
    if name not in stream.keys():  # noqa: SIM118 (not a dict)
        raise DataError(f"{name} is missing")
    if (dtype := stream.get_slice(name).get_dtype()) != "U8":
        raise DataError(f"{name} is of type {dtype}; wanted: U8, the bytes of a document")
    tensor = stream.get_tensor(name)
    return bytes(tensor.tobytes() if hasattr(tensor, "tobytes") else tensor.cpu().numpy().tobytes())
