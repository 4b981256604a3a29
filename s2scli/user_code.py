"""A module of the user's own, which adds components: what --user-dir names, as in fairseq.

Nothing else runs code that is not the program's: no checkpoint, dataset or config file names such a module.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from s2scli.errors import S2SError, UsageError

# Says the same to processes that are started from here, and, where a user sets it, to every command.
VARIABLE = "S2S_USER_DIR"


def load_user_dir(path: Path) -> None:
    """Import a folder with an __init__.py, or a .py file, here and in processes started from here; once is enough.

    Its folder becomes one that modules are found in, after all others. Raises UsageError where there is none, where
    a module of its name is installed, and where importing it fails.
    """
    path = path.expanduser().absolute()
    source = path / "__init__.py" if path.is_dir() else path
    if not source.is_file() or source.suffix != ".py":
        raise UsageError(f"--user-dir {path}: wanted: a folder with an __init__.py, or a file NAME.py")
    os.environ[VARIABLE] = str(path)
    name, folder = path.name if path.is_dir() else path.stem, str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        spec = find_spec(name)
        if spec is None or spec.origin is None or not source.samefile(spec.origin):
            raise UsageError(f"--user-dir {path}: there is another module {name}; give yours another name")
        import_module(name)
    except S2SError:
        raise
    except Exception as error:
        raise UsageError(f"--user-dir {path}: {type(error).__name__}: {error}") from error


def load_from_environment() -> None:
    """Import what the variable S2S_USER_DIR names, if it is set."""
    if value := os.environ.get(VARIABLE):
        load_user_dir(Path(value))
