"""The recipes' scripts as modules: they are no package, so that each runs by itself."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

RECIPES = Path(__file__).parents[1] / "recipes"


def load(path: str) -> ModuleType:
    """Load a script by its path in recipes/."""
    spec = importlib.util.spec_from_file_location(f"recipes_{Path(path).stem}", RECIPES / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
