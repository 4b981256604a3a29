from __future__ import annotations

from pathlib import Path

import pytest

from s2scli.errors import UsageError
from s2scli.sweeping.dimensions import Choices, Range
from s2scli.sweeping.space_file import read_space

GOOD = """
[train]
max_update = 20
arch = { choices = ["transformer_tiny", "rnn_bahdanau"] }
max_tokens = { low = 500, high = 4000, log = true }

[train.optimizer]
lr = { low = 1e-4, high = 0.01, log = true, points = 3 }

[train.model]
attention = { choices = ["additive", "dot"], when = { arch = "rnn_bahdanau" } }
attention_dim = { choices = [8, 16], when = { "model.attention" = ["additive"] } }
dropout = 0.1

[preprocess]
vocab_size = { low = 100, high = 300, step = 100 }

[generate]
beam = { low = 1, high = 3 }
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(text)
    return path


def test_a_space_is_what_the_file_says(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, GOOD))
    assert space.fixed == {"train.max_update": 20, "train.model.dropout": 0.1}
    found = {dimension.key: dimension for dimension in space.dimensions}
    assert found["train.optimizer.lr"] == Range(
        key="train.optimizer.lr", when={}, low=1e-4, high=0.01, log=True, points=3
    )
    assert found["train.model.attention_dim"] == Choices(
        key="train.model.attention_dim", when={"train.model.attention": ("additive",)}, values=(8, 16)
    )
    assert found["train.optimizer.lr"].grid() == (0.0001, 0.001, 0.01)
    assert found["preprocess.vocab_size"].grid() == (100, 200, 300)
    assert found["generate.beam"].grid() == (1, 2, 3)
    # What a condition asks about comes first.
    assert [*found].index("train.model.attention") < [*found].index("train.model.attention_dim")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train.optimizer]\nlearn = 1", "[train.optimizer] learn: unknown key"),
        ("[train.model]\ndropuot = 0.1", "[train.model] dropuot: unknown key; did you mean dropout?"),
        ("[train]\nlr = 0.1", "[train] lr: unknown key; it belongs to [train.optimizer]"),
        ("[trian]\nseed = 1", "[trian]: unknown section; did you mean train?"),
        ("train = 1", "train is a section: write [train]"),
        ("[train]\nmodel = 1", "[train] model is a section; write [train.model]"),
        ("[train]\nseed = 1", "searches nothing; give a setting choices or a range"),
        ("[train]\nseed = -1", "[train] seed = -1 is not allowed; allowed: ≥ 0"),
        (
            "[train]\nseed = { low = 3, high = 3 }",
            "low = 3, high = 3 is an empty range; low must be below high",
        ),
        ("[train]\nseed = { low = 5, high = 3 }", "low = 5, high = 3 is an empty range"),
        ("[train]\nseed = { low = 5 }", "[train] seed: a range needs high"),
        ("[train]\nseed = { low = 0.5, high = 3 }", "low = 0.5 is not valid; wanted: a whole number"),
        ("[train]\nseed = { low = 0, high = 3, log = true }", "low = 0 has no logarithm"),
        (
            "[train]\nseed = { low = 0, hihg = 3 }",
            "'hihg' is no word of a range, which is { low = …, high = … }; did",
        ),
        ("[train]\nseed = { choices = [] }", "choices = [] is not valid; wanted: a list of values"),
        ("[train]\nseed = { choices = [1, 1] }", "choices = [1, 1] names a value twice"),
        ("[train]\nseed = { choices = [1, 'x'] }", "[train] seed = 'x' is not valid; wanted: a whole number"),
        ("[train]\narch = { low = 1, high = 2 }", "[train] arch: is no number, and so has no range"),
        ("[train]\nsave_dir = 'x'", "[train] save_dir: each trial has its own; leave it out"),
        (
            "[train]\nseed = { choices = [1, 2], when = { max_epoch = 3 } }",
            "[train] seed: when asks about train.max_epoch, which is not searched",
        ),
        (
            "[train]\nseed = { choices = [1, 2], when = { arch = 'x' } }\narch = { choices = ['rnn_luong'] }",
            "[train] seed: when train.arch is 'x' never holds; it is one of 'rnn_luong'",
        ),
        (
            "[train]\nseed = { choices = [1, 2], when = { threads = 1 } }\n"
            "threads = { choices = [1, 2], when = { seed = 1 } }",
            "[train] seed: when asks about settings that ask about it in turn",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        read_space(path)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
