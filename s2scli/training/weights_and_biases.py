"""The figures of a run for Weights & Biases, a service that draws them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from s2scli.console import warn
from s2scli.errors import S2SError
from s2scli.files import check_no_link, open_own_text, read_small
from s2scli.io import explain_write_errors
from s2scli.training.observers import EventObserver
from s2scli.training.tensorboard import scalars

_ID_FILE = "wandb_id"
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class WeightsAndBiases(EventObserver):
    """Sends the numbers of events to a project, KIND/NAME as TensorBoard has them, by the update that they are of.

    The run has the name of its folder, which keeps its id: it goes on there when it goes on here. Raises S2SError where
    wandb is not installed, or cannot begin.
    """

    def __init__(self, project: str, save_dir: Path, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise S2SError(
                "--wandb-project needs wandb, which is not installed: pip install 's2scli[wandb]'"
            ) from None
        try:
            self._run: Any = wandb.init(
                project=project,
                name=os.environ.get("WANDB_NAME", save_dir.resolve().name),
                id=_id_of(save_dir),
                resume="allow",
                dir=str(save_dir),
                config=dict(config),
            )
            # A run that goes back to a checkpoint logs some updates twice, which wandb's own steps do not allow.
            self._run.define_metric("update")
            self._run.define_metric("*", step_metric="update")
        except Exception as error:  # whatever a package of others', and a network, can come up with
            raise S2SError(f"--wandb-project {project}: cannot begin: {_first_line(error)}") from None

    def event(self, kind: str, values: Mapping[str, Any]) -> None:
        """Send the numbers of one event; events of no update are left out."""
        update = values.get("update")
        if self._run is None or not isinstance(update, int):
            return
        try:
            self._run.log({"update": update, **dict(scalars(kind, values))})
        except Exception as error:
            # What nobody may look at ends no training.
            warn(f"--wandb-project: sends nothing any more: {_first_line(error)}")
            self._run = None

    def close(self) -> None:
        """Send what is left."""
        if self._run is not None:
            with suppress(Exception):
                self._run.finish()


def _id_of(save_dir: Path) -> str:
    """The id of the run in a folder, made up where there is none yet."""
    path = save_dir / _ID_FILE
    check_no_link(path)
    known = read_small(path).decode(errors="replace").strip() if path.exists() else ""
    if _ID.fullmatch(known):
        return known
    made_up = uuid4().hex[:8]
    with explain_write_errors(path), open_own_text(path, "w") as stream:
        stream.write(f"{made_up}\n")
    return made_up


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
