"""`generate` in other precisions, and over vocabulary shortlists."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fairseq_symbols import NUM_SPECIAL
from generating import SENTENCES, Generator

from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.data.shortlist import Shortlist
from s2scli.errors import UsageError

TEXT = "\n".join(SENTENCES) + "\n"
pytestmark = pytest.mark.parametrize("run", ["transformer", "recurrent", "convolutional"], indirect=True)


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("precision", ["auto", "bf16", "int8"])
def test_precision_changes_little(run: Generator, precision: str, beam: int) -> None:
    exact = run(TEXT, beam=beam)
    rounded = run(TEXT, beam=beam, precision=precision)
    assert len(rounded) == len(exact)
    assert sum(one == other for one, other in zip(exact, rounded, strict=True)) >= 0.8 * len(exact)


def test_fp16_is_for_a_gpu(run: Generator) -> None:
    with pytest.raises(UsageError, match="--precision fp16 is for a GPU; on a CPU take bf16 or int8"):
        run("a\n", precision="fp16")


@pytest.fixture
def with_table(run: Generator, tmp_path: Path) -> Generator:
    """A run with a table in which each source word has itself and the next one as translations."""
    path = run.path / "checkpoint_best.safetensors"
    checkpoint = load_checkpoint(path)
    size = len(checkpoint.tokenizers["target"])
    assert len(checkpoint.tokenizers["source"]) == size
    own = torch.arange(size, dtype=torch.int32)
    targets = torch.stack([own, (own + 1).clamp(max=size - 1)], dim=1)
    targets[:NUM_SPECIAL] = -1
    limited = tmp_path / "limited.safetensors"
    table = Shortlist(targets, torch.cat([own[NUM_SPECIAL:], own[:NUM_SPECIAL]]), NUM_SPECIAL)
    save_checkpoint(limited, replace(checkpoint, shortlist=table))
    return Generator(limited, run.capsys, run.monkeypatch)


@pytest.mark.parametrize("settings", [{"beam": 1}, {"beam": 4}, {"beam": 2, "sampling": True, "top_k": 3}])
def test_outputs_are_made_of_the_shortlist(with_table: Generator, settings: dict[str, object]) -> None:
    """The toy task turns sentences round, so that their own words are enough."""
    source_words = [set(line.split()) for line in SENTENCES]
    assert with_table(TEXT, shortlist=1, shortlist_frequent=0, **settings) == with_table(
        TEXT, shortlist=1, shortlist_frequent=0, batch_size=3, **settings
    )
    limited = with_table(TEXT, shortlist=1, shortlist_frequent=0, **settings)
    for words, line in zip(source_words, limited, strict=True):
        assert set(line.split()) - {"<unk>"} <= words
    if "sampling" not in settings:
        whole = with_table(TEXT, **settings)
        right = [" ".join(reversed(line.split())) for line in SENTENCES]
        assert sum(map(str.__eq__, limited, right)) >= sum(map(str.__eq__, whole, right))


def test_a_prefix_need_not_be_in_the_shortlist(with_table: Generator) -> None:
    for line in with_table(TEXT, shortlist=1, shortlist_frequent=0, target_prefix="ba ki"):
        assert line.startswith("ba ki")


def test_what_there_is_no_table_for(run: Generator, with_table: Generator) -> None:
    with pytest.raises(
        UsageError, match=r"--shortlist 5: .* has no table of translations; train on a dataset"
    ):
        run("a\n", shortlist=5)
    with pytest.raises(UsageError, match=r"--shortlist 3: .* has 2 translations of a token at most"):
        with_table("a\n", shortlist=3)
