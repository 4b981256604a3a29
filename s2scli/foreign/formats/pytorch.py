"""PyTorch's own files: tensors and plain values, read by its unpickler that calls nothing of what a file names.

They are written too, for those who read nothing else.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch

from s2scli.errors import CheckpointError, is_out_of_memory
from s2scli.files import is_regular, kind_of, open_own

# Classes whose objects other toolkits keep beside tensors: settings, and the numbers of a run. None of them is
# imported: a `NamedValue` takes the place of each.
_NAMED_VALUES = (
    "argparse.Namespace",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.BooleanNode",
    "omegaconf.nodes.EnumNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.StringNode",
    "typing.Any",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)
_UNKNOWN_GLOBAL = re.compile(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)")


class NamedValue:
    """An object of a class that is not loaded: what it was made of, arguments or attributes."""

    arguments: tuple[Any, ...]
    attributes: Any

    def __new__(cls, *arguments: Any) -> Self:
        """Keep the arguments, with which nothing is done."""
        made = super().__new__(cls)
        made.arguments, made.attributes = arguments, {}
        return made

    def __setstate__(self, state: Any) -> None:
        self.attributes = state


def read_pytorch(path: Path) -> Any:
    """What `torch.save` wrote, of either of its formats: tensors, mapped from the file where they can be, and values.

    Objects of the classes that settings are kept in come as plain values. Raises CheckpointError, which names it, where
    the file asks for another class or function: nothing is called, whatever a file says.
    """
    if not is_regular(path):
        raise CheckpointError(f"{path}: is {kind_of(path.stat().st_mode)}, not a file")
    stand_ins: list[Any] = [(_stand_in(name), name) for name in _NAMED_VALUES]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings(action="ignore"):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return plain(found)
    except Exception as error:
        # Data that is broken leads torch's reader and its unpickler into errors of all kinds, of its own files too, but
        # only where a file cannot be read does an error name it.
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.filename):
            raise
        raise CheckpointError(f"{path}: {_explained(error)}") from None


def write_pytorch(path: Path, value: Any) -> None:
    """Write tensors, plain values and settings as fairseq reads them."""
    # fairseq reads nothing but a pickle, with its settings as an object. This is writing: whatever reads it here is
    # `read_pytorch`, which makes no such object.
    with open_own(path, "wb") as stream:
        torch.save(value, stream)


def _stand_in(name: str) -> type[NamedValue]:
    """A class of its own for each name, as torch keeps them by it."""
    return type("NamedValue", (NamedValue,), {"name": name})


def _explained(error: Exception) -> str:
    named = _UNKNOWN_GLOBAL.search(str(error))
    if named:
        return (
            f"asks for {named[1]}, which is neither a tensor nor a known kind of settings; it was not called, and "
            "nothing of the file is used"
        )
    return (
        f"not a file of torch.save that holds tensors and plain values alone, or cut short ({type(error).__name__}); "
        "nothing of it was called, and nothing is used"
    )


def plain(value: Any) -> Any:
    """A value with dicts, lists and texts in place of the objects of settings."""
    if isinstance(value, NamedValue):
        return _plain_named(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _plain_named(value: NamedValue) -> Any:
    state = value.attributes
    if isinstance(state, Mapping):
        # Nodes of omegaconf: a container has its content, a leaf its value.
        for key in ("_content", "_val"):
            if key in state:
                return plain(state[key])
        return plain(dict(state))
    return None
