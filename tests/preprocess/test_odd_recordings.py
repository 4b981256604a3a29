"""Recordings and manifests that `preprocess` refuses, leaves out where that is asked for, or plans in batches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bilingual import Run
from recordings import stored, write_tsv, write_wav

from s2scli.configs.sampling import SamplingConfig
from s2scli.data.batching import plan_batches
from s2scli.data.dataset import Dataset
from s2scli.data.sentences import PaddedPairs, Sentences, read_pairs
from s2scli.errors import DataError, S2SError, UsageError
from s2scli.features.form import FeatureForm

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
    name: str, run_recordings: Run, recordings: Path
) -> None:
    row, problem = BAD[name]
    write_wav(recordings / "wav/empty.wav", np.zeros(0))
    (recordings / "wav/cut.wav").write_bytes((recordings / "wav/train-0.wav").read_bytes()[:-100])
    np.save(recordings / "wav/a.npy", np.zeros((3, 4)))
    rows = [line.split("\t") for line in (recordings / "train.tsv").read_text().splitlines()]
    write_tsv(recordings / "train.tsv", rows[0], [rows[1], row, *rows[2:]])
    with pytest.raises(DataError, match=problem) as raised:
        run_recordings()
    assert "\n" not in str(raised.value)
    assert not [path for path in recordings.iterdir() if "data" in path.name]
    result = run_recordings(broken_sources="skip")
    assert result.num_examples["train"] == 12
    assert sum(result.dropped["train"].values()) == 1
    assert len(stored(recordings)) == 12
    shutil.copyfile(recordings / "train.tsv", recordings / "valid.tsv")
    with pytest.raises(DataError, match=problem.replace("train", "valid", 1)):
        run_recordings(broken_sources="skip")


def test_an_id_names_one_source(run_recordings: Run, recordings: Path) -> None:
    path = recordings / "valid.tsv"
    path.write_text(path.read_text().replace("valid3\t", "valid1\t"))
    with pytest.raises(DataError, match=r"valid\.tsv:5: the id valid1 is that of line 3 too"):
        run_recordings()


def test_other_manifests_are_refused(run_recordings: Run, recordings: Path) -> None:
    (recordings / "train.tsv").write_text("")
    with pytest.raises(DataError, match=r"train\.tsv: the file is empty"):
        run_recordings()
    (recordings / "train.tsv").write_text("id\taudio\ttgt_text\n")
    with pytest.raises(DataError, match=r"train\.tsv: names no sources"):
        run_recordings()
    (recordings / "train.tsv").write_text("wav/a.wav\thello\n")
    with pytest.raises(DataError, match=r"which column holds the files\? There are wav/a\.wav, hello"):
        run_recordings()
    (recordings / "train.jsonl").write_text("[]\n")
    with pytest.raises(DataError, match=r"train\.jsonl"):
        run_recordings(train_file=recordings / "train.jsonl")


def test_text_and_sound_are_not_mixed_up(run_recordings: Run) -> None:
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
            run_recordings(**settings)
    with pytest.raises(
        UsageError, match="source_type = 'sound' is not allowed; known: audio, features, image, text"
    ):
        run_recordings(source_type="sound")


def test_held_out_recordings_are_there_once(run_recordings: Run, recordings: Path) -> None:
    run_recordings(valid_file=None, valid_fraction=0.4, speed_perturb=(0.9, 1.0))
    data = Dataset.open(recordings / "data")
    valid, train = (list(data.split(name).texts("source")) for name in ("valid", "train"))
    assert len(valid) == len(set(valid)) > 0
    assert sorted({*valid, *train}) == sorted(f"train{number}" for number in range(12))
    assert len(train) == 2 * len(set(train))
    assert not {*valid} & {*train}


def test_words_of_the_source_are_changed_where_there_are_some(run_recordings: Run, recordings: Path) -> None:
    run_recordings(tokenizer="sentencepiece", vocab_size=20)
    dataset = Dataset.open(recordings / "data")
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


def test_batches_are_planned_by_frames(run_recordings: Run, recordings: Path) -> None:
    run_recordings()
    split = Dataset.open(recordings / "data").split("train")
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


def test_stored_facts_are_checked(run_recordings: Run, recordings: Path) -> None:
    run_recordings()
    path = recordings / "data/meta.json"
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
            Dataset.open(recordings / "data")
