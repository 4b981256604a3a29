"""The layers hold: who imports whom, what stays free of torch, and what is used nowhere."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import s2scli
from s2scli.cli.commands import COMMANDS
from s2scli.registry import Registry

PACKAGE = Path(s2scli.__file__).parent
LAYERS = (
    {
        "errors",
        "document",
        "registry",
        "components",
        "schema",
        "toml",
        "needs",
        "notes",
        "record",
        "traces",
        "streams",
        "styled",
        "files",
        "io",
        "locks",
        "garbage",
        "values",
        "console",
        "workers",
        "user_code",
        "manual",
    },
    {"configs", "text", "features", "metrics", "checkpoint_file"},
    {"data", "nn", "plotting"},
    {"models", "optim", "inspection", "scoring"},
    {"search", "attribution", "checkpoint"},
    {"inference", "foreign"},
    {"training", "exporting", "sweeping"},
    {
        "preprocess",
        "train",
        "generate",
        "explain",
        "chat",
        "score",
        "sweep",
        "export",
        "average",
        "datastore",
        "trim",
        "plot",
        "inspect",
        "importing",
    },
    {"cli"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
TORCH_FREE = (
    "cli.app",
    "document",
    "score",
    "generate",
    "explain",
    "chat",
    "preprocess",
    "sweep",
    "sweeping",
    "plot",
    "plotting",
    "inspect",
    "inspection",
    "scoring",
    "checkpoint_file",
    "configs",
    "text",
    "features",
    "metrics",
    "data.dataset",
    "data.sentences",
    "data.exported",
    "inference.translator",
    "inference.loading",
    "inference.ctranslate2_model",
    "inference.processes",
    "inference.formats",
    "inference.output",
    "inference.signals",
    "inference.server",
    "inference.chat",
)


def module_name(path: Path) -> str:
    parts = ("s2scli", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def names_imported(node: ast.AST) -> list[str]:
    """The modules an import statement names; of `from a import b` both a and a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def imports(module: str) -> set[str]:
    """All that a module imports, wherever in it."""
    return {name for node in ast.walk(tree(module)) for name in names_imported(node)}


def imports_when_loaded(module: str) -> set[str]:
    """What importing a module imports: not within functions, not for type checking only."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree(module)]
    while waiting:
        node = waiting.pop()
        found.update(names_imported(node))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
    return found


def own(names: set[str]) -> set[str]:
    return {name for name in names if name in MODULES}


def part_of(module: str) -> str:
    """The folder or file under s2scli that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def reachable(module: str) -> set[str]:
    """All modules of ours, and names of others', that importing a module imports."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in MODULES:
            waiting += imports_when_loaded(name)
            # Importing a.b runs a's __init__ first.
            waiting += [parent for parent in [name.rpartition(".")[0]] if parent]
    return seen


def test_every_module_has_a_layer() -> None:
    parts = {part_of(module) for module in MODULES} - {"", "__main__"}
    assert parts <= set(LEVEL)


def test_imports_go_down() -> None:
    for module in MODULES:
        here = part_of(module)
        for name in own(imports(module)) if here in LEVEL else ():
            there = part_of(name)
            if there in ("", here):
                continue
            if LEVEL[here] == LEVEL[there] == 0:
                continue  # the foundations may lean on each other; the test for cycles watches them
            assert LEVEL[there] < LEVEL[here], f"{module} imports {name}, which is not below it"


def test_no_cycles() -> None:
    below = {module: own(imports(module)) - {"s2scli", module} for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a cycle: {' → '.join((*path, module))}"
        if module not in done:
            for name in below[module]:
                visit(name, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def torch_free_modules() -> list[str]:
    wanted = tuple(f"s2scli.{name}" for name in TORCH_FREE)
    return [
        module for module in MODULES if module in wanted or module.startswith(tuple(f"{w}." for w in wanted))
    ]


def test_torch_is_out_of_reach() -> None:
    for module in torch_free_modules():
        assert "torch" not in {name.partition(".")[0] for name in reachable(module)}, module


def has(path: str) -> bool:
    return find_spec(path.partition(":")[0]) is not None


VERBS = [name for name, command in COMMANDS.items() if has(command.config)]


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        *(f"{verb} --help" for verb in VERBS),
        "score --sys {f} --ref {f}",
        "score --sys {f} {f} --ref {f} --metrics rougel,wer,f1,distinct1 --diff --by-length",
        "plot {log}",
    ],
)
def test_torch_is_not_imported(words: str, tmp_path: Path) -> None:
    """Run the command itself, and look at what was imported."""
    (tmp_path / "f").write_text("a line\nand another\n")
    (tmp_path / "log.jsonl").write_text('{"event": "train", "update": 1, "loss": 9.5}\n')
    arguments = words.format(f=tmp_path / "f", log=tmp_path / "log.jsonl").split()
    code = "import sys; from s2scli.cli.app import run; sys.exit(run(sys.argv[1:]) or 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "module", [name for name, path in MODULES.items() if "Registry(" in path.read_text("utf-8")]
)
def test_registry_entries_exist(module: str) -> None:
    for registry in list(vars(importlib.import_module(module)).values()):
        if isinstance(registry, Registry):
            assert len(registry) > 0
            for name in registry:
                if name not in COMMANDS or has(COMMANDS[name].run):
                    assert registry[name] is not None


def test_nothing_loads_or_runs_what_it_reads() -> None:
    """No pickle, eval or exec: a checkpoint, config or model of another toolkit never runs code.

    PyTorch's own files are read in one module, by the unpickler that calls nothing which a file names. They are written
    there alone too, for toolkits that read nothing else.
    """
    for module in MODULES:
        imported = {name.partition(".")[0] for name in imports(module)}
        assert not imported & {"pickle", "marshal", "shelve", "dill"}, module
        for call in calls(module):
            called = ast.unparse(call.func)
            is_safe = any(ast.unparse(word) == "weights_only=True" for word in call.keywords)
            is_allowed = (called == "torch.load" and is_safe) or called == "torch.save"
            if is_allowed and module == "s2scli.foreign.formats.pytorch":
                continue
            assert called not in ("eval", "exec", "compile", "torch.load", "torch.save"), (
                f"{module}: {called}"
            )


@cache
def calls(module: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]


def test_a_terminal_has_one_door() -> None:
    """What is shown goes through `console`, `styled` and Python's own streams, which `streams` has put in place."""
    doors = {"tqdm": "s2scli.console", "rich.console": "s2scli.styled"}
    # For types alone the console's class is imported elsewhere too.
    makes = {"tqdm", "Console", "rich.console.Console"}
    ways_around = (
        *("sys.stdout.buffer", "sys.stderr.buffer", "sys.__stderr__"),
        *("os.write(1", "os.write(2", "print_exc"),
    )
    for module, path in MODULES.items():
        found = [ast.unparse(call.func) for call in calls(module) if ast.unparse(call.func) in makes]
        for library, door in doors.items():
            assert not found or module == door or library not in imports(module), f"{module}: {found}"
        text = path.read_text("utf-8")
        for around in ways_around:
            assert around not in text, f"{module}: {around}"


# Opened for writing by other ways than those of `files` and `io`, and why that writes into no other file.
WRITES = {
    "s2scli.files": "the way itself",
    "s2scli.io": "in a temporary folder of its own, or what the user has named",
    "s2scli.inference.partial_file": "a pipe or a device that the user has named",
    "s2scli.training.divergence": "in a folder that was just made",
    "s2scli.training.memory": "/proc",
    "s2scli.plotting.page": "a file without a name",
}


def test_what_is_opened_for_writing_is_no_link() -> None:
    """See `s2scli/files.py`: a file is opened by `open_own`, or is the temporary one of `write_atomically`."""
    for module, call in ((name, call) for name in MODULES for call in calls(name)):
        name, words = ast.unparse(call.func), [ast.unparse(word) for word in call.args]
        receiver, _, method = name.rpartition(".")
        if method == "open":
            wanted = "O_CREAT" if receiver == "os" else r"'[rbt]*[wax+][bt+]*'|^mode$"
            writes = any(re.search(wanted, word) for word in words)
        else:
            writes = method in ("write_text", "write_bytes", "TemporaryFile", "NamedTemporaryFile", "mkstemp")
        assert not writes or receiver == "temporary" or module in WRITES, f"{module}: {ast.unparse(call)}"


def test_every_module_says_what_it_is() -> None:
    for module in MODULES:
        assert not tree(module).body or ast.get_docstring(tree(module)), module


def classes(module: str) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree(module)) if isinstance(node, ast.ClassDef)]


def test_a_class_name_means_one_thing() -> None:
    """Private ones too: whoever reads of a Memory, or of a _Memory, need not ask which."""
    homes: dict[str, list[str]] = {}
    for module in MODULES:
        for node in classes(module):
            homes.setdefault(node.name.lstrip("_"), []).append(module)
    assert not {name: found for name, found in homes.items() if len(found) > 1}


def test_gradients_are_written_out_in_kernels_alone() -> None:
    """What is fast and is not the formula stands in nn/kernels/."""
    found = {
        module
        for module in MODULES
        for node in classes(module)
        if any(ast.unparse(base).endswith("autograd.Function") for base in node.bases)
    }
    assert not {module for module in found if not module.startswith("s2scli.nn.kernels")}


def test_nobody_asks_which_config_it_has() -> None:
    """What depends on a component is a field or a method of its config: a new component is asked for nowhere."""
    configs = {node.name for module in MODULES if part_of(module) == "configs" for node in classes(module)}
    found = set()
    for module in MODULES:
        for call in calls(module):
            if ast.unparse(call.func) in ("isinstance", "issubclass"):
                asked = {node.id for node in ast.walk(call.args[1]) if isinstance(node, ast.Name)}
                found.update({module} if asked & configs else ())
    assert not found


TESTS = Path(__file__).parent
# Folders of tests that are of no folder or module of the package.
OTHER_TESTS = {"contracts", "recipes", "soak"}


def test_tests_stand_where_what_they_test_stands() -> None:
    """tests/a/test_b.py is of s2scli/a/b.py if there is a b.py anywhere; tests/a/ is of s2scli/a/ or s2scli/a.py."""
    for path in TESTS.rglob("test_*.py"):
        folder, name = path.parent.relative_to(TESTS), path.name.removeprefix("test_")
        if folder.parts and folder.parts[0] in OTHER_TESTS:
            continue
        if folder.parts and (PACKAGE / folder).with_suffix(".py").is_file():
            continue
        assert (PACKAGE / folder).is_dir(), f"{path}: there is no s2scli/{folder}"
        homes = [home.parent.relative_to(PACKAGE) for home in PACKAGE.rglob(name)]
        assert not homes or folder in homes, f"{path}: {name} is in {', '.join(map(str, homes))}"
