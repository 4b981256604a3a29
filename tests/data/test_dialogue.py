"""Dialogues become pairs: the turns before an answer, marked and joined, and the answer."""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from toys import WORDS

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data import encoding
from s2scli.data.dataset import Dataset
from s2scli.data.dialogue import Dialogue, DialogueForm
from s2scli.data.source_form import SourceComposer, SourceForm
from s2scli.data.split import Split
from s2scli.errors import DataError, S2SError, UsageError
from s2scli.preprocess import PreprocessResult, preprocess
from s2scli.schema import build

Run = Callable[..., PreprocessResult]
NAMES = ("USER", "SYSTEM")


def made_up(number: int, seed: int, *, blanks: bool = False) -> list[dict[str, Any]]:
    """Dialogues of one to nine turns; one in five turns is said by who spoke last."""
    draw = random.Random(seed)
    dialogues = []
    for _ in range(number):
        size = draw.randint(1, 9)
        turns = [" ".join(draw.choices(WORDS, k=draw.randint(1, 5))) for _ in range(size)]
        if blanks:
            turns = [draw.choice(("", "  ")) if draw.random() < 0.15 else turn for turn in turns]
        speakers = [draw.choice(NAMES)]
        while len(speakers) < size:
            other = NAMES[1 - NAMES.index(speakers[-1])]
            speakers.append(speakers[-1] if draw.random() < 0.2 else other)
        dialogues.append({"turns": turns, "speakers": speakers})
    return dialogues


def put(path: Path, dialogues: Sequence[Any]) -> Path:
    path.write_text(
        "".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in dialogues), encoding="utf-8"
    )
    return path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Preprocess the dialogues that are in train.jsonl, valid.jsonl and test.jsonl."""

    def call(**settings: object) -> PreprocessResult:
        values: dict[str, Any] = {
            "input_format": "dialogue",
            "tokenizer": "word",
            "destdir": tmp_path / "data",
        }
        for split in ("train", "valid", "test"):
            if (tmp_path / f"{split}.jsonl").exists():
                values[f"{split}_file"] = tmp_path / f"{split}.jsonl"
        return preprocess(build(PreprocessConfig, values | settings))

    return call


def pairs_of(split: Split) -> list[tuple[str, str]]:
    return list(zip(split.texts("source"), split.texts("target"), strict=True))


def expected_pairs(
    dialogues: Sequence[dict[str, Any]], number: int, *, marked: bool = False, targets: Sequence[str] = NAMES
) -> list[tuple[str, str]]:
    """The pairs as the help of the flags describes them, dialogue by dialogue and turn by turn."""
    found = []
    for dialogue in dialogues:
        turns, speakers = dialogue["turns"], dialogue["speakers"]
        for place in range(1, len(turns)):
            if speakers[place] not in targets:
                continue
            said = [at for at in range(place) if turns[at].strip()][-number:]
            parts = [f"<{speakers[at]}> {turns[at]}" if marked else turns[at] for at in said]
            if marked and said:
                parts.append(f"<{speakers[place]}>")
            found.append((" <turn> ".join(parts), turns[place]))
    return found


@pytest.mark.parametrize("number", [1, 2, 3, 20])
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("targets", [(), ("SYSTEM",)])
def test_every_turn_but_the_first_is_answered_with_the_turns_before_it(
    run: Run, tmp_path: Path, number: int, marked: bool, targets: tuple[str, ...]
) -> None:
    train, test = made_up(60, seed=number), made_up(20, seed=100 + number, blanks=True)
    put(tmp_path / "train.jsonl", train)
    put(tmp_path / "test.jsonl", test)
    result = run(context_turns=number, speakers=marked, target_speaker=targets)
    dataset = Dataset.open(tmp_path / "data")
    for split, dialogues in (("train", train), ("test", test)):
        expected = expected_pairs(dialogues, number, marked=marked, targets=targets or NAMES)
        assert pairs_of(dataset.split(split)) == expected
        assert result.num_lines[split] == result.num_examples[split] == len(expected)
    tokenizer = dataset.tokenizer("source")
    source = dataset.split("test").ids("source", 3).tolist()
    assert tokenizer.pieces(source) == dataset.split("test").text("source", 3).split()


def test_workers_shards_chunks_and_standard_input_make_no_difference(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = put(tmp_path / "train.jsonl", made_up(80, seed=1, blanks=True))
    put(tmp_path / "valid.jsonl", made_up(9, seed=2))
    settings: dict[str, Any] = {"speakers": True, "filter_duplicates": "target", "min_source_length": 6}
    result = run(**settings)
    expected = Dataset.open(tmp_path / "data")
    assert set(result.dropped["train"]) == {"duplicate", "empty source", "empty target", "short source"}

    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 7)
    run(**settings, workers=2, destdir=tmp_path / "workers")
    zipped = tmp_path / "train.jsonl.gz"
    zipped.write_bytes(gzip.compress(train.read_bytes()))
    run(**settings, train_file=zipped, destdir=tmp_path / "zipped")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(train.read_bytes())))
    run(**settings, train_file=Path("-"), destdir=tmp_path / "piped")
    for shard in range(3):
        run(**settings, num_shards=3, shard_id=shard, destdir=tmp_path / "parts")
    run(**settings, merge=True, num_shards=1, destdir=tmp_path / "parts")
    for name in ("workers", "zipped", "piped", "parts"):
        other = Dataset.open(tmp_path / name)
        for split in ("train", "valid"):
            assert pairs_of(other.split(split)) == pairs_of(expected.split(split)), name
            for side in ("source", "target"):
                assert other.tokenizer(side).fingerprint == expected.tokenizer(side).fingerprint


NORMALIZED: list[dict[str, Any]] = [
    {},
    {"lowercase": True},
    {"unicode_normalization": "NFKC", "lowercase": True},
    {"strip_punctuation": True},
    {"normalize_whitespace": True},
]
TYPED = (
    "say <turn> and <USER> now",
    "<TURN><User><turn>",
    "＜turn＞ a＜ＵＳＥＲ＞",  # full-width
    "</s> <s> <unk> <pad>",
    "<tu<turn>rn>",
)


@pytest.mark.parametrize("settings", NORMALIZED)
@pytest.mark.parametrize("tokenizer", ["word", "sentencepiece", "character"])
@pytest.mark.parametrize("joined", [False, True])
def test_what_is_typed_is_never_taken_for_a_symbol(
    run: Run, tmp_path: Path, settings: dict[str, Any], tokenizer: str, joined: bool
) -> None:
    dialogues = made_up(40, seed=3)
    for text in TYPED:
        dialogues.append({"turns": [text, text, f"b {text}"], "speakers": ["USER", "SYSTEM", "USER"]})
    put(tmp_path / "train.jsonl", dialogues)
    size = None if tokenizer == "word" else 100
    run(**settings, tokenizer=tokenizer, joined_dictionary=joined, speakers=True, vocab_size=size)
    dataset = Dataset.open(tmp_path / "data")
    train, tokenizers = (
        dataset.split("train"),
        {side: dataset.tokenizer(side) for side in ("source", "target")},
    )
    turn, *speakers = (tokenizers["source"].vocabulary.lookup(f"<{name}>") for name in ("turn", *NAMES))
    wanted = [dialogue for dialogue in dialogues for _ in dialogue["turns"][1:]]
    places = [place for dialogue in dialogues for place in range(1, len(dialogue["turns"]))]
    assert len(train) == len(places)
    for index, (dialogue, place) in enumerate(zip(wanted, places, strict=True)):
        ids = train.ids("source", index).tolist()
        number = min(place, 3)
        assert ids.count(turn) == number, train.text("source", index)
        names = [*dialogue["speakers"][place - number : place], dialogue["speakers"][place]]
        assert [token for token in ids if token in speakers] == [
            speakers[NAMES.index(name)] for name in names
        ]
        if joined:
            assert not {turn, *speakers} & set(train.ids("target", index).tolist())


def test_the_settings_are_kept_with_the_dataset(run: Run, tmp_path: Path) -> None:
    put(tmp_path / "train.jsonl", made_up(30, seed=4))
    run(context_turns=2, turn_symbol="<eou>", speakers=True, target_speaker=("SYSTEM",))
    form = Dataset.open(tmp_path / "data").source_form
    assert form.dialogue == DialogueForm(
        context_turns=2, symbol="<eou>", speakers=form.dialogue.speakers, targets=("SYSTEM",)
    )
    assert set(form.dialogue.speakers) == set(NAMES)
    assert SourceForm.from_meta(json.loads(json.dumps(form.to_meta()))) == form
    plain = SourceForm()
    assert SourceForm.from_meta(plain.to_meta()) == plain
    assert "dialogue" not in plain.to_meta()


def test_a_record_gives_the_source_that_the_dataset_has(run: Run, tmp_path: Path) -> None:
    test = made_up(25, seed=5, blanks=True)
    put(tmp_path / "train.jsonl", made_up(30, seed=6))
    put(tmp_path / "test.jsonl", test)
    for marked in (False, True):
        run(speakers=marked, destdir=tmp_path / str(marked))
        dataset = Dataset.open(tmp_path / str(marked))
        composer = SourceComposer(dataset.source_form)
        form = dataset.source_form.dialogue
        assert form is not None
        sources = [
            composer.compose_dialogue(
                form,
                {"turns": dialogue["turns"][:place], "speakers": dialogue["speakers"][: place + 1]},
            )
            for dialogue in test
            for place in range(1, len(dialogue["turns"]))
        ]
        assert sources == list(dataset.split("test").texts("source"))
        last = [dataset.source_form.line_of(source)[1] for source in sources]
        assert last == [
            next((turn for turn in dialogue["turns"][place - 1 :: -1] if turn.strip()), "")
            for dialogue in test
            for place in range(1, len(dialogue["turns"]))
        ]


def test_dialogues_that_do_not_say_who_speaks_are_of_two(run: Run, tmp_path: Path) -> None:
    put(tmp_path / "train.jsonl", [{"turns": ["a", "b", "c", "d"]}, {"turns": ["e", "f"]}])
    run(speakers=True, context_turns=2)
    dataset = Dataset.open(tmp_path / "data")
    assert pairs_of(dataset.split("train")) == [
        ("<A> a <turn> <B>", "b"),
        ("<A> a <turn> <B> b <turn> <A>", "c"),
        ("<B> b <turn> <A> c <turn> <B>", "d"),
        ("<A> e <turn> <B>", "f"),
    ]
    form = dataset.source_form.dialogue
    assert form is not None
    # Whoever has not spoken last is next.
    assert form.named(["x", "y", "z"]) == Dialogue(["x", "y", "z"], ["A", "B", "A", "B"])
    answering = DialogueForm(speakers=("USER", "SYSTEM"), targets=("SYSTEM",))
    assert answering.named(["x", "y"]).speakers == ["SYSTEM", "USER", "SYSTEM"]
    assert answering.named(["x"]).speakers == ["USER", "SYSTEM"]


def test_dialogues_are_held_out_as_a_whole(run: Run, tmp_path: Path) -> None:
    dialogues = made_up(150, seed=7)
    for number, dialogue in enumerate(dialogues):
        dialogue["turns"] = [f"d{number} {turn}" for turn in dialogue["turns"]]
    put(tmp_path / "train.jsonl", dialogues)
    run(valid_fraction=0.2)
    dataset = Dataset.open(tmp_path / "data")
    train, valid = (
        {target.split()[0] for _, target in pairs_of(dataset.split(name))} for name in ("train", "valid")
    )
    assert valid
    assert not train & valid
    assert len(train | valid) == sum(len(dialogue["turns"]) > 1 for dialogue in dialogues)


BAD = [
    ("{", "the line is no JSON"),
    ("[1]", "the line's JSON is no object"),
    ('{"turn": []}', "the line has no text field 'turns'"),
    ('{"turns": "a"}', "the line's turns is no list of texts"),
    ('{"turns": ["a", 2]}', r"the line's turns\[1\] is not text"),
    ('{"turns": ["a", "\\u0000"]}', r"the line's turns\[1\] holds a NUL character"),
    ('{"turns": ["\\ud800"]}', r"the line's turns\[0\] holds a NUL character or half"),
    ('{"turns": ["a", "b"], "speakers": ["A"]}', "the line's speakers are 1, and its turns 2"),
    ('{"turns": ["a", "b"], "speakers": ["A", " "]}', r"the line's speakers\[1\] is blank"),
    ('{"turns": ["a", "b"], "speakers": 3}', "the line's speakers is no list"),
    ("[" * 100_000, "the line's JSON is nested too deeply"),
    (b'{"turns": ["a", "\xff"]}', "the line is not UTF-8"),
    ("", "the line is no JSON"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_a_broken_line_is_named_replaced_or_left_out(
    run: Run, tmp_path: Path, line: str | bytes, message: str
) -> None:
    path = put(tmp_path / "train.jsonl", made_up(20, seed=8))
    number = len(expected_pairs(made_up(20, seed=8), 3))
    with path.open("ab") as stream:
        stream.write(b'{"turns": ["a b", "c d"]}\n')
        stream.write((line.encode() if isinstance(line, str) else line) + b"\n")
    with pytest.raises(DataError, match=rf"train\.jsonl:22: {message}"):
        run()
    rejects = tmp_path / "rejects.jsonl"
    result = run(encoding_errors="skip", rejects=rejects)
    assert result.num_examples["train"] == number + 1
    (reject,) = [json.loads(text) for text in rejects.read_text().splitlines()]
    assert reject["line"] == 22
    assert reject["reason"] in ("broken record", "broken text")
    if isinstance(line, bytes) or "NUL" in message:
        run(encoding_errors="replace", overwrite=True)
        turns = [text for pair in pairs_of(Dataset.open(tmp_path / "data").split("train")) for text in pair]
        assert ("\ufffd" in "".join(turns)) == (line != '{"turns": ["\\ud800"]}')


def test_messages_name_the_dialogues_line(run: Run, tmp_path: Path) -> None:
    put(tmp_path / "train.jsonl", [{"turns": ["a", "b", "c"]}, {"turns": ["d", "e f g h"]}])
    with pytest.raises(DataError, match=r"train\.jsonl:2: 4 tokens, --max-target-length is 3"):
        run(max_target_length=3, on_long="error")


def test_of_a_long_source_the_last_turns_stay(run: Run, tmp_path: Path) -> None:
    put(tmp_path / "train.jsonl", [{"turns": ["a b c", "d e", "f g"], "speakers": ["X", "Y", "X"]}])
    run(speakers=True, max_source_length=6)
    dataset = Dataset.open(tmp_path / "data")
    pieces = dataset.tokenizer("source").pieces(dataset.split("train").ids("source", 1).tolist())
    assert pieces == ["<turn>", "<Y>", "d", "e", "<turn>", "<X>"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainpref": ("x",)}, "--trainpref does not go with --input-format dialogue"),
        ({"context_lines": 2}, "--context-lines does not go with"),
        ({"only_target": True}, "--only-target does not go with"),
        ({"turn_symbol": "|"}, r"--turn-symbol \|: wanted: a word in angle brackets"),
        ({"turn_symbol": "<a b>"}, "--turn-symbol <a b>: wanted: a word in angle brackets"),
        ({"turn_symbol": "<pad>"}, "cannot be a symbol"),
        ({"turn_symbol": "<USER>", "speakers": True}, "--turn-symbol <USER>: is the symbol of a speaker"),
        (
            {"target_speaker": ("USR",)},
            "--target-speaker USR: answers nothing in the dialogues; did you mean USER",
        ),
        ({"context_turns": 0}, "context_turns = 0 is not allowed"),
    ],
)
def test_settings_that_cannot_be(run: Run, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    put(tmp_path / "train.jsonl", made_up(20, seed=9))
    with pytest.raises((UsageError, DataError), match=message):
        run(**settings)


def test_text_without_answers(run: Run, tmp_path: Path) -> None:
    put(tmp_path / "train.jsonl", [{"turns": ["a"]}, {"turns": []}])
    with pytest.raises(S2SError, match=r"train\.jsonl: no dialogue has a second turn"):
        run()
