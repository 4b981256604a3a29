"""`s2s preprocess`: raw text to a dataset folder."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import counter, notice, progress
from s2scli.data.corpus import SIDES, Corpus, find_corpora, is_held_out
from s2scli.data.dataset import FORMAT, VERSION, ids_dtype, tokenizer_file
from s2scli.data.dataset_writer import CORPUS, DatasetWriter, SplitWriter, check_destination, write_dataset
from s2scli.data.duplicates import find_duplicates
from s2scli.data.encoding import EncodedChunk, Lines, chunks, encode_all
from s2scli.errors import DataError, UsageError
from s2scli.io import STDIN, explain_write_errors, open_input, read_lines, write_atomically
from s2scli.schema import as_dict
from s2scli.text import TOKENIZERS
from s2scli.text.normalization import Normalization, user_symbol_pattern
from s2scli.text.tokenizer import Corpus as LearningText
from s2scli.text.tokenizer import LearningSettings, Tokenizer, check_user_symbols, load_tokenizer
from s2scli.text.vocabulary import NUM_SPECIAL, UNK, Vocabulary, read_dict_txt

# Seconds between two notes of how far the work is, which a killed process goes on from.
_NOTE_EVERY = 10.0
# Samples of each reason in a report.
_SAMPLES = 5


@dataclass(frozen=True)
class PreprocessResult:
    """What was written; every mapping but the last has the split as its key.

    num_lines: pairs read. dropped: training pairs left out, by reason; truncated: sentences cut, by side.
    vocabulary_sizes: by side, special symbols included.
    """

    destdir: Path
    num_lines: dict[str, int]
    num_examples: dict[str, int]
    num_tokens: dict[str, dict[str, int]]
    num_unknown: dict[str, dict[str, int]]
    dropped: dict[str, dict[str, int]]
    truncated: dict[str, dict[str, int]]
    vocabulary_sizes: dict[str, int]


def preprocess(config: PreprocessConfig) -> PreprocessResult:
    """Learn the tokenizers from the training text, encode every split, and write the dataset folder.

    A repeated command goes on where it was killed. Raises UsageError for settings that contradict each other and
    DataError for text that cannot be used.
    """
    check_destination(config.destdir, overwrite=config.overwrite)
    corpora = find_corpora(config)
    _check(config, {corpus.split for corpus in corpora})
    with write_dataset(config.destdir, _fingerprint(config, corpora), overwrite=config.overwrite) as writer:
        corpora = [_spooled(corpus, writer.folder) for corpus in corpora]
        num_lines = {corpus.split: corpus.count() for corpus in corpora}
        tokenizers = _tokenizers(config, corpora, num_lines, writer)
        sizes = {side: len(tokenizers[side]) for side in SIDES}
        encoding = _Encoding(config, corpora, num_lines, tokenizers, writer)
        encoding.run()
        if "train" in num_lines:
            encoding.check_what_is_left()
        splits = encoding.splits
        if config.tokenizer == "sentencepiece":
            tokenizers = _with_counts(config, tokenizers, splits["train"].token_counts)
        for side in SIDES:
            writer.write_tokenizer(side, tokenizers[side])
        result = _result(config, num_lines, encoding, sizes)
        meta = _meta(config, tokenizers, splits, result)
        if config.rejects is not None:
            with write_atomically(config.rejects) as temporary:
                shutil.copyfile(encoding.rejects, temporary)
        encoding.rejects.unlink()
        if config.report is not None:
            with write_atomically(config.report) as temporary:
                temporary.write_text(_to_json(_report(meta, result, encoding.samples)), encoding="utf-8")
        for corpus in corpora:
            if corpus.paths[0].parent == writer.folder:
                corpus.paths[0].unlink()
        writer.write_meta(meta)
    _tell(config, result)
    return result


def _fingerprint(config: PreprocessConfig, corpora: list[Corpus]) -> str:
    """A hash of the settings and of the files' sizes and times; standard input is never the same twice."""
    files: list[Any] = []
    for path in (path for corpus in corpora for path in corpus.paths):
        stat = None if path == STDIN else path.stat()
        files.append(
            [str(path), *((stat.st_size, stat.st_mtime_ns) if stat else (os.getpid(), time.time_ns()))]
        )
    facts = [VERSION, _settings(config), config.rejects is not None, files]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _spooled(corpus: Corpus, folder: Path) -> Corpus:
    """The corpus with a file in place of standard input, since text is read more than once."""
    if corpus.paths != (STDIN,):
        return corpus
    path = folder / f"stdin.{corpus.split}"
    with explain_write_errors(path), open_input(STDIN) as stream, path.open("wb") as spool:
        shutil.copyfileobj(stream, spool, 1 << 20)
    return replace(corpus, paths=(path,))


def _check(config: PreprocessConfig, splits: set[str]) -> None:
    if not splits:
        raise UsageError(
            "no text given: --trainpref P, with --source-lang and --target-lang, or --train-source …"
        )
    if config.valid_fraction and "valid" in splits:
        raise UsageError(
            "--valid-fraction holds out training pairs for validation, but validation files are given"
        )
    if config.srcdict and config.tgtdict and config.joined_dictionary:
        raise UsageError("--joined-dictionary takes one vocabulary: give --srcdict or --tgtdict, not both")
    if config.joined_dictionary and config.thresholdtgt not in (0, config.thresholdsrc):
        raise UsageError(
            "with --joined-dictionary --thresholdsrc holds for both sides; leave --thresholdtgt out"
        )
    if config.joined_dictionary and config.nwordstgt not in (-1, config.nwordssrc):
        raise UsageError("with --joined-dictionary --nwordssrc holds for both sides; leave --nwordstgt out")
    if "train" in splits:
        return
    if config.valid_fraction:
        raise UsageError("--valid-fraction holds out training pairs, but no training files are given")
    if config.tokenizer == "sentencepiece":
        raise UsageError(
            "--tokenizer sentencepiece learns from training text, so give --trainpref; "
            "to translate text with a trained model, pass the raw text to s2s generate"
        )
    given = [dictionary for dictionary in (config.srcdict, config.tgtdict) if dictionary]
    if len(given) < (1 if config.joined_dictionary else 2):
        raise UsageError("without training files both --srcdict and --tgtdict are needed")


def _normalization(config: PreprocessConfig, side: str) -> Normalization:
    """The normalization of a side: the general settings unless it has its own."""

    def setting(name: str) -> Any:
        own = getattr(config, f"{side}_{name}")
        return getattr(config, name) if own is None else own

    stopwords: Path | None = setting("stopwords")
    words = (line.strip() for line in read_lines(stopwords)) if stopwords else ()
    return Normalization(
        unicode_normalization=setting("unicode_normalization"),
        lowercase=setting("lowercase"),
        strip_punctuation=setting("strip_punctuation"),
        stopwords=tuple(sorted({word for word in words if word})),
    )


def _lines(
    config: PreprocessConfig,
    train: Corpus,
    normalizations: Mapping[str, Normalization],
    every: int,
    total: int,
) -> LearningText:
    """The training lines of the given sides, normalized; those held out for validation are not among them.

    every: SentencePiece, which holds its training text in memory, sees an even selection.
    """
    pattern = user_symbol_pattern(config.user_symbols)

    def lines() -> Iterator[list[str]]:
        for side, normalization in normalizations.items():
            raw = enumerate(train.raw_lines(), start=1)
            description = f"{side} vocabulary"
            for number, line in progress(
                islice(raw, 0, None, every), description=description, total=total // every
            ):
                pair = train.parse(line, number)
                held_out = config.valid_fraction and is_held_out(*pair[:2], config.valid_fraction)
                if not held_out and not pair.problem:
                    yield normalization.split(pair[SIDES.index(side)], pattern)

    return lines


def _tokenizers(
    config: PreprocessConfig, corpora: list[Corpus], num_lines: Mapping[str, int], writer: DatasetWriter
) -> dict[str, Tokenizer]:
    """Learn the tokenizers, or take those that a killed process has learnt."""
    if writer.progress is not None:
        return {side: load_tokenizer((writer.folder / tokenizer_file(side)).read_bytes()) for side in SIDES}
    tokenizers = _learn(config, corpora, num_lines)
    for side in SIDES:
        writer.write_tokenizer(side, tokenizers[side])
    return tokenizers


def _learn(
    config: PreprocessConfig, corpora: list[Corpus], num_lines: Mapping[str, int]
) -> dict[str, Tokenizer]:
    """Learn a tokenizer for each side, or one for both, from the training text."""
    user_symbols = check_user_symbols(config.user_symbols)
    normalizations = {side: _normalization(config, side) for side in SIDES}
    train = next((corpus for corpus in corpora if corpus.split == "train"), None)

    def learn(name: str, sides: tuple[str, ...], dictionary: Path | None, suffix: str) -> Tokenizer:
        total = num_lines.get("train", 0)
        used = {side: normalizations[side] for side in sides}
        sampled = config.tokenizer == "sentencepiece" and config.vocab_sample > 0
        every = math.ceil(total * len(sides) / config.vocab_sample) or 1 if sampled else 1
        if every > 1:
            notice(
                f"{name}: SentencePiece learns from every {every}th line of the training text (--vocab-sample)"
            )
        settings = LearningSettings(
            name=name,
            vocab_size=config.vocab_size,
            sentencepiece_model=config.sentencepiece_model,
            character_coverage=config.character_coverage,
            threshold=getattr(config, f"threshold{suffix}"),
            num_words=getattr(config, f"nwords{suffix}"),
            dictionary=read_dict_txt(dictionary) if dictionary else None,
            user_symbols=user_symbols,
        )
        text: LearningText = _lines(config, train, used, every, total) if train else lambda: iter(())
        tokenizer: Tokenizer = TOKENIZERS[config.tokenizer].learn(text, settings, normalizations[sides[0]])
        return tokenizer

    if config.joined_dictionary:
        joined = learn("joined vocabulary", SIDES, config.srcdict or config.tgtdict, "src")
        return {side: joined.replace(normalization=normalizations[side]) for side in SIDES}
    return {
        "source": learn("source vocabulary", ("source",), config.srcdict, "src"),
        "target": learn("target vocabulary", ("target",), config.tgtdict, "tgt"),
    }


class _Encoding:
    """Writes every split, and counts what was left out and cut.

    dropped: training pairs left out, by reason; truncated: sentences cut, by split and side; samples: the first rejects
    of each reason. rejects: the file of all of them, if it is asked for.
    """

    def __init__(
        self,
        config: PreprocessConfig,
        corpora: list[Corpus],
        num_lines: Mapping[str, int],
        tokenizers: Mapping[str, Tokenizer],
        writer: DatasetWriter,
    ) -> None:
        self._config, self._corpora, self._num_lines = config, corpora, num_lines
        self._tokenizers, self._writer = tokenizers, writer
        self._fingerprint = _fingerprint(config, corpora)
        names = [corpus.split for corpus in corpora]
        if config.valid_fraction:
            names.insert(1, "valid")
        sizes = {side: len(tokenizers[side]) for side in SIDES}
        self.splits = {name: writer.split(name, sizes, config.shard_size) for name in names}
        before = writer.progress or {}
        self._done: dict[str, int] = dict(before.get("done", {}))
        self.dropped = Counter[str](before.get("dropped", {}))
        self.truncated = {name: Counter[str](before.get("truncated", {}).get(name, {})) for name in names}
        self.samples: dict[str, list[dict[str, Any]]] = dict(before.get("samples", {}))
        self.rejects = writer.folder / "rejects.jsonl"
        self._rejects_size: int = before.get("rejects_size", 0)

    def run(self) -> None:
        """Encode what is left to be encoded."""
        noted = time.monotonic()
        if self._done:
            notice(
                f"going on after {sum(self._done.values()):,} lines, which a process that was killed has done"
            )
        with self.rejects.open("r+b" if self._rejects_size else "wb") as stream:
            stream.truncate(self._rejects_size)
            stream.seek(self._rejects_size)
            for chunk in encode_all(self._work(), self._config, self._tokenizers):
                self._take(chunk, stream)
                if time.monotonic() - noted > _NOTE_EVERY:
                    self._note(stream)
                    noted = time.monotonic()

    def _work(self) -> Iterator[Lines]:
        """The lines of all corpora that are not done, in order, with a bar that shows how far they are read."""
        for corpus in self._corpora:
            repeated = None
            if corpus.split == "train" and self._config.filter_duplicates != "none":
                scratch = self._writer.folder / "hashes"
                repeated = find_duplicates(corpus, self._config.filter_duplicates, scratch)
            done, total = self._done.get(corpus.split, 0), self._num_lines[corpus.split]
            with counter(f"encoding {corpus.split}", total=total, initial=done) as count:
                for lines in chunks(corpus, done, repeated):
                    yield lines
                    count(len(lines.raw))

    def _take(self, chunk: EncodedChunk, stream: BinaryIO) -> None:
        """Write a chunk and add up its figures."""
        for split, columns in chunk.columns.items():
            self.splits[split].append(columns)
        self._done[chunk.corpus] = self._done.get(chunk.corpus, 0) + chunk.num_lines
        self.dropped.update(chunk.dropped)
        for split, cut in chunk.truncated.items():
            self.truncated[split].update(cut)
        for reject in chunk.rejects:
            seen = self.samples.setdefault(reject.reason, [])
            if len(seen) < _SAMPLES:
                seen.append(reject._asdict())
            if self._config.rejects is not None:
                with explain_write_errors(self.rejects):
                    stream.write(f"{json.dumps(reject._asdict(), ensure_ascii=False)}\n".encode())

    def _note(self, stream: BinaryIO) -> None:
        """Note how far the work is."""
        with explain_write_errors(self.rejects):
            stream.flush()
        self._writer.save_progress(
            {
                "fingerprint": self._fingerprint,
                "done": self._done,
                "splits": {name: split.state() for name, split in self.splits.items()},
                "dropped": self.dropped,
                "truncated": self.truncated,
                "samples": self.samples,
                "rejects_size": stream.tell(),
            }
        )

    def check_what_is_left(self) -> None:
        """DataError where no training pair is left, or none is held out that should be."""
        if not self.splits["train"].num_examples:
            reasons = ", ".join(_reasons(self.dropped)) or "all are held out for validation"
            raise DataError(f"no training pair is left: {reasons}")
        if self._config.valid_fraction and not self.splits["valid"].num_examples:
            raise DataError(
                f"--valid-fraction {self._config.valid_fraction:g} holds out none of the training pairs; raise it"
            )


def _with_counts(
    config: PreprocessConfig, tokenizers: Mapping[str, Tokenizer], counts: dict[str, npt.NDArray[np.int64]]
) -> dict[str, Tokenizer]:
    """The tokenizers with the number of times each subword is in the training split."""
    if config.joined_dictionary:
        counts = dict.fromkeys(SIDES, counts["source"] + counts["target"])
    return {
        side: tokenizer.replace(
            vocabulary=Vocabulary(tokenizer.vocabulary.ordinary_symbols, counts[side][NUM_SPECIAL:].tolist())
        )
        for side, tokenizer in tokenizers.items()
    }


def _result(
    config: PreprocessConfig, num_lines: Mapping[str, int], encoding: _Encoding, sizes: dict[str, int]
) -> PreprocessResult:
    splits = encoding.splits
    return PreprocessResult(
        destdir=config.destdir,
        num_lines=dict(num_lines),
        num_examples={name: split.num_examples for name, split in splits.items()},
        num_tokens={
            name: {side: int(split.token_counts[side].sum()) for side in SIDES}
            for name, split in splits.items()
        },
        num_unknown={
            name: {side: int(split.token_counts[side][UNK]) for side in SIDES}
            for name, split in splits.items()
        },
        dropped={name: dict(sorted(encoding.dropped.items())) if name == "train" else {} for name in splits},
        truncated={name: dict(sorted(encoding.truncated[name].items())) for name in splits},
        vocabulary_sizes=sizes,
    )


def _settings(config: PreprocessConfig) -> dict[str, Any]:
    """The settings that decide what is in the dataset; of a path only the name, so that folders can move."""
    values = as_dict(config)
    for name in ("destdir", "workers", "overwrite", "report", "rejects"):
        values.pop(name, None)
    for name in ("trainpref", "validpref", "testpref"):
        if name in values:
            values[name] = ",".join(Path(prefix.strip()).name for prefix in values[name].split(","))
    return {
        name: Path(value).name if isinstance(getattr(config, name), Path) else value
        for name, value in values.items()
    }


def _meta(
    config: PreprocessConfig,
    tokenizers: Mapping[str, Tokenizer],
    splits: Mapping[str, SplitWriter],
    result: PreprocessResult,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "source_lang": config.source_lang or "source",
        "target_lang": config.target_lang or "target",
        "columns": {
            side: {"kind": "text", "dtype": ids_dtype(len(tokenizers[side])).name, "tokenizer": side}
            for side in SIDES
        },
        "tokenizers": {
            side: {
                "kind": tokenizer.kind,
                "size": len(tokenizer),
                "fingerprint": tokenizer.fingerprint,
                "vocabulary_fingerprint": tokenizer.vocabulary.fingerprint,
            }
            for side, tokenizer in tokenizers.items()
        },
        "limits": {
            "max_source_length": config.max_source_length,
            "max_target_length": config.max_target_length,
            "on_long": config.on_long,
        },
        "splits": {
            name: {
                "num_examples": result.num_examples[name],
                "num_tokens": result.num_tokens[name],
                "num_unknown": result.num_unknown[name],
                "dropped": result.dropped[name],
                "truncated": result.truncated[name],
                "corpora": [{"name": CORPUS, "shards": split.close()}],
            }
            for name, split in splits.items()
        },
        "settings": _settings(config),
    }


def _to_json(values: Any) -> str:
    return f"{json.dumps(values, ensure_ascii=False, indent=2)}\n"


def _report(
    meta: Mapping[str, Any], result: PreprocessResult, samples: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """What --report writes: what was read, kept, left out and cut, with samples of what was left out."""
    names = ("num_examples", "num_tokens", "num_unknown", "dropped", "truncated")
    splits = {split: {name: values[name] for name in names} for split, values in meta["splits"].items()}
    for split, number in result.num_lines.items():
        splits[split]["num_lines"] = number
    return {
        "destdir": str(result.destdir),
        "settings": meta["settings"],
        "vocabulary_sizes": result.vocabulary_sizes,
        "splits": splits,
        "samples": dict(sorted(samples.items())),
    }


def _reasons(dropped: Mapping[str, int]) -> list[str]:
    return [f"{reason} {number:,}" for reason, number in sorted(dropped.items())]


def _tell(config: PreprocessConfig, result: PreprocessResult) -> None:
    """Tell the user what was dropped, cut and written."""
    for split, dropped in result.dropped.items():
        if dropped:
            notice(f"{split}: left out {sum(dropped.values())} pairs: {', '.join(_reasons(dropped))}")
    for split, cut in result.truncated.items():
        for side, number in cut.items():
            limit = getattr(config, f"max_{side}_length")
            notice(f"{split}: cut {number} {side} sentences to {limit} tokens")
    if config.valid_fraction:
        notice(f"valid: {result.num_examples['valid']} pairs held out of the training data")
    for split, number in result.num_examples.items():
        sides = []
        for side in SIDES:
            tokens = result.num_tokens[split][side]
            share = 100 * result.num_unknown[split][side] / max(1, tokens)
            sides.append(f"{side} {tokens} tokens, {share:.2f}% unknown")
        notice(f"{split}: {number} pairs; {'; '.join(sides)}")
    if "train" in result.num_examples and "valid" not in result.num_examples:
        notice(
            "no validation data: --validpref names some, --valid-fraction 0.02 holds out some training pairs"
        )
    sizes = ", ".join(f"{side} {size}" for side, size in result.vocabulary_sizes.items())
    kind = "joined vocabulary" if config.joined_dictionary else "vocabularies"
    notice(f"{kind}: {sizes} symbols; dataset written to {result.destdir}")
