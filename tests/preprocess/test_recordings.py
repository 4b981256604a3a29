"""What `preprocess` makes of recordings and features that a manifest names."""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from recordings import WORDS, tone, write_corpus, write_tsv, write_wav

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.sampling import SamplingConfig
from s2scli.data import encoding
from s2scli.data.batch import Frames, Tokens
from s2scli.data.batching import load_batch, plan_batches
from s2scli.data.dataset import Dataset
from s2scli.data.sentences import PaddedPairs, Sentences, read_pairs
from s2scli.errors import DataError, S2SError, UsageError
from s2scli.features.deltas import add_deltas
from s2scli.features.extraction import Utterance, frame_reader
from s2scli.features.fbank import Filterbank
from s2scli.features.form import FeatureForm
from s2scli.features.recording import Samples
from s2scli.preprocess import PreprocessResult, preprocess
from s2scli.schema import build

Speak = Callable[..., PreprocessResult]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_corpus(tmp_path, train=12, valid=4, test=3)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Speak:
    """Call it with settings to preprocess the recordings into the folder `data` beside them."""

    def call(**settings: object) -> PreprocessResult:
        values: dict = {
            "source_type": "audio",
            "tokenizer": "word",
            "destdir": folder / "data",
            "num_mel_bins": 20,
        }
        values |= {f"{split}_file": folder / f"{split}.tsv" for split in ("train", "valid", "test")}
        return preprocess(build(PreprocessConfig, values | settings))

    return call


def samples(path: Path) -> Samples:
    with wave.open(str(path)) as stream:
        return (np.frombuffer(stream.readframes(10**9), "<i2") / 32768).astype(np.float32)


def expected(folder: Path, name: str, bins: int = 20) -> np.ndarray:
    """The frames of a recording as they are stored, worked out without the dataset's code."""
    return np.concatenate(list(Filterbank(8000, bins).frames([samples(folder / "wav" / name)]))).astype("<f2")


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


def test_every_source_is_stored_as_its_frames(run: Speak, folder: Path) -> None:
    result = run()
    for split, number in (("train", 12), ("valid", 4), ("test", 3)):
        frames = stored(folder, split)
        for index in range(number):
            np.testing.assert_array_equal(frames[index], expected(folder, f"{split}-{index}.wav"))
        assert result.num_examples[split] == number
        assert result.sources[split] == {"frames": sum(map(len, frames))}
    train = Dataset.open(folder / "data").split("train")
    assert list(train.texts("source")) == [f"train{number}" for number in range(12)]
    assert list(train.texts("target")) == [WORDS[number % 4] for number in range(12)]
    assert train.lengths("source").tolist() == [len(item) for item in stored(folder)]
    assert train.longest("source") == max(map(len, stored(folder)))


def test_a_batch_has_normalized_frames_with_zeros_behind_them(run: Speak, folder: Path) -> None:
    run()
    split = Dataset.open(folder / "data").split("train")
    batch = load_batch(split, np.array([3, 0, 7]))
    assert isinstance(batch.source, Frames)
    assert isinstance(batch.target, Tokens)
    frames = [stored(folder)[index].astype(np.float64) for index in (3, 0, 7)]
    assert batch.source.lengths.tolist() == [len(item) for item in frames]
    for row, item in zip(batch.source.frames.numpy(), frames, strict=True):
        normal = (item - item.mean(0)) / item.std(0)
        np.testing.assert_allclose(row[: len(item)], normal, atol=1e-4)
        assert not row[len(item) :].any()
    assert batch.target.lengths.tolist() == [2, 2, 2]


def test_models_read_of_a_file_what_the_dataset_has_of_it(run: Speak, folder: Path) -> None:
    for cmvn in ("utterance", "global", "none"):
        run(cmvn=cmvn, deltas=1)
        split = Dataset.open(folder / "data").split("valid")
        form = split.features("source")
        assert form is not None
        utterance = Utterance(references=("wav/valid-2.wav",), folder=folder)
        (frames,) = split.frames_of("source", np.array([2]))
        np.testing.assert_array_equal(frame_reader(form).frames(utterance), frames)


def test_global_statistics_are_those_of_the_training_data(run: Speak, folder: Path) -> None:
    run(cmvn="global", deltas=2)
    train = np.concatenate(stored(folder)).astype(np.float64)
    form = Dataset.open(folder / "data").split("valid").features("source")
    assert form is not None
    np.testing.assert_allclose(form.mean, train.mean(0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(form.deviation, train.std(0), rtol=1e-9)
    plain = np.concatenate(list(Filterbank(8000, 20).frames([samples(folder / "wav/train-0.wav")])))
    np.testing.assert_array_equal(stored(folder)[0], add_deltas(plain, 2).astype("<f2"))


def test_training_recordings_are_there_at_each_speed(run: Speak, folder: Path) -> None:
    run(num_mel_bins=10)
    plain = stored(folder)
    run(speed_perturb=(0.9, 1.0, 1.1), num_mel_bins=10)
    train, found = Dataset.open(folder / "data").split("train"), stored(folder)
    assert len(train) == 36
    assert list(train.texts("target")) == [WORDS[number % 4] for number in range(12) for _ in range(3)]
    for number, frames in enumerate(plain):
        slow, same, fast = found[3 * number : 3 * number + 3]
        np.testing.assert_array_equal(same, frames)
        assert len(slow) == pytest.approx(len(frames) / 0.9, abs=2)
        assert len(fast) == pytest.approx(len(frames) / 1.1, abs=2)
    assert [len(stored(folder, split)) for split in ("valid", "test")] == [4, 3]


def test_the_same_bytes_whatever_the_number_of_workers_and_parts(
    run: Speak, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 3)

    def contents() -> dict[str, bytes]:
        root = folder / "data"
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    settings = {"cmvn": "global", "speed_perturb": (1.0, 1.1), "shard_size": 8, "max_frames": 35}
    run(**settings)
    alone = contents()
    run(**settings, workers=2)
    assert contents() == alone
    frames = b"".join(alone[name] for name in alone if name.startswith("train") and name.endswith("frames"))
    for part in (0, 1):
        run(**settings, num_shards=2, shard_id=part)
    preprocess(build(PreprocessConfig, {"destdir": folder / "data", "merge": True}))
    merged = contents()
    assert frames == b"".join(
        merged[name] for name in merged if name.startswith("train") and name.endswith("frames")
    )
    forms = [json.loads(found["meta.json"])["columns"]["source"]["features"] for found in (alone, merged)]
    np.testing.assert_allclose(forms[0].pop("mean"), forms[1].pop("mean"), rtol=1e-12)
    np.testing.assert_allclose(forms[0].pop("deviation"), forms[1].pop("deviation"), rtol=1e-12)
    assert forms[0] == forms[1]


def test_a_repeated_command_goes_on_where_it_was_killed(
    run: Speak, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 2)
    monkeypatch.setattr("s2scli.data.assembly._NOTE_EVERY", -1.0)
    settings = {"cmvn": "global", "speed_perturb": (1.0, 1.1)}
    run(**settings)
    whole = {path.name: path.read_bytes() for path in (folder / "data/train/main-00000").iterdir()}
    meta = (folder / "data/meta.json").read_bytes()
    shutil.rmtree(folder / "data")
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
            run(**settings)
    assert (folder / ".data.partial/progress.json").exists()
    before = len(calls)
    monkeypatch.setattr(
        encoding.FrameEncoder, "read", lambda *arguments: calls.append(arguments) or read(*arguments)
    )
    run(**settings)
    assert len(calls) - before == 19 - 6
    assert {path.name: path.read_bytes() for path in (folder / "data/train/main-00000").iterdir()} == whole
    assert (folder / "data/meta.json").read_bytes() == meta


def test_filters_are_for_training_alone(run: Speak, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    lengths = [len(frames) for frames in stored(folder)]
    kept = [length for length in lengths if 25 <= length <= 32]
    assert 0 < len(kept) < 12
    result = run(min_frames=25, max_frames=32)
    assert [len(frames) for frames in stored(folder)] == kept
    long, short = sum(length > 32 for length in lengths), sum(length < 25 for length in lengths)
    expected = {"long source": long, "short source": short}
    assert result.dropped["train"] == {reason: number for reason, number in expected.items() if number}
    assert [result.num_examples[split] for split in ("valid", "test")] == [4, 3]
    assert f"train: left out {long + short} pairs" in capsys.readouterr().err
    with pytest.raises(DataError, match="no training pair is left: short source 12"):
        run(min_frames=1000)


def test_several_files_make_one_source_and_segments_are_cut_out(run: Speak, folder: Path) -> None:
    write_wav(folder / "wav/with blank.wav", tone("two", 5))
    write_tsv(
        folder / "train.tsv",
        ("paths", "transcript", "speaker"),
        [("wav/train-0.wav wav/train-1.wav", "zero one", "a"), ("wav/with blank.wav", "two", "b")],
    )
    write_tsv(
        folder / "valid.tsv",
        ("audio", "start", "end", "text"),
        [("wav/train-2.wav", 0.05, 0.15, "two"), ("wav/train-2.wav", "", "", "two")],
    )
    (folder / "test.jsonl").write_text(
        '{"audio_filepath": "wav/train-2.wav", "text": "two", "offset": 0.05, "duration": 0.1}\n'
        '{"audio_filepath": ["wav/train-0.wav", "wav/train-1.wav"], "text": "zero one", "duration": 0.7}\n'
    )
    run(test_file=folder / "test.jsonl")
    joined = np.concatenate([samples(folder / f"wav/train-{number}.wav") for number in (0, 1)])
    filtered = np.concatenate(list(Filterbank(8000, 20).frames([joined]))).astype("<f2")
    both, blank = stored(folder)
    np.testing.assert_allclose(both.astype(float), filtered.astype(float), atol=0.02)
    np.testing.assert_array_equal(blank, expected(folder, "with blank.wav"))
    segment, whole = stored(folder, "valid")
    np.testing.assert_array_equal(whole, expected(folder, "train-2.wav"))
    cut = np.concatenate(list(Filterbank(8000, 20).frames([samples(folder / "wav/train-2.wav")[400:1200]])))
    np.testing.assert_array_equal(segment, cut.astype("<f2"))
    by_duration, listed = stored(folder, "test")
    np.testing.assert_array_equal(by_duration, segment)
    np.testing.assert_array_equal(listed, both)
    names = Dataset.open(folder / "data").split("valid").texts("source")
    assert list(names) == ["wav/train-2.wav 0.05-0.15", "wav/train-2.wav"]


def test_tables_of_kaldi_and_lists_of_files(
    run: Speak, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    expected = {split: stored(folder, split) for split in ("train", "valid")}
    (folder / "kaldi").mkdir()
    listed: dict[str, object] = {"test_file": None}
    for split in ("train", "valid"):
        rows = [line.split("\t") for line in (folder / f"{split}.tsv").read_text().splitlines()[1:]]
        files = {
            "scp": "".join(f"{name} {path}\n" for name, path, _ in rows),
            "ids": "".join(f"{name} {text} {text}\n" for name, _, text in rows),
            "list": "".join(f"../{path}\n" for _, path, _ in rows),
            "text": "".join(f"{text}\n" for _, _, text in rows),
        }
        for ending, content in files.items():
            (folder / f"kaldi/{split}.{ending}").write_text(content)
        listed[f"{split}_file"] = None
    tables = {f"{split}_source": folder / f"kaldi/{split}.scp" for split in ("train", "valid")}
    tables |= {f"{split}_target": folder / f"kaldi/{split}.ids" for split in ("train", "valid")}
    with pytest.raises(DataError, match=r"train\.scp:1: .*no such file"):
        run(**listed, **tables)
    # Kaldi's paths are relative to where its scripts run.
    monkeypatch.chdir(folder)
    run(**listed, **tables)
    names = Dataset.open(folder / "data").split("train")
    assert list(names.texts("source")) == [f"train{number}" for number in range(12)]
    assert names.text("target", 1) == "one one"
    plain = {f"{split}_source": folder / f"kaldi/{split}.list" for split in ("train", "valid")}
    plain |= {f"{split}_target": folder / f"kaldi/{split}.text" for split in ("train", "valid")}
    for settings in (tables, plain):
        run(**listed, **settings)
        for split, frames in expected.items():
            for one, other in zip(frames, stored(folder, split), strict=True):
                np.testing.assert_array_equal(one, other)
    path = folder / "kaldi/train.ids"
    path.write_text(path.read_text().replace("train3 ", "train33 "))
    with pytest.raises(
        DataError, match=r"train\.scp:4: its id is train3, and that of the text train33; sort both"
    ):
        run(**listed, **tables)
    path.write_text(path.read_text().partition("\n")[2])
    with pytest.raises(DataError, match=r"train\.scp has 12 lines and .*train\.ids has 11 lines"):
        run(**listed, **tables, broken_sources="skip")


def test_columns_that_the_user_names_are_taken(run: Speak, folder: Path) -> None:
    for split in ("train", "valid", "test"):
        path = folder / f"{split}.tsv"
        path.write_text(path.read_text().replace("audio\ttgt_text", "where\twhat", 1))
    with pytest.raises(
        DataError,
        match=r"train\.tsv: which column holds the files\? There are id, where, what; give --source-field",
    ):
        run()
    run(source_field="where", target_field="what", id_field="where")
    assert next(Dataset.open(folder / "data").split("train").texts("source")) == "wav/train-0.wav"
    with pytest.raises(
        DataError, match=r"train\.tsv: has no column 'were'; did you mean where\?; there are id, where"
    ):
        run(source_field="were", target_field="what")


def test_other_rates_are_resampled_and_counted(
    run: Speak, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(folder / "wav/train-3.wav", tone("three", 3, 16000), 16000)
    write_wav(folder / "wav/train-4.wav", tone("zero", 4, 11025), 11025)
    write_wav(folder / "wav/valid-1.wav", np.zeros(50), 8000)
    result = run()
    assert result.features is not None
    assert result.features.sample_rate == 8000
    assert {name: result.sources["train"][name] for name in ("resampled",)} == {"resampled": 2}
    assert result.sources["valid"]["padded"] == 1
    assert [len(frames) for frames in stored(folder, "valid")].count(1) == 1
    said = capsys.readouterr().err
    assert "train: 2 sources had another rate than 8,000 Hz and were resampled" in said
    assert "valid: 1 source was shorter than a window and was padded to one" in said
    assert run(sample_rate=16000).sources["train"]["resampled"] == 11


def test_given_features_are_stored_as_they_are(
    run: Speak, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(1)
    matrices = [random.normal(0, 5, (number + 3, 6)).astype(np.float32) for number in range(6)]
    np.savez(folder / "feats.npz", **{f"u{number}": matrix for number, matrix in enumerate(matrices)})
    rows = [(f"u{number}", f"feats.npz:u{number}", number + 3, f"word{number}") for number in range(6)]
    for split in ("train", "valid", "test"):
        write_tsv(folder / f"{split}.tsv", ("id", "audio", "n_frames", "tgt_text"), rows)
    given = {"source_type": "features", "num_mel_bins": 80}
    run(**given)
    for frames, matrix in zip(stored(folder), matrices, strict=True):
        np.testing.assert_array_equal(frames, matrix.astype("<f2"))
    matrices[2][1, 3] = 1e5
    np.savez(folder / "feats.npz", **{f"u{number}": matrix for number, matrix in enumerate(matrices)})
    with pytest.raises(DataError, match=r"train\.tsv:4: .*100000.*--feature-dtype float32"):
        run(**given, feature_dtype="float16", broken_sources="skip")
    capsys.readouterr()
    for workers in (1, 2):
        run(**given, workers=workers)
        np.testing.assert_array_equal(stored(folder)[2], matrices[2])
        assert "train.tsv:4: a feature is 100000, too large for float16; all are stored in float32" in (
            capsys.readouterr().err
        )
    rows[1] = (*rows[1][:2], 5, rows[1][3])
    write_tsv(folder / "train.tsv", ("id", "audio", "n_frames", "tgt_text"), rows)
    with pytest.raises(
        DataError, match=r"train\.tsv:3: feats\.npz:u1: has 4 frames, and its manifest says 5"
    ):
        run(**given, feature_dtype="float32")


BAD = {
    "missing": (("u", "wav/none.wav", "one"), r"train\.tsv:3: .*wav/none\.wav: no such file"),
    "pipe": (
        ("u", "sox wav/train-0.wav -t wav - |", "one"),
        r"train\.tsv:3: .*is a command, and none is run",
    ),
    "no file": (("u", "", "one"), r"train\.tsv:3: has no file in audio; mend the row"),
    "no samples": (("u", "wav/empty.wav", "one"), r"train\.tsv:3: .*empty\.wav: has no samples"),
    "cut short": (("u", "wav/cut.wav", "one"), r"train\.tsv:3: .*cut\.wav: cut short"),
    "no sound": (("u", "train.tsv", "one"), r"train\.tsv:3: .*of no format that is known"),
    "matrix": (
        ("u", "wav/a.npy", "one"),
        r"train\.tsv:3: .*a\.npy: is of the format npy; --source-type features",
    ),
    "columns": (
        ("u", "wav/train-0.wav"),
        r"train\.tsv:3: the row has 2 columns, and the header 3; mend the row",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_source_is_one_line_and_left_out_where_that_is_asked_for(
    name: str, run: Speak, folder: Path
) -> None:
    row, problem = BAD[name]
    write_wav(folder / "wav/empty.wav", np.zeros(0))
    (folder / "wav/cut.wav").write_bytes((folder / "wav/train-0.wav").read_bytes()[:-100])
    np.save(folder / "wav/a.npy", np.zeros((3, 4)))
    rows = [line.split("\t") for line in (folder / "train.tsv").read_text().splitlines()]
    write_tsv(folder / "train.tsv", rows[0], [rows[1], row, *rows[2:]])
    with pytest.raises(DataError, match=problem) as raised:
        run()
    assert "\n" not in str(raised.value)
    assert not [path for path in folder.iterdir() if "data" in path.name]
    result = run(broken_sources="skip")
    assert result.num_examples["train"] == 12
    assert sum(result.dropped["train"].values()) == 1
    assert len(stored(folder)) == 12
    shutil.copyfile(folder / "train.tsv", folder / "valid.tsv")
    with pytest.raises(DataError, match=problem.replace("train", "valid", 1)):
        run(broken_sources="skip")


def test_an_id_names_one_source(run: Speak, folder: Path) -> None:
    path = folder / "valid.tsv"
    path.write_text(path.read_text().replace("valid3\t", "valid1\t"))
    with pytest.raises(DataError, match=r"valid\.tsv:5: the id valid1 is that of line 3 too"):
        run()


def test_other_manifests_are_refused(run: Speak, folder: Path) -> None:
    (folder / "train.tsv").write_text("")
    with pytest.raises(DataError, match=r"train\.tsv: the file is empty"):
        run()
    (folder / "train.tsv").write_text("id\taudio\ttgt_text\n")
    with pytest.raises(DataError, match=r"train\.tsv: names no sources"):
        run()
    (folder / "train.tsv").write_text("wav/a.wav\thello\n")
    with pytest.raises(DataError, match=r"which column holds the files\? There are wav/a\.wav, hello"):
        run()
    (folder / "train.jsonl").write_text("[]\n")
    with pytest.raises(DataError, match=r"train\.jsonl"):
        run(train_file=folder / "train.jsonl")


def test_text_and_sound_are_not_mixed_up(run: Speak) -> None:
    for settings, problem in (
        (
            {"joined_dictionary": True},
            "--joined-dictionary is for sources of text, and --source-type audio has none",
        ),
        ({"max_source_length": 5}, "--max-source-length is for sources of text"),
        ({"source_lowercase": True}, "--source-lowercase is for sources of text"),
        ({"only_target": True}, "--only-target is for sources of text"),
        ({"shortlist": 5}, "--shortlist is for sources of text"),
        (
            {"train_file": None, "trainpref": ("train",)},
            "--trainpref: names text, and sources are audio; name a manifest",
        ),
        ({"input_format": "dialogue"}, "--source-type audio does not go with --input-format dialogue"),
    ):
        with pytest.raises(S2SError, match=problem):
            run(**settings)
    with pytest.raises(
        UsageError, match="source_type = 'sound' is not allowed; known: audio, features, image, text"
    ):
        run(source_type="sound")


def test_held_out_recordings_are_there_once(run: Speak, folder: Path) -> None:
    run(valid_file=None, valid_fraction=0.4, speed_perturb=(0.9, 1.0))
    data = Dataset.open(folder / "data")
    valid, train = (list(data.split(name).texts("source")) for name in ("valid", "train"))
    assert len(valid) == len(set(valid)) > 0
    assert sorted({*valid, *train}) == sorted(f"train{number}" for number in range(12))
    assert len(train) == 2 * len(set(train))
    assert not {*valid} & {*train}


def test_words_of_the_source_are_changed_where_there_are_some(run: Speak, folder: Path) -> None:
    run(tokenizer="sentencepiece", vocab_size=20)
    dataset = Dataset.open(folder / "data")
    for wrong in ({"word_dropout": 0.1}, {"subword_sampling": "both"}):
        with pytest.raises(
            UsageError, match="change words of the source, and the dataset's sources are frames"
        ):
            Sentences.of(dataset, "train", SamplingConfig(**wrong), 1)
    sentences = Sentences.of(dataset, "train", SamplingConfig(subword_sampling="target"), 1)
    plain, sampled = (reading(np.arange(12), 1) for reading in (read_all(dataset), sentences.read))
    np.testing.assert_array_equal(sampled.source.frames, plain.source.frames)  # type: ignore[union-attr]
    assert sampled.target.ids.size > plain.target.ids.size


def read_all(dataset: Dataset) -> Callable[..., PaddedPairs]:
    """What reads pairs as they are in the dataset."""
    return lambda rows, epoch: read_pairs(dataset.split("train"), rows)  # noqa: ARG005


def test_batches_are_planned_by_frames(run: Speak, folder: Path) -> None:
    run()
    split = Dataset.open(folder / "data").split("train")
    lengths = split.lengths("source")
    plan = plan_batches(split, max_tokens=100, batch_size=0, seed=1)
    batches = plan.in_order()
    assert sorted(np.concatenate(batches).tolist()) == list(range(12))
    assert all(lengths[batch].max() * len(batch) <= 100 for batch in batches)
    # From short to long, so that there is as little padding as there can be.
    assert (np.diff(lengths[np.concatenate(batches)]) >= 0).all()
    source, target, positions = plan.count(batches)
    assert (source, target) == (lengths.sum(), 24)
    padded = sum(len(batch) * (lengths[batch].max() + 2) for batch in batches)
    assert positions == padded
    longest = int(lengths.max())
    with pytest.raises(DataError, match=rf"has {longest} frames, more than --max-tokens 20;.*--max-frames"):
        plan_batches(split, max_tokens=20, batch_size=0, seed=1)


def test_stored_facts_are_checked(run: Speak, folder: Path) -> None:
    run()
    path = folder / "data/meta.json"
    meta = json.loads(path.read_text())
    form = meta["columns"]["source"]["features"]
    assert FeatureForm.from_meta(form).num_features == 20
    for change, problem in (
        ({"features": {**form, "num_features": 21}}, "cannot be in files of source"),
        ({"features": {**form, "cmvn": "global"}}, "wanted: 20 means and deviations"),
        ({"features": None}, "features"),
        ({"dtype": "float32"}, "its features are of float16"),
        ({"kind": "text"}, "no type of ids"),
    ):
        changed = {**meta, "columns": {**meta["columns"], "source": {**meta["columns"]["source"], **change}}}
        path.write_text(json.dumps(changed))
        with pytest.raises(DataError, match=problem):
            Dataset.open(folder / "data")
