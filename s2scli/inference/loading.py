"""Loading what a command that decodes needs: the model that its settings name as a translator, whatever computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2scli.checkpoint_file import EXPORTED, find_checkpoints
from s2scli.components import ENGINES
from s2scli.configs.generate import GenerateConfig
from s2scli.console import notice
from s2scli.data.exported import exported_tokenizers, read_exported
from s2scli.data.source_form import SourceForm
from s2scli.errors import UsageError
from s2scli.inference.encoding import check_prefix
from s2scli.inference.engine import Engine
from s2scli.inference.lexical_constraints import LexicalConstraints
from s2scli.inference.mbr import mbr_metric
from s2scli.inference.opened import OpenedModel
from s2scli.inference.reranking import Reranking, Scorer, is_backwards
from s2scli.inference.translator import Translator
from s2scli.text.pieces import NONE, recognize
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.word import WordTokenizer

if TYPE_CHECKING:
    from s2scli.features.form import FeatureForm
    from s2scli.inference.attention import AttentionResults

# How much longer than the longest line of training a line may be.
_BEYOND = 1.0


def open_model(path: Path) -> OpenedModel:
    """Open what --path means: a checkpoint, several with colons between them, or a folder that s2s export has written.

    Raises CheckpointError where it is broken, and UsageError where an exported model is one of several.
    """
    paths = find_checkpoints(path)
    exported = [item for item in paths if item.name == EXPORTED]
    if not exported:
        # Only checkpoints are for torch, which takes a second to import.
        from s2scli.inference.checkpoints import OpenedCheckpoints

        return OpenedCheckpoints.open(paths)
    if len(paths) > 1:
        raise UsageError(
            f"--path {path}: an ensemble is of checkpoints, and {exported[0].parent} was exported; give the run that "
            "it was made of"
        )
    path = exported[0]
    model = read_exported(path)
    opened: OpenedModel = ENGINES[model.engine](path, model, exported_tokenizers(path, model))
    return opened


def make_translator(config: GenerateConfig, opened: OpenedModel | None = None) -> Translator:
    """The translator of the model that the config names; opened: that model, where it has been opened already."""
    opened = opened or open_model(config.path)
    if config.adapter and opened.path.name == EXPORTED:
        raise UsageError(
            f"--adapter {config.adapter[0]}: an adapter is put beside a checkpoint's model, and {opened.path.parent} "
            "was exported; merge it before, s2s average --merge-adapter, and export that"
        )
    tokenizers, engine = _with_pieces(opened, config), opened.engine(config)
    opened = replace(opened, tokenizers=tokenizers)
    _check_settings(opened, engine, config)
    translator = _translator(opened, engine, config)
    return replace(translator, rerank=_reranking(opened, config)) if config.rerank_path else translator


def _reranking(opened: OpenedModel, config: GenerateConfig) -> Reranking:
    """What puts hypotheses into the order that the models of --rerank-path, too, find them in."""
    scorers, settings = [], config.of_scorers
    for path, weight in zip(config.rerank_path, config.rerank_weights, strict=True):
        other = open_model(path)
        backwards = is_backwards(opened.dataset, other.dataset, path)
        translator = _translator(other, other.scoring_engine(settings), settings, scores=True)
        if translator.engine.reads_source:
            _check_sources(opened, other)
        scorers.append(Scorer(translator=translator, weight=weight, backwards=backwards))
    return Reranking(
        scorers=scorers,
        form=SourceForm.from_meta(opened.dataset.get("source_form", {})),
        piece_kind=opened.tokenizers["target"].piece_kind,
    )


def _check_sources(searched: OpenedModel, scorer: OpenedModel) -> None:
    """CheckpointError where what scores outputs given their sources cannot read those as the other model does."""
    if searched.reads_frames or scorer.reads_frames:
        from s2scli.features.form import check_same_sources

        check_same_sources(searched.path, _features(searched), scorer.path, _features(scorer))


def _with_pieces(opened: OpenedModel, config: GenerateConfig) -> Mapping[str, Tokenizer]:
    """The tokenizers with the pieces of words that the config says; a notice where text looks as if it had some."""
    tokenizers, kind = opened.tokenizers, config.pieces
    target = tokenizers["target"]
    if kind is None:
        if isinstance(target, WordTokenizer) and target.told_pieces is None:
            _tell_of_pieces(opened.path, target)
        return tokenizers
    if not isinstance(target, WordTokenizer):
        raise UsageError(
            f"--pieces {kind}: {opened.path} has a {target.kind} tokenizer, which joins its own pieces; leave it out"
        )
    return {
        side: item.of_pieces(kind) if isinstance(item, WordTokenizer) else item
        for side, item in tokenizers.items()
    }


def _tell_of_pieces(path: Path, target: WordTokenizer) -> None:
    """A notice where a vocabulary looks as if outputs were in pieces of words."""
    kind, share = recognize(target.vocabulary.ordinary_symbols)
    if kind != NONE:
        notice(
            f"{path}: {share:.0%} of its target symbols are marked as pieces of words by {kind} are; --pieces {kind} "
            "joins them to words, --pieces none leaves them without a word"
        )


def _check_settings(opened: OpenedModel, engine: Engine, config: GenerateConfig) -> None:
    """UsageError for settings that the kind of model has no meaning for."""
    target = opened.tokenizers["target"]
    check_prefix(config.target_prefix, target, opened.path, right_to_left=opened.right_to_left)
    mbr_metric(config)
    if config.context_window and (engine.reads_source or opened.right_to_left):
        what = "writes from right to left" if opened.right_to_left else "translates"
        raise UsageError(
            f"--context-window {config.context_window}: is for language models that read from left to right, and "
            f"{opened.path} {what}; leave it out"
        )
    for name in ("constraints", "glossary", "exclude"):
        if opened.right_to_left and getattr(config, name) is not None:
            raise UsageError(
                f"--{name}: phrases are known from their beginning, and {opened.path} writes from right to left"
            )
    if config.glossary is not None and (opened.reads_frames or not engine.reads_source):
        what = "a source of frames has no words" if opened.reads_frames else "a language model has no source"
        raise UsageError(f"--glossary {config.glossary}: {what} that its terms could be in")
    if opened.reads_frames and config.replace_unk:
        raise UsageError(
            f"--replace-unk: puts words of the source into outputs, and {opened.path} reads frames, which have none; "
            "leave it out"
        )
    if not engine.reads_source and config.on_long == "split":
        raise UsageError(
            "--on-long split: a language model goes on with a line, and cannot with parts of it; give truncate"
        )


def _translator(
    opened: OpenedModel, engine: Engine, config: GenerateConfig, *, scores: bool = False
) -> Translator:
    """A translator that decodes as the config says, or `scores` given targets."""
    limits, on_long = _limits(opened, engine, config.on_long, scores=scores or config.score_reference)
    return Translator(
        engine=engine,
        tokenizers=opened.tokenizers,
        limits=limits,
        on_long=on_long,
        warns_of_parts=config.on_long is None,
        form=SourceForm.from_meta(opened.dataset.get("source_form", {})),
        constraints=LexicalConstraints(
            opened.tokenizers,
            ordered=config.constraints == "ordered",
            glossary=config.glossary,
            exclude=config.exclude,
            bad_tokens=config.bad_tokens,
        ),
        right_to_left=opened.right_to_left,
        scores_references=config.score_reference,
        search=config,
        batch_size=config.batch_size,
        max_tokens=config.max_tokens,
        attention=attention_results(config),
        context_window=config.context_window,
        features=_features(opened),
        adapters=() if scores or not config.chooses_adapters else tuple(config.adapters),
    )


def _features(opened: OpenedModel) -> FeatureForm | None:
    """What the frames are made of that a model reads; None where it reads text."""
    if not opened.reads_frames:
        return None
    from s2scli.features.form import FeatureForm

    return FeatureForm.of_source(opened.dataset)


def _limits(
    opened: OpenedModel, engine: Engine, on_long: str | None, *, scores: bool
) -> tuple[dict[str, Any], str | None]:
    """The limits of the lines that a model reads, and what becomes of longer ones where the config does not say it.

    Those of its dataset and of its positions hold as in training. Where neither is as tight, lines may be as long as
    the longest of training times `_BEYOND`; longer ones are split, or of a language model cut. A model that `scores`
    given targets reads all of their sources.
    """
    facts, reads_source = opened.dataset, engine.reads_source
    side = "source" if reads_source else "target"
    limits, name = dict(facts["limits"]), f"max_{side}_length"
    positions = engine.max_source_positions if reads_source else engine.max_target_positions
    others = [limit for limit in (limits.get(name, 0), positions and positions - 1) if limit]
    supported = 0 if scores else int(_BEYOND * facts.get("longest", {}).get(side, 0))
    if supported and supported < min(others, default=supported + 1):
        limits[name] = supported
        on_long = on_long or ("split" if reads_source else "truncate")
    # What is too long even in parts is cut.
    return limits | ({"on_long": "truncate"} if on_long in ("truncate", "split") else {}), on_long


def attention_results(config: GenerateConfig) -> AttentionResults | None:
    """What the config has computed from the attention; DataError for a dictionary that cannot be read."""
    if not config.reads_attention:
        return None
    from s2scli.inference.attention import AttentionResults, read_replacements

    dictionary = config.replace_unk_dictionary
    return AttentionResults(
        alignment=config.alignment_unit if config.print_alignment else "",
        weights=config.shows_attention,
        replaces_unknown=config.replace_unk,
        dictionary=read_replacements(dictionary) if dictionary else {},
    )
