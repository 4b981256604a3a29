"""What `preprocess` makes of recordings and features that a manifest names."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
from bilingual import Run
from recordings import WORDS, stored, tone, write_tsv, write_wav

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data import encoding
from s2scli.data.batch import Frames, Tokens
from s2scli.data.batching import load_batch
from s2scli.data.dataset import Dataset
from s2scli.errors import DataError
from s2scli.features.deltas import add_deltas
from s2scli.features.extraction import Utterance, frame_reader
from s2scli.features.fbank import Filterbank
from s2scli.features.recording import Samples
from s2scli.preprocess import preprocess
from s2scli.schema import build


def samples(path: Path) -> Samples:
    with wave.open(str(path)) as stream:
        return (np.frombuffer(stream.readframes(10**9), "<i2") / 32768).astype(np.float32)


def expected(recordings: Path, name: str, bins: int = 20) -> np.ndarray:
    """The frames of a recording as they are stored, worked out without the dataset's code."""
    return np.concatenate(list(Filterbank(8000, bins).frames([samples(recordings / "wav" / name)]))).astype(
        "<f2"
    )


def test_every_source_is_stored_as_its_frames(run_recordings: Run, recordings: Path) -> None:
    result = run_recordings()
    for split, number in (("train", 12), ("valid", 4), ("test", 3)):
        frames = stored(recordings, split)
        for index in range(number):
            np.testing.assert_array_equal(frames[index], expected(recordings, f"{split}-{index}.wav"))
        assert result.num_examples[split] == number
        assert result.sources[split] == {"frames": sum(map(len, frames))}
    train = Dataset.open(recordings / "data").split("train")
    assert list(train.texts("source")) == [f"train{number}" for number in range(12)]
    assert list(train.texts("target")) == [WORDS[number % 4] for number in range(12)]
    assert train.lengths("source").tolist() == [len(item) for item in stored(recordings)]
    assert train.longest("source") == max(map(len, stored(recordings)))


def test_a_batch_has_normalized_frames_with_zeros_behind_them(run_recordings: Run, recordings: Path) -> None:
    run_recordings()
    split = Dataset.open(recordings / "data").split("train")
    batch = load_batch(split, np.array([3, 0, 7]))
    assert isinstance(batch.source, Frames)
    assert isinstance(batch.target, Tokens)
    frames = [stored(recordings)[index].astype(np.float64) for index in (3, 0, 7)]
    assert batch.source.lengths.tolist() == [len(item) for item in frames]
    for row, item in zip(batch.source.frames.numpy(), frames, strict=True):
        normal = (item - item.mean(0)) / item.std(0)
        np.testing.assert_allclose(row[: len(item)], normal, atol=1e-4)
        assert not row[len(item) :].any()
    assert batch.target.lengths.tolist() == [2, 2, 2]


def test_models_read_of_a_file_what_the_dataset_has_of_it(run_recordings: Run, recordings: Path) -> None:
    for cmvn in ("utterance", "global", "none"):
        run_recordings(cmvn=cmvn, deltas=1)
        split = Dataset.open(recordings / "data").split("valid")
        form = split.features("source")
        assert form is not None
        utterance = Utterance(references=("wav/valid-2.wav",), folder=recordings)
        (frames,) = split.frames_of("source", np.array([2]))
        np.testing.assert_array_equal(frame_reader(form).frames(utterance), frames)


def test_global_statistics_are_those_of_the_training_data(run_recordings: Run, recordings: Path) -> None:
    run_recordings(cmvn="global", deltas=2)
    train = np.concatenate(stored(recordings)).astype(np.float64)
    form = Dataset.open(recordings / "data").split("valid").features("source")
    assert form is not None
    np.testing.assert_allclose(form.mean, train.mean(0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(form.deviation, train.std(0), rtol=1e-9)
    plain = np.concatenate(list(Filterbank(8000, 20).frames([samples(recordings / "wav/train-0.wav")])))
    np.testing.assert_array_equal(stored(recordings)[0], add_deltas(plain, 2).astype("<f2"))


def test_training_recordings_are_there_at_each_speed(run_recordings: Run, recordings: Path) -> None:
    run_recordings(num_mel_bins=10)
    plain = stored(recordings)
    run_recordings(speed_perturb=(0.9, 1.0, 1.1), num_mel_bins=10)
    train, found = Dataset.open(recordings / "data").split("train"), stored(recordings)
    assert len(train) == 36
    assert list(train.texts("target")) == [WORDS[number % 4] for number in range(12) for _ in range(3)]
    for number, frames in enumerate(plain):
        slow, same, fast = found[3 * number : 3 * number + 3]
        np.testing.assert_array_equal(same, frames)
        assert len(slow) == pytest.approx(len(frames) / 0.9, abs=2)
        assert len(fast) == pytest.approx(len(frames) / 1.1, abs=2)
    assert [len(stored(recordings, split)) for split in ("valid", "test")] == [4, 3]


def test_the_same_bytes_whatever_the_number_of_workers_and_parts(
    run_recordings: Run, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 3)

    def contents() -> dict[str, bytes]:
        root = recordings / "data"
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    settings = {"cmvn": "global", "speed_perturb": (1.0, 1.1), "shard_size": 8, "max_frames": 35}
    run_recordings(**settings)
    alone = contents()
    run_recordings(**settings, workers=2)
    assert contents() == alone
    frames = b"".join(alone[name] for name in alone if name.startswith("train") and name.endswith("frames"))
    for part in (0, 1):
        run_recordings(**settings, num_shards=2, shard_id=part)
    preprocess(build(PreprocessConfig, {"destdir": recordings / "data", "merge": True}))
    merged = contents()
    assert frames == b"".join(
        merged[name] for name in merged if name.startswith("train") and name.endswith("frames")
    )
    forms = [json.loads(found["meta.json"])["columns"]["source"]["features"] for found in (alone, merged)]
    np.testing.assert_allclose(forms[0].pop("mean"), forms[1].pop("mean"), rtol=1e-12)
    np.testing.assert_allclose(forms[0].pop("deviation"), forms[1].pop("deviation"), rtol=1e-12)
    assert forms[0] == forms[1]


def test_a_repeated_command_goes_on_where_it_was_killed(
    run_recordings: Run, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 2)
    monkeypatch.setattr("s2scli.data.assembly._NOTE_EVERY", -1.0)
    settings = {"cmvn": "global", "speed_perturb": (1.0, 1.1)}
    run_recordings(**settings)
    whole = {path.name: path.read_bytes() for path in (recordings / "data/train/main-00000").iterdir()}
    meta = (recordings / "data/meta.json").read_bytes()
    shutil.rmtree(recordings / "data")
    read = encoding.FrameEncoder.read
    calls = []

    def interrupted(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return read(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(encoding.FrameEncoder, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_recordings(**settings)
    assert (recordings / ".data.partial/progress.json").exists()
    before = len(calls)
    monkeypatch.setattr(
        encoding.FrameEncoder, "read", lambda *arguments: calls.append(arguments) or read(*arguments)
    )
    run_recordings(**settings)
    assert len(calls) - before == 19 - 6
    assert {
        path.name: path.read_bytes() for path in (recordings / "data/train/main-00000").iterdir()
    } == whole
    assert (recordings / "data/meta.json").read_bytes() == meta


def test_filters_are_for_training_alone(
    run_recordings: Run, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_recordings()
    lengths = [len(frames) for frames in stored(recordings)]
    kept = [length for length in lengths if 25 <= length <= 32]
    assert 0 < len(kept) < 12
    result = run_recordings(min_frames=25, max_frames=32)
    assert [len(frames) for frames in stored(recordings)] == kept
    long, short = sum(length > 32 for length in lengths), sum(length < 25 for length in lengths)
    expected = {"long source": long, "short source": short}
    assert result.dropped["train"] == {reason: number for reason, number in expected.items() if number}
    assert [result.num_examples[split] for split in ("valid", "test")] == [4, 3]
    assert f"train: left out {long + short} pairs" in capsys.readouterr().err
    with pytest.raises(DataError, match="no training pair is left: short source 12"):
        run_recordings(min_frames=1000)


def test_several_files_make_one_source_and_segments_are_cut_out(
    run_recordings: Run, recordings: Path
) -> None:
    write_wav(recordings / "wav/with blank.wav", tone("two", 5))
    write_tsv(
        recordings / "train.tsv",
        ("paths", "transcript", "speaker"),
        [("wav/train-0.wav wav/train-1.wav", "zero one", "a"), ("wav/with blank.wav", "two", "b")],
    )
    write_tsv(
        recordings / "valid.tsv",
        ("audio", "start", "end", "text"),
        [("wav/train-2.wav", 0.05, 0.15, "two"), ("wav/train-2.wav", "", "", "two")],
    )
    (recordings / "test.jsonl").write_text(
        '{"audio_filepath": "wav/train-2.wav", "text": "two", "offset": 0.05, "duration": 0.1}\n'
        '{"audio_filepath": ["wav/train-0.wav", "wav/train-1.wav"], "text": "zero one", "duration": 0.7}\n'
    )
    run_recordings(test_file=recordings / "test.jsonl")
    joined = np.concatenate([samples(recordings / f"wav/train-{number}.wav") for number in (0, 1)])
    filtered = np.concatenate(list(Filterbank(8000, 20).frames([joined]))).astype("<f2")
    both, blank = stored(recordings)
    np.testing.assert_allclose(both.astype(float), filtered.astype(float), atol=0.02)
    np.testing.assert_array_equal(blank, expected(recordings, "with blank.wav"))
    segment, whole = stored(recordings, "valid")
    np.testing.assert_array_equal(whole, expected(recordings, "train-2.wav"))
    cut = np.concatenate(
        list(Filterbank(8000, 20).frames([samples(recordings / "wav/train-2.wav")[400:1200]]))
    )
    np.testing.assert_array_equal(segment, cut.astype("<f2"))
    by_duration, listed = stored(recordings, "test")
    np.testing.assert_array_equal(by_duration, segment)
    np.testing.assert_array_equal(listed, both)
    names = Dataset.open(recordings / "data").split("valid").texts("source")
    assert list(names) == ["wav/train-2.wav 0.05-0.15", "wav/train-2.wav"]


def test_a_row_of_json_has_fields_that_the_first_lacks(run_recordings: Run, recordings: Path) -> None:
    (recordings / "test.jsonl").write_text(
        '{"audio": "wav/train-2.wav", "text": "two"}\n'
        '{"audio": "wav/train-2.wav", "text": "two", "offset": 0.05, "duration": 0.1, "id": 0}\n'
    )
    run_recordings(test_file=recordings / "test.jsonl")
    whole, part = stored(recordings, "test")
    np.testing.assert_array_equal(whole, expected(recordings, "train-2.wav"))
    assert 0 < len(part) < len(whole)
    assert list(Dataset.open(recordings / "data").split("test").texts("source")) == ["wav/train-2.wav", "0"]
    with (recordings / "test.jsonl").open("a") as stream:
        stream.write('{"audio": "wav/train-1.wav", "text": "one", "id": "0"}\n')
    with pytest.raises(DataError, match=r"test\.jsonl:3: the id 0 is that of line 2 too"):
        run_recordings(test_file=recordings / "test.jsonl")


def test_half_of_a_character_in_a_field_of_json_is_an_error_or_replaced(
    run_recordings: Run, recordings: Path
) -> None:
    path = recordings / "train.jsonl"
    whole = '{"audio": "wav/train-1.wav", "text": "one"}\n'
    path.write_text('{"audio": "wav/train-0.wav", "text": "ze\\ud83dro"}\n' + whole)
    with pytest.raises(DataError, match=r"train\.jsonl:1: text holds NUL or half of a character; mend it"):
        run_recordings(train_file=path)
    for way, texts in (("replace", ["ze\ufffdro", "one"]), ("skip", ["one"])):
        run_recordings(train_file=path, encoding_errors=way)
        assert list(Dataset.open(recordings / "data").split("train").texts("target")) == texts
    path.write_text('{"audio": "wav/\\ud83d.wav", "text": "zero"}\n' + whole)
    with pytest.raises(DataError, match=r"train\.jsonl:1: audio holds NUL or half of a character"):
        run_recordings(train_file=path)


def test_tables_of_kaldi_and_lists_of_files(
    run_recordings: Run, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_recordings()
    expected = {split: stored(recordings, split) for split in ("train", "valid")}
    (recordings / "kaldi").mkdir()
    listed: dict[str, object] = {"test_file": None}
    for split in ("train", "valid"):
        rows = [line.split("\t") for line in (recordings / f"{split}.tsv").read_text().splitlines()[1:]]
        files = {
            "scp": "".join(f"{name} {path}\n" for name, path, _ in rows),
            "ids": "".join(f"{name} {text} {text}\n" for name, _, text in rows),
            "list": "".join(f"../{path}\n" for _, path, _ in rows),
            "text": "".join(f"{text}\n" for _, _, text in rows),
        }
        for ending, content in files.items():
            (recordings / f"kaldi/{split}.{ending}").write_text(content)
        listed[f"{split}_file"] = None
    tables = {f"{split}_source": recordings / f"kaldi/{split}.scp" for split in ("train", "valid")}
    tables |= {f"{split}_target": recordings / f"kaldi/{split}.ids" for split in ("train", "valid")}
    with pytest.raises(DataError, match=r"train\.scp:1: .*no such file"):
        run_recordings(**listed, **tables)
    # Kaldi's paths are relative to where its scripts run.
    monkeypatch.chdir(recordings)
    run_recordings(**listed, **tables)
    names = Dataset.open(recordings / "data").split("train")
    assert list(names.texts("source")) == [f"train{number}" for number in range(12)]
    assert names.text("target", 1) == "one one"
    plain = {f"{split}_source": recordings / f"kaldi/{split}.list" for split in ("train", "valid")}
    plain |= {f"{split}_target": recordings / f"kaldi/{split}.text" for split in ("train", "valid")}
    for settings in (tables, plain):
        run_recordings(**listed, **settings)
        for split, frames in expected.items():
            for one, other in zip(frames, stored(recordings, split), strict=True):
                np.testing.assert_array_equal(one, other)
    path = recordings / "kaldi/train.ids"
    path.write_text(path.read_text().replace("train3 ", "train33 "))
    with pytest.raises(
        DataError, match=r"train\.scp:4: its id is train3, and that of the text train33; sort both"
    ):
        run_recordings(**listed, **tables)
    path.write_text(path.read_text().partition("\n")[2])
    with pytest.raises(DataError, match=r"train\.scp has 12 lines and .*train\.ids has 11 lines"):
        run_recordings(**listed, **tables, broken_sources="skip")


def test_columns_that_the_user_names_are_taken(run_recordings: Run, recordings: Path) -> None:
    for split in ("train", "valid", "test"):
        path = recordings / f"{split}.tsv"
        path.write_text(path.read_text().replace("audio\ttgt_text", "where\twhat", 1))
    with pytest.raises(
        DataError,
        match=r"train\.tsv: which column holds the files\? There are id, where, what; give --source-field",
    ):
        run_recordings()
    run_recordings(source_field="where", target_field="what", id_field="where")
    assert next(Dataset.open(recordings / "data").split("train").texts("source")) == "wav/train-0.wav"
    with pytest.raises(DataError, match=r"train\.tsv: has no column 'were'; did you mean where\?"):
        run_recordings(source_field="were", target_field="what")


def test_other_rates_are_resampled_and_counted(
    run_recordings: Run, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(recordings / "wav/train-3.wav", tone("three", 3, 16000), 16000)
    write_wav(recordings / "wav/train-4.wav", tone("zero", 4, 11025), 11025)
    write_wav(recordings / "wav/valid-1.wav", np.zeros(50), 8000)
    result = run_recordings()
    assert result.features is not None
    assert result.features.sample_rate == 8000
    assert {name: result.sources["train"][name] for name in ("resampled",)} == {"resampled": 2}
    assert result.sources["valid"]["padded"] == 1
    assert [len(frames) for frames in stored(recordings, "valid")].count(1) == 1
    said = capsys.readouterr().err
    assert "train: 2 sources had another rate than 8,000 Hz and were resampled" in said
    assert "valid: 1 source was shorter than a window and was padded to one" in said
    assert run_recordings(sample_rate=16000).sources["train"]["resampled"] == 11


def test_given_features_are_stored_as_they_are(
    run_recordings: Run, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(1)
    matrices = [random.normal(0, 5, (number + 3, 6)).astype(np.float32) for number in range(6)]
    np.savez(recordings / "feats.npz", **{f"u{number}": matrix for number, matrix in enumerate(matrices)})
    rows = [(f"u{number}", f"feats.npz:u{number}", number + 3, f"word{number}") for number in range(6)]
    for split in ("train", "valid", "test"):
        write_tsv(recordings / f"{split}.tsv", ("id", "audio", "n_frames", "tgt_text"), rows)
    given = {"source_type": "features", "num_mel_bins": 80}
    run_recordings(**given)
    for frames, matrix in zip(stored(recordings), matrices, strict=True):
        np.testing.assert_array_equal(frames, matrix.astype("<f2"))
    matrices[2][1, 3] = 1e5
    np.savez(recordings / "feats.npz", **{f"u{number}": matrix for number, matrix in enumerate(matrices)})
    with pytest.raises(DataError, match=r"train\.tsv:4: .*100000.*--feature-dtype float32"):
        run_recordings(**given, feature_dtype="float16", broken_sources="skip")
    capsys.readouterr()
    for workers in (1, 2):
        run_recordings(**given, workers=workers)
        np.testing.assert_array_equal(stored(recordings)[2], matrices[2])
        assert "train.tsv:4: a feature is 100000, too large for float16; all are stored in float32" in (
            capsys.readouterr().err
        )
    rows[1] = (*rows[1][:2], 5, rows[1][3])
    write_tsv(recordings / "train.tsv", ("id", "audio", "n_frames", "tgt_text"), rows)
    with pytest.raises(
        DataError, match=r"train\.tsv:3: feats\.npz:u1: has 4 frames, and its manifest says 5"
    ):
        run_recordings(**given, feature_dtype="float32")
