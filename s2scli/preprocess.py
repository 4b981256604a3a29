"""`s2s preprocess`: raw text, recordings and features to a dataset folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from s2scli.checkpoint_file import BEST, LAST, find_checkpoint
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import notice
from s2scli.data.assembly import Assembly
from s2scli.data.consistency import check_settings
from s2scli.data.corpora import find_corpora
from s2scli.data.corpus import Corpus
from s2scli.data.dataset_writer import DatasetWriter, write_dataset
from s2scli.data.dialogue import DialogueForm, speaker_symbol
from s2scli.data.dialogue_corpus import DialogueCorpus, find_speakers
from s2scli.data.duplicates import Flags
from s2scli.data.forms import Forms
from s2scli.data.frame_encoding import settled_form
from s2scli.data.learning import learn_tokenizers, with_counts
from s2scli.data.lexical import learn_shortlist
from s2scli.data.merging import merge_parts, part_folder
from s2scli.data.meta import FORMAT, VERSION, read_meta
from s2scli.data.outcome import PreprocessResult, tell
from s2scli.data.selection import UNLIKE, leave_out_unlike
from s2scli.data.source_form import SourceForm
from s2scli.data.split import Split
from s2scli.data.split_writer import SplitWriter
from s2scli.data.spool import spooled
from s2scli.errors import UsageError, did_you_mean
from s2scli.features.form import FeatureForm, TooLargeError
from s2scli.files import DATASET_META, check_no_folder, keep_inputs
from s2scli.io import can_be_read_again, write_named
from s2scli.needs import note_needs
from s2scli.record import to_json_text
from s2scli.schema import as_dict, names_that_decide
from s2scli.text.tokenizer import Tokenizer, check_user_symbols
from s2scli.text.vocabulary import entry_of


def preprocess(config: PreprocessConfig) -> PreprocessResult:
    """Learn the tokenizers from the training text, encode every split, and write the dataset folder.

    A repeated command goes on where it was killed. Raises UsageError for settings that contradict each other and
    DataError for text that cannot be used.
    """
    note_needs(config)
    config = config.settled()
    if config.merge:
        return _merge(config)
    try:
        return _make(config)
    except TooLargeError as error:
        paths = (path for corpus in find_corpora(config) for path in corpus.paths)
        if config.feature_dtype != "auto" or not all(map(can_be_read_again, paths)):
            raise
        notice(f"{error.args[0].partition(';')[0]}; all are stored in float32")
        return _make(replace(config, feature_dtype="float32"))


def _make(config: PreprocessConfig) -> PreprocessResult:
    """Make a dataset of what is given, or a part of it."""
    is_part = config.num_shards > 1
    destdir = part_folder(config.destdir, *_part(config)) if is_part else config.destdir
    corpora = find_corpora(config)
    for flag, output in (("--report", config.report), ("--rejects", config.rejects)):
        check_no_folder(flag, output)
        keep_inputs(flag, output, [path for corpus in corpora for path in corpus.paths])
    check_settings(config, {corpus.split for corpus in corpora})
    fingerprint = _fingerprint(config, corpora)
    with write_dataset(destdir, fingerprint, overwrite=config.overwrite) as writer:
        changed = _changed_settings(config, destdir)
        corpora = [spooled(corpus, writer.folder) for corpus in corpora]
        num_lines = {corpus.key: corpus.count() for corpus in corpora}
        form = _source_form(config, corpora)
        corpora = [corpus.with_form(form.dialogue) for corpus in corpora]
        features = None if config.has_text_source else settled_form(config, corpora)
        tokenizers = learn_tokenizers(config, corpora, num_lines, form, writer)
        forms = Forms(tokenizers, form, features)
        assembly = Assembly(
            config, corpora, num_lines, forms, writer, fingerprint, _left_out(config, corpora)
        )
        assembly.run()
        if "train" in assembly.splits and not is_part:
            assembly.check_what_is_left()
            tokenizers = _counted(config, assembly, tokenizers)
        for side, tokenizer in tokenizers.items():
            writer.write_tokenizer(side, tokenizer)
        num_read = Counter[str]()
        for corpus in corpora:
            num_read[corpus.split] += num_lines[corpus.key]
        # What only all of the training data tells is for the command that merges the parts.
        forms = Forms(tokenizers, form, features if is_part else assembly.with_statistics(features))
        result = _result(destdir, num_read, assembly, forms)
        meta = _meta(config, forms, assembly.splits, result)
        meta |= _of_part(config, assembly) if is_part else _shortlist(config, writer, meta, result)
        _write_beside(config, assembly, meta, result)
        for corpus in corpora:
            for spool in corpus.spools:
                spool.unlink(missing_ok=True)
        writer.write_meta(meta)
    if changed:
        notice(f"{destdir}: in place of a dataset with another {', '.join(changed)}")
    tell(config, result)
    return result


def _left_out(config: PreprocessConfig, corpora: list[Corpus]) -> dict[str, Flags]:
    """The training pairs that are left out because language models say so; UsageError for models that are none."""
    if config.select_lm is None or config.select_against is None:
        return {}
    from s2scli.inference.forced import ForcedScores  # with torch, which nothing else here needs

    training = [corpus for corpus in corpora if corpus.split == "train"]
    names = [corpus.name for corpus in training]
    for name in config.select_from:
        if name not in names:
            raise UsageError(
                f"--select-from {name}: no training text has that name{did_you_mean(name, names)}"
            )
    if config.select_side not in config.sides:
        raise UsageError(
            f"--select-side {config.select_side}: there is none; the text has {' and '.join(config.sides)}"
        )
    scorers = []
    for flag, path in (("--select-lm", config.select_lm), ("--select-against", config.select_against)):
        scorer = ForcedScores(path, are_raw=True)
        if scorer.reads_source:
            raise UsageError(f"{flag} {path}: reads a source, so it is no language model")
        scorers.append(partial(scorer, sources=()))
    like, other = scorers
    chosen = [corpus for corpus in training if not config.select_from or corpus.name in config.select_from]
    return {UNLIKE: leave_out_unlike(chosen, config.select_side, like, other, config.select_fraction)}


def _changed_settings(config: PreprocessConfig, destdir: Path) -> list[str]:
    """The settings in which the dataset differs from the one that it takes the place of, if there is one."""
    before = (read_meta(destdir) or {}).get("settings", {})
    now = json.loads(to_json_text(_settings(config)))
    return [name for name in {**before, **now} if before and before.get(name) != now.get(name)]


def _part(config: PreprocessConfig) -> tuple[int, int]:
    """Which part of the dataset a command with --num-shards makes, and how many there are."""
    return config.shard_id, config.num_shards


def _of_part(config: PreprocessConfig, assembly: Assembly) -> dict[str, Any]:
    """What meta.json says of a part of a dataset alone."""
    statistics = assembly.statistics
    return {"part": _part(config)} | ({"statistics": statistics.to_json()} if statistics else {})


def _counted(
    config: PreprocessConfig, assembly: Assembly, tokenizers: dict[str, Tokenizer]
) -> dict[str, Tokenizer]:
    """The tokenizers with the counts of their symbols in the training split; words have theirs from learning."""
    if config.tokenizer != "sentencepiece":
        return tokenizers
    learnt = {side: item for side, item in tokenizers.items() if side not in config.given_vocabularies}
    counts = assembly.splits["train"].token_counts
    return tokenizers | with_counts(learnt, counts, joined=config.joined_dictionary)


def _shortlist(
    config: PreprocessConfig, writer: DatasetWriter, meta: Mapping[str, Any], result: PreprocessResult
) -> dict[str, Any]:
    """Learn and write the shortlist table if it is asked for; returns what meta.json says of it."""
    if not config.shortlist:
        return {}
    train = Split(writer.folder, "train", meta)
    table = learn_shortlist(train, result.vocabulary_sizes, config.shortlist)
    return {"shortlist": writer.write_shortlist(table)}


def _merge(config: PreprocessConfig) -> PreprocessResult:
    """Join the parts that jobs with --num-shards have made."""
    meta = merge_parts(config.destdir, overwrite=config.overwrite)
    splits = meta["splits"]
    figures = ("num_examples", "num_tokens", "num_unknown", "dropped", "truncated", "truncated_tokens")
    sizes = {side: tokenizer["size"] for side, tokenizer in meta["tokenizers"].items()}
    values: dict[str, Any] = {name: {split: splits[split][name] for split in splits} for name in figures}
    if form := meta["columns"].get("source", {}).get("features"):
        values["features"] = FeatureForm.from_meta(form)
        values["sources"] = {split: splits[split]["sources"] for split in splits}
    result = PreprocessResult(destdir=config.destdir, num_lines={}, vocabulary_sizes=sizes, **values)
    tell(config, result)
    return result


def _write_beside(
    config: PreprocessConfig, assembly: Assembly, meta: Mapping[str, Any], result: PreprocessResult
) -> None:
    """Write the rejects and the report that were asked for."""
    if config.rejects is not None:
        with write_named(config.rejects) as temporary:
            shutil.copyfile(assembly.rejects, temporary)
    assembly.rejects.unlink()
    if config.report is not None:
        with write_named(config.report) as temporary:
            temporary.write_text(_to_json(_report(meta, result, assembly.samples)), encoding="utf-8")


def _fingerprint(config: PreprocessConfig, corpora: list[Corpus]) -> str:
    """A hash of the settings and of the files' sizes and times; what comes through a pipe is never the same twice."""
    paths = [path for corpus in corpora for path in corpus.paths]
    paths += [find_checkpoint(path) for path in (config.select_lm, config.select_against) if path is not None]
    # Vocabularies, models of tokenizers and lists of words: another file of the same name is another command.
    given = [getattr(config, name) for name in sorted(names_that_decide(type(config)))]
    paths += [_read_of(path) for path in given if isinstance(path, Path) and path not in paths]
    files: list[Any] = []
    for path in paths:
        stat = path.stat() if can_be_read_again(path) else None
        files.append(
            [str(path), *((stat.st_size, stat.st_mtime_ns) if stat else (os.getpid(), time.time_ns()))]
        )
    facts = [VERSION, _settings(config), _part(config), config.rejects is not None, files]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read_of(path: Path) -> Path:
    """The file that tells whether what a path names has changed: itself, or one of a dataset's or a run's folder."""
    return next((path / name for name in (DATASET_META, BEST, LAST) if (path / name).exists()), path)


def _source_form(config: PreprocessConfig, corpora: list[Corpus]) -> SourceForm:
    """What stands in a source beside its line."""
    tags: set[str] = set().union(*(corpus.tags() for corpus in corpora))
    return SourceForm(
        tags=check_user_symbols(sorted(tags), "--source-tag"),
        context_lines=config.context_lines,
        separator=check_user_symbols([config.context_separator], "--context-separator")[0],
        dialogue=_dialogue_form(config, corpora),
    )


def _dialogue_form(config: PreprocessConfig, corpora: list[Corpus]) -> DialogueForm | None:
    """How sources are made of turns; UsageError for symbols that cannot be."""
    if not isinstance(corpora[0], DialogueCorpus):
        return None
    form = corpora[0].form
    if config.speakers:
        dialogues = [corpus for corpus in corpora if isinstance(corpus, DialogueCorpus)]
        form = replace(form, speakers=find_speakers(dialogues))
    check_user_symbols(form.symbols, "--turn-symbol, --speakers")
    if form.symbol in map(speaker_symbol, form.speakers):
        raise UsageError(f"--turn-symbol {form.symbol}: is the symbol of a speaker; give another")
    return form


def _result(
    destdir: Path, num_lines: Mapping[str, int], assembly: Assembly, forms: Forms
) -> PreprocessResult:
    splits, tokenizers = assembly.splits, forms.tokenizers
    return PreprocessResult(
        destdir=destdir,
        num_lines=dict(num_lines),
        num_examples={name: split.num_examples for name, split in splits.items()},
        num_tokens={
            name: {side: int(split.token_counts[side].sum()) for side in tokenizers}
            for name, split in splits.items()
        },
        num_unknown={
            name: {
                side: int(split.token_counts[side][tokenizer.special.unknown])
                for side, tokenizer in tokenizers.items()
            }
            for name, split in splits.items()
        },
        dropped={name: dict(sorted(assembly.dropped.items())) if name == "train" else {} for name in splits},
        truncated={name: dict(sorted(assembly.truncated[name].items())) for name in splits},
        truncated_tokens={name: dict(sorted(assembly.truncated_tokens[name].items())) for name in splits},
        vocabulary_sizes={side: len(tokenizer) for side, tokenizer in tokenizers.items()},
        sources={name: dict(sorted(assembly.sources[name].items())) for name in splits},
        features=forms.features,
    )


def _source_lang(config: PreprocessConfig) -> str | None:
    """The source language, where it is said."""
    return config.target_lang if config.is_of_one_language else config.source_lang


def _without_folder(prefix: str) -> str:
    """news=/data/news → news=news."""
    name, equals, path = prefix.rpartition("=")
    return f"{name}{equals}{Path(path).name}"


def _settings(config: PreprocessConfig) -> dict[str, Any]:
    """The settings that decide what is in the dataset; of a path only the name, so that folders can move."""
    decisive = names_that_decide(type(config))
    values = {name: value for name, value in as_dict(config).items() if name in decisive}
    for name in ("trainpref", "validpref", "testpref"):
        if name in values:
            values[name] = [_without_folder(prefix) for prefix in values[name]]
    return {
        name: Path(value).name if isinstance(getattr(config, name), Path) else value
        for name, value in values.items()
    }


def _meta(
    config: PreprocessConfig, forms: Forms, splits: Mapping[str, SplitWriter], result: PreprocessResult
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "source_lang": "" if config.only_target else _source_lang(config) or "source",
        "target_lang": config.target_lang or "target",
        "columns": forms.to_meta(),
        "source_form": forms.source.to_meta(),
        "tokenizers": {
            side: {
                "kind": tokenizer.kind,
                "size": len(tokenizer),
                "fingerprint": tokenizer.fingerprint,
                "vocabulary_fingerprint": tokenizer.vocabulary.fingerprint,
                **entry_of(tokenizer.special),
            }
            for side, tokenizer in forms.tokenizers.items()
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
                "truncated_tokens": result.truncated_tokens[name],
                **({"sources": result.sources[name]} if forms.features else {}),
                "corpora": split.close(),
            }
            for name, split in splits.items()
        },
        "settings": _settings(config),
    }


def _to_json(values: Any) -> str:
    return f"{to_json_text(values, indent=2)}\n"


def _report(
    meta: Mapping[str, Any], result: PreprocessResult, samples: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """What --report writes: what was read, kept, left out and cut, with samples of what was left out."""
    names = ("num_examples", "num_tokens", "num_unknown", "dropped", "truncated", "truncated_tokens")
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
