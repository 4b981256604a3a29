"""scikit-learn's handwritten digits, where it is installed; what is said where it is not."""

import sys
from pathlib import Path

import numpy as np
import pytest
from recipe_scripts import load

handwriting = load("captions/handwriting.py")


def test_without_scikit_learn_a_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert handwriting.main(["--out", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("needs scikit-learn, which is not installed: pip install scikit-learn")
    assert not (tmp_path / "out").exists()


def test_each_picture_is_in_one_split_with_its_word() -> None:
    pictures = np.arange(20 * 64).reshape(20, 8, 8) % 17.0
    digits = [number % 10 for number in range(20)]
    sizes = {"train": 12, "valid": 3, "test": 5}
    found = list(handwriting.examples(pictures, digits, sizes, 1))
    assert [sum(item.split == split for item in found) for split in sizes] == [12, 3, 5]
    assert len({item.path for item in found}) == 20
    for item in found:
        number = int(Path(item.path).stem)
        assert item.data == b"P5\n8 8\n16\n" + bytes(pictures[number].astype("u1").ravel())
        assert item.fields == (item.path, handwriting.WORDS[number % 10])
    # A test set of the same seed stays what it is whatever else is asked for.
    others = list(handwriting.examples(pictures, digits, {"train": 2, "valid": 1, "test": 5}, 1))
    assert [item.path for item in others if item.split == "test"] == [
        item.path for item in found if item.split == "test"
    ]


def test_the_pictures_are_those_that_scikit_learn_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    found = datasets.load_digits()
    assert handwriting.main(["--out", str(tmp_path), "--train", "30", "--valid", "5", "--test", "9"]) == 0
    rows = (tmp_path / "test.tsv").read_text().splitlines()[1:]
    assert len(rows) == 9
    for row in rows:
        path, word = row.split("\t")
        number = int(Path(path).stem)
        pixels = np.frombuffer((tmp_path / path).read_bytes()[-64:], np.uint8)
        assert pixels.tolist() == found.images[number].ravel().tolist()
        assert word == handwriting.WORDS[found.target[number]]
    assert handwriting.main(["--out", str(tmp_path), "--train", "1800"]) == 1
    assert capsys.readouterr().err == "error: there are 1,797 pictures, and 2,360 are asked for\n"
