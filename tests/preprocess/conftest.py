"""Text and recordings to preprocess, and what preprocesses them."""

from __future__ import annotations

from pathlib import Path

import pytest
from bilingual import CHINESE, ENGLISH, SPLITS, Run, put
from recordings import write_corpus

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.preprocess import PreprocessResult, preprocess
from s2scli.schema import build


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Three splits of the sentences, as files."""
    for split, end in zip(SPLITS, (36, 5, 4), strict=True):
        put(tmp_path / f"{split}.en", ENGLISH[:end])
        put(tmp_path / f"{split}.zh", CHINESE[:end])
    return tmp_path


@pytest.fixture
def run(texts: Path) -> Run:
    """Call it with settings to preprocess the texts into the folder `data` beside them."""

    def call(**settings: object) -> PreprocessResult:
        values: dict = {"source_lang": "en", "target_lang": "zh", "vocab_size": 60, "destdir": texts / "data"}
        values |= {f"{split}pref": (str(texts / split),) for split in SPLITS}
        return preprocess(build(PreprocessConfig, values | settings))

    return call


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with three splits of recordings, wav/ and a manifest each."""
    write_corpus(tmp_path, train=12, valid=4, test=3)
    return tmp_path


@pytest.fixture
def run_recordings(recordings: Path) -> Run:
    """Call it with settings to preprocess the recordings into the folder `data` beside them."""

    def call(**settings: object) -> PreprocessResult:
        values: dict = {
            "source_type": "audio",
            "tokenizer": "word",
            "destdir": recordings / "data",
            "num_mel_bins": 20,
        }
        values |= {f"{split}_file": recordings / f"{split}.tsv" for split in SPLITS}
        return preprocess(build(PreprocessConfig, values | settings))

    return call
