"""`generate` with what outputs attend to where sources are frames: records, alignments, pages, pictures, tables."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq_symbols import pad_sequences
from generating import Generator, joined
from recordings import WORDS, tone, write_wav

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.configs.train import TrainConfig
from s2scli.data.batch import Batch, Frames
from s2scli.data.padding import pad_frames
from s2scli.errors import UsageError
from s2scli.features.extraction import Utterance, frame_reader
from s2scli.features.form import FeatureForm
from s2scli.train import train

PATHS = [f"wav/test-{number}.wav" for number in range(4)]


@pytest.fixture
def run(speech: Path, generating: Callable[[Path], Generator], monkeypatch: pytest.MonkeyPatch) -> Generator:
    """`generate` with a model of speech, in the folder of the recordings."""
    monkeypatch.chdir(speech)
    return generating(speech / "run/checkpoint_best.safetensors")


def records_of(run: Generator, text: str, **settings: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(text, format="jsonl", **settings)]


def attention(path: Path, recording: str, output: str) -> torch.Tensor:
    """What the model of a checkpoint attends to when it has read one recording and says a text."""
    checkpoint = load_checkpoint(path)
    form = FeatureForm.of_source(checkpoint.dataset)
    frames = frame_reader(form).frames(Utterance(references=(recording,)))
    ids = checkpoint.tokenizers["target"].encode(output)
    batch = Batch(Frames.of(pad_frames([frames])), pad_sequences([ids]))
    with torch.inference_mode():
        return restore_model(checkpoint, path).attention(batch)[0]


def test_records_say_which_frames_are_attended_to(run: Generator) -> None:
    found = records_of(run, joined([*PATHS, "", "missing.wav"]), print_attention=True, print_alignment=True)
    for path, record in zip(PATHS, found, strict=False):
        weights = attention(run.path, path, record["text"])
        torch.testing.assert_close(torch.tensor(record["attention"]), weights, atol=1e-4, rtol=0)
        assert record["source_frames"] == list(range(0, 4 * weights.size(1), 4))
        assert record["frame_seconds"] == 0.01
        assert "source_tokens" not in record
        assert record["alignment"] == f"{4 * int(weights[0].argmax())}-0"
    for record in found[4:]:
        assert not record.keys() & {"attention", "alignment", "source_frames", "frame_seconds"}
    plain = records_of(run, joined(PATHS))
    assert not plain[0].keys() & {"attention", "alignment", "source_frames", "frame_seconds"}
    assert [record["text"] for record in plain] == [record["text"] for record in found[:4]]


def test_alignments_are_of_words_and_frames(run: Generator) -> None:
    lines = [line.split("\t") for line in run(joined(PATHS), print_alignment=True)]
    assert [text for text, _ in lines] == list(WORDS)
    assert run(joined(PATHS), print_alignment=True, alignment_unit="token") == [
        "\t".join(line) for line in lines
    ]
    assert all(re.fullmatch(r"\d+-0", alignment) for _, alignment in lines)
    fairseq = run(joined(PATHS), print_alignment=True, format="fairseq")
    assert [line.split("\t")[1] for line in fairseq if line[0] == "A"] == [
        alignment for _, alignment in lines
    ]


def test_pages_show_the_sound_at_its_time(run: Generator, speech: Path, tmp_path: Path) -> None:
    """A tone that begins after half a second is seen there, above the positions that begin then."""
    quiet = np.random.default_rng(0).normal(0, 30, 2400)
    write_wav(speech / "late.wav", np.concatenate([quiet, tone("two", 7)]))
    page = tmp_path / "a.html"
    assert run("late.wav\n", attention=page) == run("late.wav\n")
    content = page.read_text(encoding="utf-8")
    tree = ElementTree.fromstring(content[content.index("<body>") : content.index("</html>")])
    assert [part.text for part in tree.findall("./section/p")] == ["late.wav", run("late.wav\n")[0]]
    (record,) = records_of(run, "late.wav\n", print_attention=True)
    seen, _, *rows = tree.findall(".//tr")
    assert [row[0].text for row in rows] == record["tokens"]
    drawn = [
        (float(title.split()[2]), float(title.split()[-1]))
        for row in rows
        for title in [cell.get("title") for cell in row[1:]]
        if title
    ]
    assert drawn
    by_time = {
        round(start * 0.01, 2): [row[column] for row in record["attention"]]
        for column, start in enumerate(record["source_frames"])
    }
    assert all(any(abs(weight - other) < 0.011 for other in by_time[time]) for time, weight in drawn)
    light = light_of(seen, tmp_path)
    assert light.shape == (16, 4 * len(record["source_frames"]))
    loud = light.max(0) > 0.9
    assert 26 <= int(loud.argmax()) <= 31


def light_of(row: ElementTree.Element, folder: Path) -> np.ndarray:
    """The picture in a row of a page, as another program reads it."""
    import base64

    from matplotlib.image import imread

    data = row.find(".//img").get("src").partition(",")[2]
    (folder / "a.png").write_bytes(base64.b64decode(data))
    return imread(folder / "a.png")


def test_tables_and_pictures(run: Generator, tmp_path: Path) -> None:
    text, *lines = run(joined(PATHS[:1]), format="table")
    assert text == "zero"
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[5:7]] == ["zero", "</s>"]
    assert lines[4].split()[:2] == ["0.00", "s"]
    run(joined(PATHS), attention=tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_names_of_files_are_text_in_pages(run: Generator, speech: Path, tmp_path: Path) -> None:
    name = "<script>&'\"\x1b[31m.wav"
    (speech / name).write_bytes((speech / PATHS[0]).read_bytes())
    assert run(f"{name}\n", attention=tmp_path / "a.html") == ["zero"]
    content = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<script" not in content
    assert "&lt;script&gt;" in content


def test_frames_of_a_dataset_and_of_recordings_that_are_cut(run: Generator, speech: Path) -> None:
    settings = {"print_attention": True, "print_alignment": True, "format": "jsonl"}
    of_data = [json.loads(line) for line in run("", data=Path("data"), **settings)][:4]
    of_files = [json.loads(line) for line in run(joined(PATHS), **settings)]
    for one, two in zip(of_data, of_files, strict=True):
        assert one["alignment"] == two["alignment"]
        assert one["source_frames"] == two["source_frames"]
    pause = np.random.default_rng(1).normal(0, 330, 2400)
    sounds = [tone(word, 90 + number) for number, word in enumerate((*WORDS, *WORDS))]
    whole = np.concatenate([part for sound in sounds for part in (sound, pause)])
    write_wav(speech / "long.wav", whole)
    (record,) = records_of(run, "long.wav\n", print_attention=True, print_alignment=True)
    parts = int(re.search(r"in (\d+) parts", record["warnings"][0])[1])
    starts, words = record["source_frames"], record["text"].split()
    assert parts > 1
    assert starts == sorted(starts)
    assert 0 <= 1 + (len(whole) - 200) // 80 - starts[-1] <= 4
    assert len(starts) == len(record["attention"][0])
    pairs = [tuple(map(int, pair.split("-"))) for pair in record["alignment"].split()]
    assert [target for _, target in pairs] == list(range(len(words)))
    # A word is where its part is: later parts have later frames.
    ends = [place for place, token in enumerate(record["tokens"]) if token == "</s>"]
    blocks = np.array(record["attention"]) > 0
    for row, end in zip([0, *[end + 1 for end in ends[:-1]]], ends, strict=True):
        positions = np.flatnonzero(blocks[row : end + 1].any(0))
        rest = np.delete(blocks, range(row, end + 1), axis=0)
        assert not rest[:, positions].any()
    assert all(source in starts for source, _ in pairs)
    assert [source for source, _ in pairs] == sorted(source for source, _ in pairs)


def test_models_whose_positions_are_others_have_no_attention_in_common(
    run: Generator, speech: Path, tmp_path: Path, generating: Callable[[Path], Generator]
) -> None:
    values = {
        "data": speech / "data",
        "save_dir": tmp_path / "other",
        "arch": "las",
        "model.encoder_hidden_size": 8,
        "model.decoder_hidden_size": 8,
        "model.decoder_embed_dim": 8,
        "model.pyramid_layers": 3,
        "max_update": 1,
        "max_tokens": 400,
        "device": "cpu",
    }
    train(TrainConfig.resolve({}, values))
    other = generating(tmp_path / "other")
    (record,) = records_of(other, joined(PATHS[:1]), print_attention=True)
    stride = record["source_frames"][1]
    assert stride == 8
    both = Path(f"{run.path}:{tmp_path / 'other'}")
    assert len(run(joined(PATHS), path=both)) == 4
    with pytest.raises(
        UsageError, match=rf"attend to positions of 4 and of {stride} frames, and have no attention"
    ):
        run(joined(PATHS), path=both, print_alignment=True)
