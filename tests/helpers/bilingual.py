"""Sentences in English and Chinese for `preprocess`, and what it has made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from s2scli.data.split import Split
from s2scli.preprocess import PreprocessResult

NOUNS = ["cat", "dog", "bird", "house", "tree", "river"]
WORDS = {"cat": "猫", "dog": "狗", "bird": "鸟", "house": "房子", "tree": "树", "river": "河"}
ENGLISH = [f"the {a} sees the {b} , {n} ." for n, a in enumerate(NOUNS) for b in NOUNS]
CHINESE = [f"{WORDS[a]}看见{WORDS[b]}，{n}。" for n, a in enumerate(NOUNS) for b in NOUNS]
SPLITS = ("train", "valid", "test")
SIDES = ("source", "target")

Run = Callable[..., PreprocessResult]


def put(path: Path, lines: list[str]) -> Path:
    """Write lines into a file."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return path


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What a folder holds, by the paths of its files."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def ids_of(split: Split, side: str) -> list[list[int]]:
    """The ids of every example."""
    return [split.ids(side, index).tolist() for index in range(len(split))]
