"""`generate` with a model of speech: recordings come by path, in JSON records, on standard input, and in a dataset."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generating import Generator, joined
from recordings import WORDS, tone, write_wav

from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, DataError, UsageError
from s2scli.features.extraction import AudioFrames, Extracted, Utterance, frame_reader
from s2scli.features.silence import pieces_between_pauses

TEST = 8
WANTED = [WORDS[number % len(WORDS)] for number in range(TEST)]


@pytest.fixture
def run(speech: Path, generating: Callable[[Path], Generator], monkeypatch: pytest.MonkeyPatch) -> Generator:
    """`generate` with that run, in the folder of the recordings."""
    monkeypatch.chdir(speech)
    return generating(speech / "run/checkpoint_best.safetensors")


def paths(number: int = TEST) -> list[str]:
    """Those of the test recordings."""
    return [f"wav/test-{index}.wav" for index in range(number)]


def test_paths_on_standard_input_give_a_line_each_and_so_do_those_of_the_command_line(run: Generator) -> None:
    assert run(joined(paths())) == WANTED
    assert run("", data=Path(paths()[0]), recordings=tuple(map(Path, paths()[1:]))) == WANTED


def test_a_dataset_has_the_frames_that_its_recordings_give(run: Generator) -> None:
    """They are stored as half floats, as those of a recording are rounded."""
    records = [json.loads(line) for line in run("", data=Path("data"), format="jsonl")]
    others = [json.loads(line) for line in run(joined(paths()), format="jsonl")]
    assert [record["text"] for record in records] == WANTED
    assert [record["score"] for record in records] == pytest.approx(
        [record["score"] for record in others], abs=1e-5
    )
    assert [(record["source"], record["reference"]) for record in records] == [
        (f"test{number}", word) for number, word in enumerate(WANTED)
    ]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_recording_is_read_the_same_in_any_batch(run: Generator, batch_size: int) -> None:
    scores = [
        [json.loads(line)["score"] for line in run(joined(paths()), format="jsonl", batch_size=size)]
        for size in (batch_size, 64)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_records_name_recordings_that_are_joined_or_a_part_of_one(run: Generator) -> None:
    whole, part = {"audio": paths()[:1], "doc": 7}, {"audio": paths()[2], "start": 0.0, "end": 30.2 / 100}
    lines = run(joined(map(json.dumps, (whole, part))), input_format="jsonl", format="jsonl")
    found = [json.loads(line) for line in lines]
    assert [(record["text"], record.get("doc")) for record in found] == [("zero", 7), ("two", None)]
    for record, problem in (
        ({"audio": 5}, "the line's field audio is no path, nor a list of them"),
        ({"text": "a"}, "the line's field audio is no path"),
        ({"audio": "a.wav", "start": "1"}, "the line's field start is no number of seconds"),
        ([], "the line's JSON is no object"),
    ):
        with pytest.raises(DataError, match=f"^standard input:1: {problem}"):
            run(joined([json.dumps(record)]), input_format="jsonl")


def test_records_of_recordings_have_constraints_of_their_own(run: Generator) -> None:
    plain = json.dumps({"audio": paths()[0]})
    (said,) = run(joined([plain]), input_format="jsonl")
    word = "two" if said != "two" else "one"
    records = [{"audio": paths()[0], "constraints": [word]}, {"audio": paths()[0], "exclude": [said]}]
    held, other = run(joined(map(json.dumps, records)), input_format="jsonl", beam=4)
    assert word in held.split()
    assert said not in other.split()
    with pytest.raises(
        UsageError, match="--constraints unordered: lines are paths here, and hold no phrases"
    ):
        run(joined(paths()[:1]), constraints="unordered")
    with pytest.raises(UsageError, match=r"--glossary terms\.tsv: a source of frames has no words"):
        run(joined(paths()[:1]), glossary=Path("terms.tsv"))


def test_a_minus_is_one_recording_on_standard_input(run: Generator) -> None:
    sound = Path(paths()[3]).read_bytes()
    # What a recorder writes into a pipe does not say how long it will be.
    for data in (sound, sound[:4] + b"\xff\xff\xff\x7f" + sound[8:40] + b"\x00\x00\xff\x7f" + sound[44:]):
        assert run(data, data=Path("-"), source_type="audio") == [WANTED[3]]
    with pytest.raises(UsageError, match=r"^--source-type text: .* reads audio; leave it out$"):
        run("", source_type="text")


def test_what_cannot_be_read_gives_an_empty_line_and_a_warning(run: Generator, speech: Path) -> None:
    (speech / "broken.wav").write_bytes(Path(paths()[0]).read_bytes()[:900])
    (speech / "text.wav").write_text("no sound at all\n")
    (speech / "empty.wav").touch()
    odd = ["missing.wav", "broken.wav", "text.wav", "empty.wav", ".", "sox x.wav -t wav - |", ""]
    lines = [name for pair in zip(odd, paths(), strict=False) for name in pair]
    found = run(joined(lines), verbose=True)
    assert found == [text for word in WANTED[: len(odd)] for text in ("", word)]
    for number, problem in enumerate(
        ("no such file", "cut short", "is no wav file", "is empty", "is no file", "command")
    ):
        (warning,) = [line for line in run.errors.splitlines() if f"line {2 * number + 1}: " in line]
        assert problem in warning
    with pytest.raises(UsageError, match=r"^missing\.wav: no such file$"):
        run("", data=Path(paths()[0]), recordings=(Path("missing.wav"),))
    with pytest.raises(
        UsageError, match=r"^wav/test-0\.wav: data is a folder; give one dataset folder, or recordings"
    ):
        run("", data=Path("data"), recordings=(Path(paths()[0]),))


def test_what_cannot_be_read_is_tried_once(
    run: Generator, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (speech / "broken.wav").write_bytes(Path(paths()[0]).read_bytes()[:900])
    tried: list[Utterance] = []
    read = AudioFrames.read

    def counted(self: AudioFrames, utterance: Utterance, speed: float = 1.0) -> Extracted:
        tried.append(utterance)
        return read(self, utterance, speed)

    monkeypatch.setattr(AudioFrames, "read", counted)
    for on_long in (None, "split", "truncate"):
        tried.clear()
        assert run(joined(["broken.wav", *paths(2), ""]), on_long=on_long) == ["", *WANTED[:2], ""]
        assert [utterance.references[0] for utterance in tried] == ["broken.wav", *paths(2)]


def test_the_models_of_an_ensemble_read_the_same_frames(
    run: Generator, tmp_path: Path, toy_runs: Path
) -> None:
    checkpoint = load_checkpoint(run.path)
    features = {**checkpoint.dataset["features"], "frame_shift": 12.5}
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, replace(checkpoint, dataset={**checkpoint.dataset, "features": features}))
    assert run(joined(paths(2)), path=Path(f"{run.path}:{run.path}")) == WANTED[:2]
    with pytest.raises(
        CheckpointError,
        match=r"other\.safetensors: reads frames with frame_shift = 12\.5, and .* with 10\.0; ",
    ):
        run(joined(paths(2)), path=Path(f"{run.path}:{other}"))
    text = toy_runs / "transformer"
    for both in (f"{run.path}:{text}", f"{text}:{run.path}"):
        with pytest.raises(
            CheckpointError, match=r"best\.safetensors: reads frames, and .*transformer.* reads none"
        ):
            run("wav/test-0.wav\n", path=Path(both))


def test_text_and_speech_are_not_mistaken_for_each_other(
    run: Generator, generating: Callable[[Path], Generator], toy_runs: Path, toy_data: Path
) -> None:
    text = generating(toy_runs / "transformer")
    with pytest.raises(
        UsageError, match=r"wav/test-0\.wav: .* reads text, in lines; give --input wav/test-0\.wav"
    ):
        text("", data=Path(paths()[0]))
    with pytest.raises(UsageError, match=r"the dataset has no text as source, which .* reads$"):
        text("", data=Path("data"))
    with pytest.raises(UsageError, match=r"has no frames of features as source, and .* reads frames$"):
        run("", data=toy_data)
    with pytest.raises(
        UsageError, match=r"^--replace-unk: puts words .* reads frames, which have none; leave it out$"
    ):
        run(joined(paths()), replace_unk=True)


def test_a_long_recording_is_cut_in_its_pauses_and_joined(run: Generator, speech: Path) -> None:
    """The text is that of the pieces, which are found again by their times."""
    pause = np.random.default_rng(1).normal(0, 330, 2400)
    sounds = [tone(word, 90 + number) for number, word in enumerate((*WORDS, *WORDS))]
    whole = np.concatenate([part for sound in sounds for part in (sound, pause)])
    write_wav(speech / "long.wav", whole)
    (record,) = (json.loads(line) for line in run("long.wav\n", format="jsonl"))
    (note,) = record["warnings"]
    longest, parts = (
        int(found) for found in re.search(r"more than the (\d+) .* in (\d+) parts", note).groups()
    )
    frames = 1 + (len(whole) - 200) // 80
    assert note.startswith(f"{frames} frames, ")
    assert frames / longest <= parts <= 2 * frames / longest + 1
    form = Dataset.open(speech / "data").features
    stored = form.stored(frame_reader(form).read(Utterance(references=("long.wav",))).frames)
    pieces = pieces_between_pauses(stored, longest)
    assert len(pieces) == parts
    lines = [json.dumps({"audio": "long.wav", "start": a / 100, "end": (b + 1.5) / 100}) for a, b in pieces]
    assert record["text"] == " ".join(run(joined(lines), input_format="jsonl"))
    assert set(record["text"].split()) <= set(WORDS)
    with pytest.raises(
        DataError, match=rf"^line 1: long\.wav: {frames} frames, more than the {longest} that"
    ):
        run("long.wav\n", on_long="error")
    (cut,) = (json.loads(line) for line in run("long.wav\n", format="jsonl", on_long="truncate"))
    assert cut["warnings"] == [f"{frames} frames, cut to the {longest} that the model was trained on"]
