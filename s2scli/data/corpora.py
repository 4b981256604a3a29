"""Which text each split of a dataset is made of: the files that prefixes and explicit names mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import warn
from s2scli.data.corpus import MAIN, SIDES, Corpus
from s2scli.data.dialogue import DialogueForm
from s2scli.data.dialogue_corpus import LAYOUT, DialogueCorpus
from s2scli.data.line_corpus import LineCorpus
from s2scli.data.listed import TABLE, ListedCorpus
from s2scli.data.manifest import ManifestCorpus
from s2scli.data.source_form import language_symbol
from s2scli.errors import DataError, UsageError, did_you_mean
from s2scli.io import COMPRESSED, STDIN

_ONE_FILE = ("tsv", "jsonl")
# news=text/news; a path with a = in it has a folder or a dot before that.
_NAMED = re.compile(r"([\w-]+)=(.+)")


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
        if (source is None) != (target is None) and not config.reads_one_side:
            raise UsageError(f"--{split}-source and --{split}-target must be given together")
        if not config.has_text_source and prefixes:
            raise UsageError(
                f"{named[0]}: names text, and sources are {config.source_type}; name a manifest: --{split}-file x.tsv"
            )
        # Of validation and test sets every line counts, so none is left out.
        on_broken = (
            config.encoding_errors if split == "train" else config.encoding_errors.replace("skip", "replace")
        )
        if prefixes:
            corpora += _from_prefixes(split, prefixes, config, on_broken)
        elif both is not None:
            corpora.append(_from_one_file(split, both, config, on_broken))
        elif target is not None and config.reads_one_side:
            _check_exists(target)
            corpora.append(
                LineCorpus(
                    split=split,
                    paths=(target,),
                    fields=("target",),
                    on_broken=on_broken,
                    of_one_language=config.is_of_one_language,
                )
            )
        elif source is not None and target is not None:
            corpora.append(_from_two_files(split, (source, target), config, on_broken))
            if config.tag_field:
                raise UsageError(
                    f"--tag-field {config.tag_field}: is an ending after --trainpref P, or a field of a file with both "
                    f"sides; --{split}-source and --{split}-target have no tags"
                )
    return _with_tags(corpora, config)


def _with_tags(corpora: list[Corpus], config: PreprocessConfig) -> list[Corpus]:
    """The corpora with the tags of --encoder-langtok, or of --source-tag.

    Those are "<bt>" for all, or "back=<bt>" for training text of that name.
    """
    tags = config.source_tag
    if config.encoder_langtok != "none":
        if tags or config.tag_field:
            raise UsageError(
                f"--encoder-langtok {config.encoder_langtok}: a source has one tag; leave --source-tag and "
                "--tag-field out"
            )
        return [_with_language(corpus, config) for corpus in corpora]
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


def _with_language(corpus: Corpus, config: PreprocessConfig) -> Corpus:
    """A corpus whose tag is the symbol of its target's language."""
    language = corpus.target_lang or config.target_lang
    if not language:
        raise UsageError(
            f"--encoder-langtok {config.encoder_langtok}: the language of the {corpus.split} split is not said; give "
            "--target-lang, or name each text's: --trainpref en-de=P"
        )
    return replace(corpus, tag=language_symbol(language))


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
    if not config.has_text_source:
        return _manifest(split, path, layout, config, on_broken)
    if layout == LAYOUT:
        return DialogueCorpus(split=split, paths=(path,), on_broken=on_broken, form=_dialogue_form(config))
    default = ("1", "2") if layout == "tsv" else SIDES
    source, target = config.source_field or default[0], config.target_field or default[1]
    by_flag = {"source": source, "target": target, "tag": config.tag_field}
    if config.reads_one_side:
        # A file of one language has it in its first column.
        by_flag = {
            "target": config.target_field or ("1" if layout == "tsv" else "target"),
            "tag": config.tag_field,
        }
    names = tuple(name for name in by_flag.values() if name)
    return LineCorpus(
        split=split,
        paths=(path,),
        layout=layout,
        fields=names,
        on_broken=on_broken,
        of_one_language=config.is_of_one_language,
    )


def _manifest(split: str, path: Path, layout: str, config: PreprocessConfig, on_broken: str) -> Corpus:
    """A manifest of sources that are no text."""
    named = {what: getattr(config, f"{what}_field") for what in ("source", "target", "id", "start", "end")}
    return ManifestCorpus(
        split=split,
        paths=(path,),
        layout=layout,
        named={what: name for what, name in named.items() if name},
        on_broken=on_broken,
        on_broken_row=_on_broken_row(split, config),
    )


def _on_broken_row(split: str, config: PreprocessConfig) -> str:
    """What becomes of sources that cannot be read; of validation and test sets none is left out."""
    return config.broken_sources if split == "train" else "error"


def _dialogue_form(config: PreprocessConfig) -> DialogueForm:
    """How dialogues are read, before it is known who speaks in them."""
    return DialogueForm(
        context_turns=config.context_turns, symbol=config.turn_symbol, targets=config.target_speaker
    )


def _from_two_files(split: str, paths: tuple[Path, Path], config: PreprocessConfig, on_broken: str) -> Corpus:
    for side, path in zip(SIDES, paths, strict=True):
        if path == STDIN:
            raise UsageError(
                f"--{split}-{side}: standard input cannot be one of two files; give it as --{split}-file -, with both "
                "sides in each line"
            )
        _check_exists(path)
    if not config.has_text_source:
        layout = "scp" if paths[0].suffix == TABLE else "list"
        on_broken_row = _on_broken_row(split, config)
        return ListedCorpus(
            split=split,
            paths=paths,
            layout=layout,
            named={},
            on_broken=on_broken,
            on_broken_row=on_broken_row,
        )
    if paths[0].resolve() == paths[1].resolve():
        warn(f"{paths[0]}: is both source and target of the {split} split")
    return LineCorpus(split=split, paths=paths, on_broken=on_broken)


def _check_exists(path: Path) -> None:
    if path != STDIN and not path.exists():
        raise DataError(f"{path}: no such file")


def _from_prefixes(
    split: str, prefixes: Sequence[str], config: PreprocessConfig, on_broken: str
) -> list[Corpus]:
    corpora: list[Corpus] = []
    for number, prefix in enumerate(prefixes):
        languages = _languages(split, prefix, config)
        endings = (*languages, *((config.tag_field,) if config.tag_field else ()))
        # Several training texts are parts of one split; several test sets are splits of their own.
        has_name = split == "train" or not _said_languages(config)
        name, path = _name_and_path(prefix, endings) if has_name else (MAIN, prefix)
        corpora.append(
            LineCorpus(
                split=split if split == "train" else f"{split}{number or ''}",
                paths=tuple(_with_ending(path, ending, named=prefix) for ending in endings),
                on_broken=on_broken,
                name=name if split == "train" else MAIN,
                target_lang=languages[-1],
                fields=("target",) if config.reads_one_side else SIDES,
                of_one_language=config.is_of_one_language,
            )
        )
    names = [corpus.name for corpus in corpora]
    if split == "train" and len(set(names)) < len(names):
        raise UsageError(
            f"--trainpref {' '.join(prefixes)}: give each a name of its own: "
            f"{' '.join(f'--trainpref {name}={prefix}' for name, prefix in zip('ab', prefixes, strict=False))}"
        )
    return corpora


def _said_languages(config: PreprocessConfig) -> tuple[str, ...]:
    """The languages that --source-lang and --target-lang say, of the sides that are read."""
    languages = (config.target_lang,) if config.reads_one_side else (config.source_lang, config.target_lang)
    return tuple(language for language in languages if language)


def _languages(split: str, prefix: str, config: PreprocessConfig) -> tuple[str, ...]:
    """The languages of the files of a prefix, source and target, or the target alone.

    They are those that the flags say, or where these say none, those of the prefix's name: en-de=P.
    """
    said = _said_languages(config)
    number = 1 if config.reads_one_side else 2
    if not said:
        name = _NAMED.fullmatch(prefix)
        said = tuple(name[1].split("-", number - 1)) if name else ()
    if len(said) < number or not all(said):
        flags, example = (
            ("--target-lang", "de") if number == 1 else ("--source-lang and --target-lang", "en-de")
        )
        raise UsageError(
            f"--{split}pref needs {flags}, the endings of its files, or without those names that say them: "
            f"--{split}pref {example}={prefix}"
        )
    if len(set(said)) < number:
        raise UsageError(
            f"--{split}pref {prefix}: source and target language are both {said[0]}; their files would be the same"
        )
    return said


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
