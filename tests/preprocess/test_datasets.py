"""`preprocess` from text to a dataset folder: what each split holds, what is left out, and what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bilingual import CHINESE, ENGLISH, SIDES, SPLITS, Run, bytes_of, ids_of, put

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data import encoding
from s2scli.data.dataset import Dataset
from s2scli.errors import DataError, S2SError, UsageError


@pytest.mark.parametrize("tokenizer", ["sentencepiece", "word", "character"])
@pytest.mark.parametrize("joined", [False, True])
def test_every_split_holds_the_text_and_its_ids(run: Run, texts: Path, tokenizer: str, joined: bool) -> None:
    result = run(tokenizer=tokenizer, joined_dictionary=joined)
    assert result.num_examples == {"train": 36, "valid": 5, "test": 4}
    dataset = Dataset.open(texts / "data")
    dataset.verify()
    for split, end in zip(SPLITS, (36, 5, 4), strict=True):
        examples = dataset.split(split)
        for side, lines in (("source", ENGLISH[:end]), ("target", CHINESE[:end])):
            learned = dataset.tokenizer(side)
            assert list(examples.texts(side)) == lines
            assert ids_of(examples, side) == [learned.encode(line) for line in lines]
            assert sum(examples.lengths(side)) == result.num_tokens[split][side]
            if split == "train" and tokenizer != "word":
                assert [learned.decode(ids) for ids in ids_of(examples, side)] == lines
    source, target = dataset.tokenizer("source"), dataset.tokenizer("target")
    assert (source.vocabulary == target.vocabulary) == joined
    counts = source.vocabulary.counts[4:]
    sides = SIDES if joined else SIDES[:1]
    tokens = [token for side in sides for ids in ids_of(dataset.split("train"), side) for token in ids]
    assert counts == tuple(tokens.count(token) for token in range(4, len(source)))
    assert (texts / "data/dict.source.txt").read_text() == source.vocabulary.to_dict_txt()


def test_the_bytes_depend_on_the_input_only(
    run: Run, texts: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(lowercase=True, max_source_length=9)
    first = bytes_of(texts / "data")
    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 5)
    run(lowercase=True, max_source_length=9)
    assert bytes_of(texts / "data") == first
    other = tmp_path_factory.mktemp("other") / "deeper/data"
    run(lowercase=True, max_source_length=9, destdir=other, workers=2)
    assert bytes_of(other) == first
    assert not any(str(texts).encode() in data for data in first.values())


def test_an_error_in_a_worker_is_the_same_line(run: Run) -> None:
    for workers in (1, 2):
        with pytest.raises(DataError, match=r"train\.en:1: \d+ tokens, --max-source-length is 2; raise it"):
            run(max_source_length=2, on_long="error", workers=workers)


def test_empty_sides_are_dropped_from_training_only(
    run: Run, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in SPLITS:
        put(texts / f"{split}.en", [*ENGLISH[:4], "", "...", "dog", ""])
        put(texts / f"{split}.zh", [*CHINESE[:4], "狗", "狗", "", ""])
    result = run(strip_punctuation=True)
    assert result.num_examples == {"train": 4, "valid": 8, "test": 8}
    assert result.dropped == {"train": {"empty source": 3, "empty target": 1}, "valid": {}, "test": {}}
    assert list(Dataset.open(texts / "data").split("test").texts("source"))[4:] == ["", "...", "dog", ""]
    streams = capsys.readouterr()
    assert "train: left out 4 pairs: empty source 3, empty target 1" in streams.err
    assert "valid: 8 pairs; source" in streams.err
    assert streams.out == ""


def test_long_sentences_are_cut(run: Run, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(tokenizer="word", max_source_length=3, vocab_size=None)
    dataset = Dataset.open(texts / "data")
    assert set(dataset.split("test").lengths("source").tolist()) == {3}
    assert set(dataset.split("test").lengths("target").tolist()) == {1}
    assert list(dataset.split("test").texts("source")) == ENGLISH[:4]
    assert result.truncated == {"train": {"source": 36}, "valid": {"source": 5}, "test": {"source": 4}}
    assert dataset.meta["limits"] == {"max_source_length": 3, "max_target_length": 0, "on_long": "truncate"}
    whole = run(tokenizer="word", vocab_size=None)
    lost = {
        name: {"source": whole.num_tokens[name]["source"] - tokens["source"]}
        for name, tokens in result.num_tokens.items()
    }
    assert result.truncated_tokens == lost
    total = whole.num_tokens["test"]["source"]
    line = f"test: cut 4 source sentences to 3 tokens, {lost['test']['source']} of {total} tokens left out"
    assert line in capsys.readouterr().err


def test_long_pairs_are_skipped_in_training_only(run: Run, texts: Path) -> None:
    put(texts / "train.en", ["a b c", "a b", "a", "a"])
    put(texts / "train.zh", ["x", "x", "x y z", "x"])
    result = run(tokenizer="word", max_source_length=2, max_target_length=2, on_long="skip")
    assert result.num_examples == {"train": 2, "valid": 5, "test": 4}
    assert result.dropped["train"] == {"long source": 1, "long target": 1}
    assert set(Dataset.open(texts / "data").split("test").lengths("source").tolist()) == {8}


def test_held_out_pairs_never_leak(run: Run, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(texts / "train.en", ENGLISH * 2)
    put(texts / "train.zh", CHINESE * 2)
    result = run(validpref=(), valid_fraction=0.3)
    dataset = Dataset.open(texts / "data")
    train, valid = (list(dataset.split(split).texts("source")) for split in ("train", "valid"))
    assert sorted(train + valid) == sorted(ENGLISH * 2)
    assert not set(train) & set(valid)
    assert 0.1 < len(valid) / 72 < 0.5
    assert dataset.splits == ("train", "valid", "test")
    assert f"valid: {result.num_examples['valid']} pairs held out" in capsys.readouterr().err


def test_several_test_sets_gzip_and_explicit_files(run: Run, texts: Path) -> None:
    (texts / "more.en.gz").write_bytes(gzip.compress((texts / "valid.en").read_bytes()))
    put(texts / "more.zh", CHINESE[:5])
    result = run(
        testpref=(f"{texts}/test", f"{texts}/more"),
        validpref=(),
        valid_source=texts / "test.en",
        valid_target=texts / "test.zh",
    )
    assert result.num_examples == {"train": 36, "valid": 4, "test": 4, "test1": 5}
    assert list(Dataset.open(texts / "data").split("test1").texts("source")) == ENGLISH[:5]


def test_no_validation_data_is_fine_and_suggests_some(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(validpref=(), testpref=()).num_examples == {"train": 36}
    assert "--valid-fraction 0.02" in capsys.readouterr().err


def test_sides_have_their_own_normalization(run: Run, texts: Path) -> None:
    put(texts / "stop", ["the", ""])
    run(lowercase=True, target_lowercase=False, source_stopwords=texts / "stop", joined_dictionary=True)
    dataset = Dataset.open(texts / "data")
    source, target = (dataset.tokenizer(side).normalization for side in SIDES)
    assert (source.lowercase, source.stopwords) == (True, ("the",))
    assert (target.lowercase, target.stopwords) == (False, ())
    assert dataset.meta["settings"]["source_stopwords"] == "stop"


def test_words_are_limited_as_in_fairseq(run: Run, texts: Path) -> None:
    put(texts / "train.en", ["a a a b b c"])
    put(texts / "train.zh", ["x x x y y z"])
    run(tokenizer="word", thresholdsrc=2, nwordstgt=5, validpref=(), testpref=())
    dataset = Dataset.open(texts / "data")
    assert (texts / "data/dict.source.txt").read_text() == "a 3\nb 2\n"
    assert (texts / "data/dict.target.txt").read_text() == "x 3\n"
    assert ids_of(dataset.split("train"), "source") == [[4, 4, 4, 5, 5, 3]]
    assert ids_of(dataset.split("train"), "target") == [[4, 4, 4, 3, 3, 3]]
    assert dataset.meta["splits"]["train"]["num_unknown"] == {"source": 1, "target": 3}


def test_a_test_set_alone_with_dictionaries(run: Run, texts: Path) -> None:
    dictionary = put(texts / "dict.txt", ["the 9", "cat 3"])
    alone = {"trainpref": (), "validpref": (), "tokenizer": "word", "vocab_size": None}
    run(**alone, srcdict=dictionary, tgtdict=dictionary)
    dataset = Dataset.open(texts / "data")
    assert dataset.splits == ("test",)
    assert ids_of(dataset.split("test"), "source")[0] == [4, 5, 3, 4, 5, 3, 3, 3]
    run(**alone, srcdict=dictionary, joined_dictionary=True)
    with pytest.raises(UsageError, match="both --srcdict and --tgtdict"):
        run(**alone, srcdict=dictionary)
    with pytest.raises(UsageError, match="sentencepiece learns from training text"):
        run(trainpref=(), validpref=(), srcdict=dictionary, tgtdict=dictionary)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source_lang": None}, "--trainpref needs --source-lang"),
        ({"target_lang": "en"}, "are both en"),
        (
            {"trainpref": ("{texts}/train", "{texts}/test")},
            "give each a name of its own: --trainpref a=.*train",
        ),
        ({"train_source": "x"}, "--trainpref and --train-source/--train-target name the same text"),
        ({"trainpref": (), "train_source": "x"}, "must be given together"),
        (
            {"trainpref": (), "train_source": "-", "train_target": "-"},
            "standard input cannot be one of two files",
        ),
        ({"valid_fraction": 0.1}, "validation files are given"),
        ({"trainpref": (), "validpref": (), "valid_fraction": 0.1}, "no training files are given"),
        ({"trainpref": (), "validpref": (), "testpref": ()}, "no text given"),
        ({"tokenizer": "words"}, "did you mean word"),
        ({"vocab_size": 6}, "--vocab-size 6 is too small"),
        ({"joined_dictionary": True, "thresholdtgt": 3}, "--thresholdsrc holds for both"),
        ({"joined_dictionary": True, "nwordstgt": 3}, "--nwordssrc holds for both"),
        ({"joined_dictionary": True, "srcdict": "x", "tgtdict": "y"}, "not both"),
        ({"user_symbols": ("</s>",)}, "cannot be a symbol to keep whole"),
        (
            {"trainpref": (), "validpref": (), "shortlist": 9},
            "--shortlist learns translations from training pairs, but no training files are given",
        ),
    ],
)
def test_settings_that_contradict(run: Run, texts: Path, settings: dict, message: str) -> None:
    prefixes = tuple(prefix.format(texts=texts) for prefix in settings.get("trainpref", ()))
    if prefixes:
        settings = {**settings, "trainpref": prefixes}
    with pytest.raises(UsageError, match=message):
        run(**settings)
    assert not (texts / "data").exists()


def test_missing_files_are_named(run: Run, texts: Path) -> None:
    with pytest.raises(DataError, match=r"train\.fr: no such file; found with this prefix: en, zh$"):
        run(target_lang="fr")
    with pytest.raises(DataError, match=r"nowhere\.en: no such file; nothing has this prefix"):
        run(testpref=(str(texts / "nowhere"),))
    with pytest.raises(DataError, match=r"none: no such file"):
        run(validpref=(), valid_source=texts / "none", valid_target=texts / "none")


def test_no_training_pair_left(run: Run, texts: Path) -> None:
    with pytest.raises(DataError, match="no training pair is left: long target 36"):
        run(tokenizer="character", max_target_length=1, on_long="skip")
    with pytest.raises(DataError, match="holds out none of the training pairs"):
        run(validpref=(), valid_fraction=1e-9)
    assert not (texts / "data").exists()


def test_the_same_command_again_works_but_other_folders_are_safe(
    run: Run, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    run()
    assert "in place of" not in capsys.readouterr().err
    run(tokenizer="character")
    said = capsys.readouterr().err
    assert f"{texts / 'data'}: in place of a dataset with another tokenizer\n" in said
    assert Dataset.open(texts / "data").tokenizer("source").kind == "character"
    with pytest.raises(UsageError, match="something other than a dataset"):
        run(destdir=texts, overwrite=True)
    assert (texts / "train.en").exists()


def die(*_: object) -> None:
    os._exit(9)


def test_a_dead_worker_is_one_clear_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_start_worker", die)
    with pytest.raises(S2SError, match="a worker process died"):
        run(workers=2)


def test_every_setting_has_help() -> None:
    for field in dataclasses.fields(PreprocessConfig):
        assert len(field.metadata["limits"].help) > 5


def test_torch_is_not_imported() -> None:
    code = "import sys, s2scli.preprocess, s2scli.text.subword; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
