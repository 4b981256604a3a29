"""Finding and reading pairs of sentences: a line in each of two files, both in a line of one, or turns of dialogues."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import counted, warn
from s2scli.data.dialogue import Dialogue, DialogueForm, exchanges, one_line, read_dialogue
from s2scli.errors import DataError, UsageError, did_you_mean
from s2scli.io import COMPRESSED, STDIN, count_lines, decode, input_name, read_raw_lines, remedy_for
from s2scli.record import NOT_TEXT, NotJSONError, read_json
from s2scli.schema import to_whole

SIDES = ("source", "target")
MAIN = "main"
_ONE_FILE = ("tsv", "jsonl")
# news=text/news; a path with a = in it has a folder or a dot before that.
_NAMED = re.compile(r"([\w-]+)=(.+)")
# Each tag is a symbol of the vocabulary.
_MOST_TAGS = 1000
_DIALOGUE = "dialogue"
_BROKEN_TEXT, _BROKEN_RECORD = "broken text", "broken record"


class Pair(NamedTuple):
    """A source and a target line, and their tag or nothing; `problem`: why to leave the pair out, or nothing.

    Where there is only target text the source is empty. Of a dialogue's pairs `line` is where it is in its file, and
    `dialogue` tells it from others.
    """

    source: str
    target: str
    tag: str = ""
    problem: str = ""
    line: int = 0
    dialogue: str = ""

    @property
    def sides(self) -> tuple[str, str]:
        """Source and target."""
        return self.source, self.target


@dataclass(frozen=True)
class Corpus:
    """Text of one split, all of it or a part with a name: a source and a target file, or one file with both.

    Where there is only target text it is one file, and one field of that.

    layout: "lines" for two files, perhaps with a third for tags, "tsv", "jsonl" or "dialogue" for one. fields: where
    the sides and perhaps a tag are in its lines, a column counted from 1, or the name of a field (a.b for one within
    another). on_broken: error, replace or skip. tag: that of pairs that have none of their own. form: how sources are
    made of turns. spools: files to read in the place of the paths.
    """

    split: str
    paths: tuple[Path, ...]
    layout: str = "lines"
    fields: tuple[str, ...] = SIDES
    on_broken: str = "error"
    name: str = MAIN
    tag: str = ""
    form: DialogueForm | None = None
    spools: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read: the files, or what holds the text of those that can be read only once."""
        return self.spools or self.paths

    @property
    def key(self) -> str:
        """What tells it from all others: train/main."""
        return f"{self.split}/{self.name}"

    def place(self, side: int, number: int) -> str:
        """The file and line of a side, for messages."""
        return f"{input_name(self.paths[min(side, len(self.paths) - 1)])}:{number}"

    def raw_lines(self) -> Iterator[tuple[bytes, ...]]:
        """Yield a line of each file, undecoded; of dialogues their pairs, as JSON."""
        if self.layout == _DIALOGUE:
            yield from (
                (json.dumps(pair, ensure_ascii=False).encode(),) for pair in self._pairs_of_dialogues()
            )
            return
        for lines in zip_longest(*map(read_raw_lines, self.files)):
            if None in lines:
                raise DataError(f"{' and '.join(map(str, self.paths))} changed while they were read")
            yield lines

    def parse(self, lines: tuple[bytes, ...], number: int) -> Pair:
        """The pair of a line number; DataError where it is broken and that is an error."""
        if self.layout == _DIALOGUE:
            return Pair(*json.loads(lines[0]))
        decoded = [decode(raw) for raw in lines]
        texts = [text for text, _ in decoded]
        for side, (_, problem) in enumerate(decoded):
            if problem and self.on_broken == "error":
                raise self._broken_text(self.place(side, number), problem, lines[side])
            if problem and self.on_broken == "skip":
                return Pair(texts[0], texts[1] if len(texts) > 1 else "", problem=_BROKEN_TEXT)
        if self.layout != "lines":
            try:
                texts = [self._field(texts[0], name) for name in self.fields]
            except (ValueError, KeyError, IndexError, TypeError) as error:
                if self.on_broken == "skip":
                    return Pair(texts[0], "", problem=_BROKEN_RECORD)
                flags = ["--source-field", "--target-field", "--tag-field"][len(self.fields) == 1 :]
                said = ", ".join(f"{flag} is {name}" for flag, name in zip(flags, self.fields, strict=False))
                raise DataError(
                    f"{self.place(0, number)}: {why_no_record(error, self.layout)}; {said}"
                ) from None
            if any(NOT_TEXT.search(text) for text in texts):
                if self.on_broken == "error":
                    raise DataError(
                        f"{self.place(0, number)}: the line's text holds NUL or half of a character, which JSON "
                        "can and text cannot; mend it, or give --encoding-errors replace or skip"
                    )
                texts = [NOT_TEXT.sub("\ufffd", text) for text in texts]
                if self.on_broken == "skip":
                    return Pair(texts[0], "", problem=_BROKEN_TEXT)
        source, target, *tags = texts if len(texts) > 1 else ("", *texts)
        return Pair(source, target, self._tag(tags[0], number) if tags else self.tag)

    def _broken_text(self, place: str, problem: str, raw: bytes) -> DataError:
        remedy = remedy_for(raw)
        other = "" if "UTF-16" in remedy else ", or give --encoding-errors replace or skip"
        return DataError(f"{place}: the line {problem}; {remedy}{other}")

    def dialogues(self) -> Iterator[tuple[int, Dialogue | str]]:
        """The number of each line, and its dialogue or why it is left out; DataError where that is an error."""
        for number, raw in enumerate(read_raw_lines(self.files[0]), start=1):
            text, problem = decode(raw)
            if problem and self.on_broken == "error":
                raise self._broken_text(self.place(0, number), problem, raw)
            if problem and self.on_broken == "skip":
                yield number, _BROKEN_TEXT
                continue
            try:
                yield number, read_dialogue(text, replace=self.on_broken == "replace")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                if self.on_broken != "skip":
                    why = why_no_record(error, self.layout)
                    raise DataError(
                        f'{self.place(0, number)}: {why}; wanted: {{"turns": ["…", "…"]}}, perhaps with "speakers"'
                    ) from None
                yield number, _BROKEN_RECORD

    def _pairs_of_dialogues(self) -> Iterator[Pair]:
        form = self.form or DialogueForm()
        for number, dialogue in self.dialogues():
            if isinstance(dialogue, str):
                yield Pair("", "", problem=dialogue, line=number)
                continue
            key = dialogue.key
            for before, speaker, turn in exchanges(dialogue, form):
                source = form.compose(before, speaker)
                yield Pair(source, form.plain(turn), self.tag, line=number, dialogue=key)

    def _tag(self, text: str, number: int) -> str:
        """The tag that a pair's own text says, in angle brackets: bt and <bt> are <bt>."""
        text = text.strip()
        if not text:
            return self.tag
        if len(text.split()) > 1:
            raise DataError(f"{self.place(2, number)}: {text!r} is no tag; wanted: a word, as bt or <bt>")
        return text if text.startswith("<") else f"<{text}>"

    def tags(self) -> set[str]:
        """The tags that pairs have; where they have them of their own, the text is read through for that."""
        if max(len(self.paths), len(self.fields)) <= len(SIDES):
            return {self.tag} - {""}
        found: set[str] = set()
        for number, lines in enumerate(self.raw_lines(), start=1):
            found.add(self.parse(lines, number).tag)
            if len(found) > _MOST_TAGS:
                raise DataError(
                    f"{self.place(2, number)}: more than {_MOST_TAGS} tags so far; is --tag-field the right one?"
                )
        return found - {""}

    def _field(self, line: str, name: str) -> str:
        if self.layout == "tsv":
            return line.split("\t")[int(name) - 1]
        return text_field(read_json(line), name)

    def count(self) -> int:
        """Read the text through; the number of pairs.

        Raises DataError for what is broken, if that is an error, for an empty file, and for files of different length.
        """
        if self.layout == _DIALOGUE:
            return self._count_pairs_of_dialogues()
        surveys = [count_lines(path) for path in self.files]
        counts = [count for count, _ in surveys]
        if self.layout != "lines" or not all(is_whole for _, is_whole in surveys):
            counts = self._count_one_by_one()
        for path, count in zip(self.paths, counts, strict=True):
            if not count:
                raise DataError(f"{input_name(path)}: the file is empty")
        if len(set(counts)) > 1:
            found = [
                f"{path} has {counted(count, 'line')}" for path, count in zip(self.paths, counts, strict=True)
            ]
            raise DataError(f"{' and '.join(found)}; line N of each must belong to the same pair")
        return counts[0]

    def _count_pairs_of_dialogues(self) -> int:
        count = sum(1 for _ in self._pairs_of_dialogues())
        if not count and self.form and self.form.targets:
            name = self.form.targets[0]
            hint = did_you_mean(name, find_speakers([self]))
            raise DataError(
                f"{self.paths[0]}: --target-speaker {name}: answers nothing in the dialogues{hint}"
            )
        if not count:
            raise DataError(f"{self.paths[0]}: no dialogue has a second turn, which could be an answer")
        return count

    def _count_one_by_one(self) -> list[int]:
        """The lines of each file; DataError names the first that is broken, if that is an error."""
        counts = [0] * len(self.paths)
        for number, lines in enumerate(zip_longest(*map(read_raw_lines, self.files)), start=1):
            counts = [count + (line is not None) for count, line in zip(counts, lines, strict=True)]
            if self.on_broken != "skip" and None not in lines:
                self.parse(lines, number)
        return counts


def text_field(record: Any, name: str) -> str:
    """The text of a JSON record's field, a.b for one within another; KeyError or TypeError where there is none."""
    value, called = record, "JSON"
    for key in name.split("."):
        if not isinstance(value, dict):
            raise TypeError(f"{called} is no object")
        value, called = value[key], key
    if not isinstance(value, str):
        raise TypeError(f"{name} is not text")
    return one_line(value)


def why_no_record(error: Exception, layout: str) -> str:
    """Why a line is no record with both sides."""
    if layout == "tsv":
        return "the line has too few columns"
    if isinstance(error, NotJSONError):
        return f"the line {error}"
    if isinstance(error, RecursionError):
        return "the line's JSON is nested too deeply"
    return f"the line has no text field {error}" if isinstance(error, KeyError) else f"the line's {error}"


def find_corpora(config: PreprocessConfig) -> list[Corpus]:
    """The text of every split, from prefixes and explicit names.

    Raises DataError for a file that is missing and UsageError for flags that contradict each other.
    """
    corpora: list[Corpus] = []
    for split in ("train", "valid", "test"):
        prefixes: Sequence[str] = getattr(config, f"{split}pref")
        source, target, both = (getattr(config, f"{split}_{name}") for name in ("source", "target", "file"))
        given = {
            f"--{split}pref": prefixes,
            f"--{split}-source/--{split}-target": source or target,
            f"--{split}-file": both,
        }
        named = [flag for flag, value in given.items() if value]
        if len(named) > 1:
            raise UsageError(f"{' and '.join(named)} name the same text; give one")
        if (source is None) != (target is None) and not config.only_target:
            raise UsageError(f"--{split}-source and --{split}-target must be given together")
        # Of validation and test sets every line counts, so none is left out.
        on_broken = (
            config.encoding_errors if split == "train" else config.encoding_errors.replace("skip", "replace")
        )
        if prefixes:
            corpora += _from_prefixes(split, prefixes, config, on_broken)
        elif both is not None:
            corpora.append(_from_one_file(split, both, config, on_broken))
        elif target is not None and config.only_target:
            _check_exists(target)
            corpora.append(Corpus(split, (target,), on_broken=on_broken))
        elif source is not None and target is not None:
            corpora.append(_from_two_files(split, (source, target), on_broken))
            if config.tag_field:
                raise UsageError(
                    f"--tag-field {config.tag_field}: is an ending after --trainpref P, or a field of a file with both "
                    f"sides; --{split}-source and --{split}-target have no tags"
                )
    return _with_tags(corpora, config.source_tag)


def _with_tags(corpora: list[Corpus], tags: Sequence[str]) -> list[Corpus]:
    """The corpora with the tags of --source-tag: "<bt>" for all, "back=<bt>" for training text of that name."""
    by_name: dict[str, str] = {}
    for tag in tags:
        match = _NAMED.fullmatch(tag)
        by_name[match[1] if match else ""] = match[2] if match else tag
    names = {corpus.name for corpus in corpora if corpus.split == "train"}
    for name in by_name:
        if name and name not in names:
            raise UsageError(
                f"--source-tag {name}={by_name[name]}: no training text has that name{did_you_mean(name, names)} "
                f"(--trainpref {name}=PATH gives it)"
            )
    everywhere = by_name.get("", "")
    return [
        replace(corpus, tag=by_name.get(corpus.name, everywhere) if corpus.split == "train" else everywhere)
        for corpus in corpora
    ]


def _from_one_file(split: str, path: Path, config: PreprocessConfig, on_broken: str) -> Corpus:
    endings = [ending for ending in path.suffixes[-2:] if ending not in COMPRESSED]
    layout = config.input_format
    if layout == "auto":
        layout = endings[-1].removeprefix(".") if endings else ""
        if layout not in _ONE_FILE:
            raise UsageError(
                f"--{split}-file {path}: the ending does not tell its format; give --input-format"
            )
    _check_exists(path)
    if layout == _DIALOGUE:
        return Corpus(split, (path,), layout, (), on_broken, form=_dialogue_form(config))
    default = ("1", "2") if layout == "tsv" else SIDES
    source, target = config.source_field or default[0], config.target_field or default[1]
    by_flag = {"source": source, "target": target, "tag": config.tag_field}
    if config.only_target:
        # A file of one language has it in its first column.
        by_flag = {"target": config.target_field or ("1" if layout == "tsv" else "target")}
    names = tuple(name for name in by_flag.values() if name)
    for flag, name in zip(by_flag, names, strict=False):
        if layout == "tsv" and not _is_column(name):
            raise UsageError(f"--{flag}-field {name}: of a TSV file give the column's number, counted from 1")
    return Corpus(split, (path,), layout, names, on_broken)


def _is_column(name: str) -> bool:
    try:
        return to_whole(name) > 0
    except ValueError:
        return False


def _dialogue_form(config: PreprocessConfig) -> DialogueForm:
    """How dialogues are read, before it is known who speaks in them."""
    return DialogueForm(
        context_turns=config.context_turns, symbol=config.turn_symbol, targets=config.target_speaker
    )


def find_speakers(corpora: Sequence[Corpus]) -> tuple[str, ...]:
    """Who speaks in the dialogues of some corpora, in the order in which they first do; reads them through."""
    speakers: dict[str, None] = {}
    for corpus in corpora:
        for number, dialogue in corpus.dialogues():
            if not isinstance(dialogue, str):
                speakers |= dict.fromkeys(dialogue.speakers)
            if len(speakers) > _MOST_TAGS:
                raise DataError(
                    f"{corpus.place(0, number)}: more than {_MOST_TAGS} speakers so far; leave --speakers out"
                )
    return tuple(speakers)


def _from_two_files(split: str, paths: tuple[Path, Path], on_broken: str) -> Corpus:
    for side, path in zip(SIDES, paths, strict=True):
        if path == STDIN:
            raise UsageError(
                f"--{split}-{side}: standard input cannot be one of two files; give it as --{split}-file -, with both "
                "sides in each line"
            )
        _check_exists(path)
    if paths[0].resolve() == paths[1].resolve():
        warn(f"{paths[0]}: is both source and target of the {split} split")
    return Corpus(split, paths, on_broken=on_broken)


def _check_exists(path: Path) -> None:
    if path != STDIN and not path.exists():
        raise DataError(f"{path}: no such file")


def _from_prefixes(
    split: str, prefixes: Sequence[str], config: PreprocessConfig, on_broken: str
) -> list[Corpus]:
    languages = {side: getattr(config, f"{side}_lang") for side in config.sides}
    if not all(languages.values()):
        flags = " and ".join(f"--{side}-lang" for side in config.sides)
        raise UsageError(f"--{split}pref needs {flags}, the endings of its files")
    if len(set(languages.values())) < len(languages):
        raise UsageError(
            f"--source-lang and --target-lang are both {config.source_lang}; their files would be the same"
        )
    endings = (*languages.values(), *((config.tag_field,) if config.tag_field else ()))
    corpora = []
    for number, prefix in enumerate(prefixes):
        # Several training texts are parts of one split; several test sets are splits of their own.
        name, path = _name_and_path(prefix, endings) if split == "train" else (MAIN, prefix)
        corpora.append(
            Corpus(
                split if split == "train" else f"{split}{number or ''}",
                tuple(_with_ending(path, ending, named=prefix) for ending in endings),
                on_broken=on_broken,
                name=name,
            )
        )
    names = [corpus.name for corpus in corpora]
    if split == "train" and len(set(names)) < len(names):
        raise UsageError(
            f"--trainpref {' '.join(prefixes)}: give each a name of its own: "
            f"{' '.join(f'--trainpref {name}={prefix}' for name, prefix in zip('ab', prefixes, strict=False))}"
        )
    return corpora


def _name_and_path(prefix: str, endings: Sequence[str]) -> tuple[str, str]:
    """The name and the path of news=text/news; a path that is there has no name, whatever = is in it."""
    match = _NAMED.fullmatch(prefix)
    if match is None or any(_find(prefix, ending) for ending in endings):
        return MAIN, prefix
    return match[1], match[2]


def _find(prefix: str, wanted: str) -> Path | None:
    path = Path(f"{prefix}.{wanted}")
    candidates = (path, *(Path(f"{path}{ending}") for ending in COMPRESSED))
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _with_ending(prefix: str, wanted: str, *, named: str) -> Path:
    """The file of a prefix; `named`: the prefix as it was given, perhaps with a name before it."""
    found = _find(prefix, wanted)
    if found is not None:
        return found
    path = Path(f"{prefix}.{wanted}")
    stem = Path(prefix).name + "."
    folder = path.parent
    names = folder.iterdir() if folder.is_dir() else ()
    endings = sorted({entry.name.removeprefix(stem) for entry in names if entry.name.startswith(stem)})
    there = f"; found with this prefix: {', '.join(endings)}" if endings else "; nothing has this prefix"
    if named != prefix:
        there += f", nor {named}, whose beginning was taken as a name"
    raise DataError(f"{path}: no such file{there}")


def is_held_out(pair: Pair, fraction: float) -> bool:
    """Whether a training pair belongs to validation: a hash of its text, so equal pairs stay together.

    So do the pairs of a dialogue.
    """
    text = pair.dialogue or f"{pair.source}\n{pair.target}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64
