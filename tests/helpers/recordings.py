"""Recordings and manifests that are made up: digits are tones, and silence is between them."""

from __future__ import annotations

import json
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

WORDS = ("zero", "one", "two", "three")


def tone(word: str, seed: int, rate: int = 8000) -> np.ndarray:
    """A fifth of a second or more of a word's tone in noise, as whole numbers of 16 bits."""
    random = np.random.default_rng(seed)
    times = np.arange(int(rate * random.uniform(0.2, 0.4))) / rate
    sound = 0.3 * np.sin(2 * np.pi * 400 * (1 + WORDS.index(word)) * times) + random.normal(
        0, 0.01, len(times)
    )
    return (sound * 32767).astype("<i2")


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000) -> None:
    """Write samples of 16 bits as a wav file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, rate, 0, "NONE", ""))
        stream.writeframes(samples.astype("<i2").tobytes())


def write_tsv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write a manifest."""
    lines = ["\t".join(map(str, row)) for row in (header, *rows)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_corpus(folder: Path, **splits: int) -> None:
    """Write so many recordings for each split, wav/SPLIT-NUMBER.wav, and SPLIT.tsv with id, audio and text."""
    for offset, (split, number) in enumerate(splits.items()):
        rows = []
        for index in range(number):
            word = WORDS[index % len(WORDS)]
            write_wav(folder / f"wav/{split}-{index}.wav", tone(word, 1000 * offset + index))
            rows.append((f"{split}{index}", f"wav/{split}-{index}.wav", word))
        write_tsv(folder / f"{split}.tsv", ("id", "audio", "tgt_text"), rows)


def stored(folder: Path, split: str = "train") -> list[np.ndarray]:
    """The frames of each source as the files have them."""
    meta = json.loads((folder / "data/meta.json").read_text())
    width, found = meta["columns"]["source"]["features"]["num_features"], []
    for corpus in meta["splits"][split]["corpora"]:
        for shard in corpus["shards"]:
            stem = folder / "data" / shard["path"]
            frames = np.fromfile(stem / "source.frames", meta["columns"]["source"]["dtype"]).reshape(
                -1, width
            )
            ends = np.fromfile(stem / "source.ends", "<i8").tolist()
            found += [frames[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return found
