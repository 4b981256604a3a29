"""Tell whether the virtual environment that runs this is what `make setup` would make.

Exit code 0 if the packages that pyproject.toml asks for are there, in the versions that constraints.txt pins,
and `s2s` is installed from this tree; otherwise 1, and one line on standard error says what is missing.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def missing() -> str:
    """Say what is not as it should be, or return an empty string."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *extras["dev"],
        *extras["metrics"],
        *extras["plot"],
        *extras["tensorboard"],
        project["name"],
    ]
    names = [match[0] for requirement in wanted if (match := re.match(r"[\w.-]+", requirement))]
    try:
        for name in names:
            version(name)
        origin = json.loads(distribution(project["name"]).read_text("direct_url.json") or "{}")
    except PackageNotFoundError as error:
        return f"{error.name} is not installed"
    if origin.get("url") != ROOT.as_uri():
        return f"{project['name']} is not installed from {ROOT}"
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, pinned = line.partition("==")
        if pinned:
            try:
                installed = version(name).partition("+")[0]
            except PackageNotFoundError:
                continue  # pinned for another platform
            if installed != pinned:
                return f"{name} is {installed}, pinned is {pinned}"
    return ""


if __name__ == "__main__":
    if found := missing():
        print(f".venv: {found}", file=sys.stderr)
        sys.exit(1)
