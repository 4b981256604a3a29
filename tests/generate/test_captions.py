"""Pictures from their manifest to captions, and what of a picture each word attends to."""

from __future__ import annotations

import base64
import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from generating import Generator, joined
from matplotlib.image import imread

from s2scli.configs.inspect import InspectConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.train import TrainConfig
from s2scli.inspect import inspect, show
from s2scli.preprocess import preprocess
from s2scli.schema import build
from s2scli.train import train


def write_pictures(folder: Path) -> None:
    """Pictures of 4 by 6 pixels, dark or light, and a manifest for each split."""
    for seed, (split, number) in enumerate((("train", 12), ("valid", 2), ("test", 3))):
        rows = ["image\ttgt_text"]
        for index in range(number):
            light = index % 2
            pixels = np.random.default_rng([seed, index]).integers(0, 100, (4, 6, 3)) + 150 * light
            name = f"{split}{index}.ppm"
            (folder / name).write_bytes(b"P6\n6 4\n255\n" + pixels.astype("u1").tobytes())
            rows.append(f"{name}\t{('dark', 'light')[light]}")
        (folder / f"{split}.tsv").write_text("".join(f"{row}\n" for row in rows))


@pytest.mark.parametrize("patch_size", [0, 2])
def test_a_caption_says_which_part_of_a_picture_it_is_of(
    tmp_path: Path,
    patch_size: int,
    generating: Callable[[Path], Generator],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_pictures(tmp_path)
    files = {f"{split}_file": tmp_path / f"{split}.tsv" for split in ("train", "valid", "test")}
    frames = {"source_type": "image", "patch_size": patch_size, "cmvn": "global"}
    config = build(PreprocessConfig, files | frames | {"tokenizer": "word", "destdir": tmp_path / "data"})
    preprocess(config)
    wanted = build(InspectConfig, {"path": tmp_path / "data"})
    show(wanted, inspect(wanted))
    told = capsys.readouterr()
    # Nothing of a picture takes time.
    assert "source 72 frames of 12" in told.err
    assert "hours" not in told.err + told.out
    values = {
        "data": tmp_path / "data",
        "save_dir": tmp_path / "run",
        "arch": "transformer_tiny",
        "model.frontend": "linear",
        "model.frame_stack": 2,
        "model.encoder_embed_dim": 16,
        "model.decoder_embed_dim": 16,
        "model.encoder_layers": 1,
        "model.decoder_layers": 1,
        "max_update": 2,
        "device": "cpu",
    }
    train(TrainConfig.resolve({}, values))
    run = generating(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    names = [f"test{number}.ppm" for number in range(3)]
    (record, *_) = (json.loads(line) for line in run(joined(names), format="jsonl", print_attention=True))
    assert record["source_frames"] == [0, 2, 4]
    assert "frame_seconds" not in record
    run(joined(names), attention=tmp_path / "a.html")
    content = (tmp_path / "a.html").read_text(encoding="utf-8")
    tree = ElementTree.fromstring(content[content.index("<body>") : content.index("</html>")])
    seen, labels, *_ = tree.findall("./section")[0].findall(".//tr")
    assert [cell.text for cell in labels[1:]] == ["0", "2", "4"]
    shown = imread(io.BytesIO(base64.b64decode(seen.find(".//img").get("src").partition(",")[2])))
    pixels = np.frombuffer((tmp_path / names[0]).read_bytes()[-72:], np.uint8).reshape(4, 6, 3) / 255
    if patch_size:
        # The patches side by side, row by row.
        pixels = np.concatenate([pixels[:2], pixels[2:]], axis=1)
    low, high = pixels.min(), pixels.max()
    assert shown == pytest.approx((pixels - low) / (high - low), abs=0.01)
