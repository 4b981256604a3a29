"""What can be said to be missing before a command is imported, which with torch takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s2scli.checkpoint_file import find_checkpoints

_CHECKPOINTS = ("path", "lm_path", "rerank_path")


def check_inputs(config: Any) -> None:
    """Raise the S2SError that the command would, for a checkpoint or a dataset folder that is not there."""
    for name in _CHECKPOINTS:
        value = getattr(config, name, None)
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path):
                find_checkpoints(path)
    if isinstance(data := getattr(config, "data", None), Path):
        from s2scli.data.dataset import Dataset  # with numpy, which text has no use for

        # What is no folder is a recording; whether the model reads such is known when it is open.
        if data.is_dir() or not getattr(config, "files", ()):
            Dataset.open(data)
