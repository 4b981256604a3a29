"""The tokenizers that `preprocess` learns, or is given by a checkpoint or a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
from bilingual import CHINESE, ENGLISH, SIDES, Run, ids_of, put
from toys import TRANSFORMER, Trainer

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data.dataset import Dataset
from s2scli.errors import DataError, UsageError
from s2scli.preprocess import preprocess
from s2scli.schema import build


def test_white_space_digits_and_split_digits_are_kept_with_the_tokenizer(run: Run, texts: Path) -> None:
    put(texts / "train.en", [f"{line}  {n * 7919}" for n, line in enumerate(ENGLISH)])
    run(normalize_whitespace=True, target_normalize_digits=True, split_digits=True)
    dataset = Dataset.open(texts / "data")
    source, target = (dataset.tokenizer(side) for side in SIDES)
    assert source.encode("the  cat\u00a0sees") == source.encode("the cat sees")
    assert target.encode("猫٣") == target.encode("猫3")
    assert source.encode("٣") != source.encode("3")
    assert not [piece for piece in source.vocabulary.symbols if sum(map(str.isdigit, piece)) > 1]


def test_a_checkpoint_lends_its_tokenizers(toy_data: Path, tmp_path: Path) -> None:
    trainer = Trainer(toy_data, tmp_path)
    trainer("run", **TRANSFORMER, max_update=1)
    put(tmp_path / "more.aa", ["ba be xyzzy", "ki"])
    put(tmp_path / "more.bb", ["ga", "ki ki"])
    values = {"source_lang": "aa", "target_lang": "bb", "trainpref": (f"{tmp_path}/more",)}
    values |= {"destdir": tmp_path / "data", "vocab_from": tmp_path / "run", "shortlist": 1}
    preprocess(build(PreprocessConfig, values))
    dataset = Dataset.open(tmp_path / "data")
    for side in SIDES:
        tokenizer = Dataset.open(toy_data).tokenizer(side)
        assert dataset.tokenizer(side).to_bytes() == tokenizer.to_bytes()
        assert ids_of(dataset.split("train"), side) == [
            tokenizer.encode(text) for text in dataset.split("train").texts(side)
        ]
    table = dataset.shortlist()
    assert table is not None
    ki, ga = (dataset.tokenizer("source").vocabulary.lookup(word) for word in ("ki", "ga"))
    assert table.targets[ki].tolist() == [ki]
    assert table.targets[ga].tolist() == [-1]
    other = Trainer(tmp_path / "data", tmp_path)
    other("tuned", **TRANSFORMER, finetune_from_model=tmp_path / "run", max_update=1)
    with pytest.raises(
        UsageError, match=r"--source-lowercase decides what --vocab-from takes .*; leave it out"
    ):
        preprocess(build(PreprocessConfig, values | {"source_lowercase": True}))


def test_each_side_has_the_vocabulary_that_is_given_or_learns_one(toy_data: Path, tmp_path: Path) -> None:
    put(tmp_path / "more.aa", ["ba be xyzzy", "ki"])
    put(tmp_path / "more.bb", ["ga", "ki ki zu"])
    values = {
        "source_lang": "aa",
        "target_lang": "bb",
        "trainpref": (f"{tmp_path}/more",),
        "tokenizer": "word",
    }
    own = Dataset.open(toy_data)
    for side, other in zip(SIDES, reversed(SIDES), strict=True):
        given = values | {
            f"{side}_vocab_from": toy_data,
            "destdir": tmp_path / side,
            f"{other}_lowercase": True,
        }
        dataset = Dataset.open(preprocess(build(PreprocessConfig, given)).destdir)
        assert dataset.tokenizer(side).to_bytes() == own.tokenizer(side).to_bytes()
        learnt = dataset.tokenizer(other).vocabulary
        assert (
            set(learnt.ordinary_symbols)
            == ({"ba", "be", "xyzzy", "ki"}, {"ga", "ki", "zu"})[SIDES.index(other)]
        )
        assert learnt.ordinary_counts[0] > 0
    for change, message in (
        ({"source_lowercase": True}, r"--source-lowercase decides what --source-vocab-from takes"),
        ({"joined_dictionary": True}, r"--joined-dictionary decides what --source-vocab-from takes"),
        ({"srcdict": tmp_path / "x"}, r"--srcdict decides what --source-vocab-from takes"),
        (
            {"target_vocab_from": tmp_path / "none"},
            "--tokenizer decides what --source-vocab-from and --target-",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            preprocess(build(PreprocessConfig, values | {"source_vocab_from": toy_data} | change))


def test_a_model_of_another_toolkit_is_to_be_imported_first(toy_data: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    values = {"trainpref": (f"{toy_data.parent}/train",), "source_lang": "aa", "target_lang": "bb"}
    values |= {"vocab_from": tmp_path, "destdir": tmp_path / "data"}
    with pytest.raises(UsageError, match="looks like a model of another toolkit; s2s import"):
        preprocess(build(PreprocessConfig, values))


def test_given_sentencepiece_models(run: Run, texts: Path) -> None:
    run(destdir=texts / "first", joined_dictionary=True)
    model = texts / "own.model"
    with model.open("wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(ENGLISH + CHINESE), model_writer=stream, vocab_size=46, minloglevel=2
        )
    own = sentencepiece.SentencePieceProcessor(model_file=str(model))
    run(source_sentencepiece=model, joined_dictionary=True, vocab_size=None)
    dataset = Dataset.open(texts / "data")
    assert dataset.tokenizer("source").vocabulary == dataset.tokenizer("target").vocabulary
    for side, lines in zip(SIDES, (ENGLISH, CHINESE), strict=True):
        train, tokenizer = dataset.split("train"), dataset.tokenizer(side)
        for index, line in enumerate(lines[:36]):
            assert tokenizer.pieces(train.ids(side, index).tolist()) == own.encode(line, out_type=str)
    # One side alone; no training text is needed where both are given.
    run(target_sentencepiece=model)
    assert Dataset.open(texts / "data").tokenizer("source").kind == "sentencepiece"
    run(source_sentencepiece=model, target_sentencepiece=model, trainpref=(), vocab_size=None)
    assert Dataset.open(texts / "data").tokenizer("target").kind == "given sentencepiece"
    both = {"source_sentencepiece": model, "joined_dictionary": True, "vocab_size": None}
    for settings, message in (
        ({"split_digits": True}, "--split-digits is for learning"),
        ({"vocab_size": 50}, "--vocab-size is for learning"),
        ({"target_sentencepiece": texts / "other"}, "--joined-dictionary takes one SentencePiece model"),
        ({"tokenizer": "word"}, "--source-sentencepiece is not for --tokenizer word"),
    ):
        with pytest.raises(UsageError, match=message):
            run(**both | settings)
    with pytest.raises(DataError, match=r"train\.en: not a SentencePiece model"):
        run(source_sentencepiece=texts / "train.en")


def test_words_by_the_rules_of_the_languages(run: Run, texts: Path) -> None:
    run(tokenizer="moses", vocab_size=None, target_lang="zh")
    tokenizer = Dataset.open(texts / "data").tokenizer("source")
    assert tokenizer.pieces(tokenizer.encode("the cat sees the dog, 1.")) == [
        "the",
        "cat",
        "sees",
        "the",
        "dog",
        ",",
        "1",
        ".",
    ]
    with pytest.raises(UsageError, match="--tokenizer moses splits each language by its own rules"):
        run(tokenizer="moses", joined_dictionary=True)
