"""Loading what a command that decodes needs: its checkpoints as one translator, over torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from s2scli.checkpoint import Checkpoint, check_vocabularies, load_checkpoint, restore_model
from s2scli.checkpoint_file import find_checkpoints
from s2scli.configs.generate import GenerateConfig
from s2scli.console import notice
from s2scli.data.shortlist import ChosenShortlist
from s2scli.data.source_form import SourceForm
from s2scli.errors import CheckpointError, UsageError
from s2scli.inference.attention import AttentionResults, read_replacements
from s2scli.inference.encoding import check_prefix
from s2scli.inference.lexical_constraints import LexicalConstraints
from s2scli.inference.reranking import Reranking, Scorer, is_backwards
from s2scli.inference.torch_engine import TorchEngine
from s2scli.inference.translator import Translator
from s2scli.models.base import Decodable, Model
from s2scli.models.ensemble import Ensemble
from s2scli.models.fusion import ShallowFusion
from s2scli.nn.quantized import quantize
from s2scli.nn.runtime import prepare, resolve_precision
from s2scli.text.pieces import NONE, recognize
from s2scli.text.word import WordTokenizer

# How much longer than the longest line of training a line may be.
_BEYOND = 1.0


def make_translator(config: GenerateConfig, checkpoint: Checkpoint | None = None) -> Translator:
    """The translator, over torch, of the checkpoints that the config names.

    checkpoint: the first of them, where it has been read already.
    """
    device = prepare(config.device, config.threads)
    loaded = _with_pieces(_load(config.path, config.precision, device, checkpoint), config)
    _check_settings(loaded, config)
    for member in loaded.model.members:
        for side in ("encoder", "decoder"):
            numbers = getattr(config, f"{side}_layers_to_keep")
            if numbers:
                member.keep_layers(side, numbers)
    shortlist = _shortlist(loaded, config, device)
    model = loaded.model
    if config.lm_path is not None:
        model = _fused(loaded, config.lm_path, config, device)
    translator = _translator(loaded, TorchEngine(model, device, shortlist), config)
    return (
        replace(translator, rerank=_reranking(loaded, config, device)) if config.rerank_path else translator
    )


def _reranking(loaded: _Loaded, config: GenerateConfig, device: torch.device) -> Reranking:
    """What puts hypotheses into the order that the models of --rerank-path, too, find them in."""
    scorers = []
    for path, weight in zip(config.rerank_path, config.rerank_weights, strict=True):
        other = _load(path, config.precision, device)
        backwards = is_backwards(loaded.checkpoint.dataset, other.checkpoint.dataset, path)
        translator = _translator(other, TorchEngine(other.model, device), config, scores=True)
        scorers.append(Scorer(translator=translator, weight=weight, backwards=backwards))
    return Reranking(
        scorers=scorers,
        form=SourceForm.from_meta(loaded.checkpoint.dataset.get("source_form", {})),
        piece_kind=loaded.checkpoint.tokenizers["target"].piece_kind,
    )


@dataclass(frozen=True)
class _Loaded:
    """The model of a checkpoint, or of several, and the first of them."""

    model: Decodable
    checkpoint: Checkpoint
    path: Path

    @property
    def right_to_left(self) -> bool:
        return bool(self.checkpoint.config.get("right_to_left", False))


def _load(path: Path, precision: str, device: torch.device, checkpoint: Checkpoint | None = None) -> _Loaded:
    """The model that a path means, with colons in it an ensemble; CheckpointError where its members differ."""
    first, *others = find_checkpoints(path)
    checkpoint = checkpoint or load_checkpoint(first)
    loaded = _Loaded(_restored(checkpoint, first, precision, device), checkpoint, first)
    models = [loaded.model]
    for other in others:
        member = load_checkpoint(other)
        if set(member.tokenizers) != set(checkpoint.tokenizers):
            raise CheckpointError(
                f"{path}: one of {first} and {other} is a language model; give it as --lm-path, and the other as --path"
            )
        remedy = (
            "the models of an ensemble are trained on one dataset, or on datasets with one vocabulary "
            f"(s2s preprocess --vocab-from {first})"
        )
        check_vocabularies(checkpoint.tokenizers, first, member.tokenizers, other, remedy)
        _check_direction(loaded, _Loaded(loaded.model, member, other))
        models.append(_restored(member, other, precision, device))
    return replace(loaded, model=Ensemble(models)) if others else loaded


def _with_pieces(loaded: _Loaded, config: GenerateConfig) -> _Loaded:
    """The model with the pieces of words that the config says, or a notice where it looks as if it had some."""
    tokenizers, kind = loaded.checkpoint.tokenizers, config.pieces
    target = tokenizers["target"]
    if kind is None:
        if isinstance(target, WordTokenizer) and target.told_pieces is None:
            _tell_of_pieces(loaded.path, target)
        return loaded
    if not isinstance(target, WordTokenizer):
        raise UsageError(
            f"--pieces {kind}: {loaded.path} has a {target.kind} tokenizer, which joins its own pieces; leave it out"
        )
    changed = {
        side: item.of_pieces(kind) if isinstance(item, WordTokenizer) else item
        for side, item in tokenizers.items()
    }
    return replace(loaded, checkpoint=replace(loaded.checkpoint, tokenizers=changed))


def _tell_of_pieces(path: Path, target: WordTokenizer) -> None:
    """A notice where a vocabulary looks as if outputs were in pieces of words."""
    kind, share = recognize(target.vocabulary.ordinary_symbols)
    if kind != NONE:
        notice(
            f"{path}: {share:.0%} of its target symbols are marked as pieces of words by {kind} are; --pieces {kind} "
            "joins them to words, --pieces none leaves them without a word"
        )


def _restored(checkpoint: Checkpoint, path: Path, precision: str, device: torch.device) -> Model:
    model = restore_model(checkpoint, path).to(device)
    quantize(model, resolve_precision(precision, device))
    return model


def _fused(loaded: _Loaded, path: Path, config: GenerateConfig, device: torch.device) -> Decodable:
    """The model together with a language model; CheckpointError where that is none, or not over its vocabulary."""
    other = _load(path, config.precision, device)
    if other.model.reads_source:
        raise CheckpointError(
            f"--lm-path {path}: reads a source, so it is no language model; several models are one by --path a:b"
        )
    remedy = (
        "train the language model on a dataset made with s2s preprocess --only-target --vocab-from "
        f"{loaded.path}"
    )
    check_vocabularies(
        other.checkpoint.tokenizers, other.path, loaded.checkpoint.tokenizers, loaded.path, remedy
    )
    _check_direction(loaded, other)
    return ShallowFusion(loaded.model, other.model, config.lm_weight)


def _shortlist(loaded: _Loaded, config: GenerateConfig, device: torch.device) -> ChosenShortlist | None:
    """The shortlists that the config wants; UsageError where the checkpoint has no table for them."""
    if not config.shortlist:
        return None
    if loaded.model.copies:
        raise UsageError(
            f"--shortlist {config.shortlist}: {config.path} copies words of the source, which a shortlist would leave "
            "out; leave --shortlist out"
        )
    table = loaded.checkpoint.shortlist
    if table is None:
        raise UsageError(
            f"--shortlist {config.shortlist}: {loaded.path} has no table of translations; train on a dataset that "
            "s2s preprocess --shortlist has made"
        )
    if config.shortlist > table.num_translations:
        raise UsageError(
            f"--shortlist {config.shortlist}: {loaded.path} has {table.num_translations} translations of a token at "
            "most; give no more"
        )
    return ChosenShortlist(table.to(device), config.shortlist_frequent, config.shortlist)


def _check_direction(one: _Loaded, other: _Loaded) -> None:
    """CheckpointError where one of two models writes from right to left and the other from left to right."""
    if one.right_to_left != other.right_to_left:
        backwards, forwards = (one, other) if one.right_to_left else (other, one)
        raise CheckpointError(
            f"{backwards.path}: writes from right to left, and {forwards.path} from left to right, so they have no "
            "next token in common; --rerank-path takes models of either kind"
        )


def _check_settings(loaded: _Loaded, config: GenerateConfig) -> None:
    """UsageError for settings that the kind of model has no meaning for."""
    target = loaded.checkpoint.tokenizers["target"]
    check_prefix(config.target_prefix, target, loaded.path, right_to_left=loaded.right_to_left)
    if config.context_window and (loaded.model.reads_source or loaded.right_to_left):
        what = "writes from right to left" if loaded.right_to_left else "translates"
        raise UsageError(
            f"--context-window {config.context_window}: is for language models that read from left to right, and "
            f"{loaded.path} {what}; leave it out"
        )
    for name in ("constraints", "glossary", "exclude"):
        if loaded.right_to_left and getattr(config, name) is not None:
            raise UsageError(
                f"--{name}: phrases are known from their beginning, and {loaded.path} writes from right to left"
            )
    if not loaded.model.reads_source and config.glossary is not None:
        raise UsageError(
            f"--glossary {config.glossary}: a language model has no source that its terms could be in"
        )
    if not loaded.model.reads_source and config.on_long == "split":
        raise UsageError(
            "--on-long split: a language model goes on with a line, and cannot with parts of it; give truncate"
        )


def _translator(
    loaded: _Loaded, engine: TorchEngine, config: GenerateConfig, *, scores: bool = False
) -> Translator:
    """A translator that decodes as the config says, or `scores` given targets."""
    checkpoint = loaded.checkpoint
    limits, on_long = _limits(loaded, config.on_long, scores=scores or config.score_reference)
    return Translator(
        engine=engine,
        tokenizers=checkpoint.tokenizers,
        limits=limits,
        on_long=on_long,
        warns_of_parts=config.on_long is None,
        form=SourceForm.from_meta(checkpoint.dataset.get("source_form", {})),
        constraints=LexicalConstraints(
            checkpoint.tokenizers,
            ordered=config.constraints == "ordered",
            glossary=config.glossary,
            exclude=config.exclude,
            bad_tokens=config.bad_tokens,
        ),
        right_to_left=loaded.right_to_left,
        scores_references=config.score_reference,
        search=config,
        batch_size=config.batch_size,
        max_tokens=config.max_tokens,
        attention=attention_results(config),
        context_window=config.context_window,
    )


def _limits(loaded: _Loaded, on_long: str | None, *, scores: bool) -> tuple[dict[str, Any], str | None]:
    """The limits of the lines that a model reads, and what becomes of longer ones where the config does not say it.

    Those of its dataset and of its positions hold as in training. Where neither is as tight, lines may be as long as
    the longest of training times `_BEYOND`; longer ones are split, or of a language model cut. A model that `scores`
    given targets reads all of their sources.
    """
    facts, reads_source = loaded.checkpoint.dataset, loaded.model.reads_source
    side = "source" if reads_source else "target"
    limits, name = dict(facts["limits"]), f"max_{side}_length"
    positions = loaded.model.max_source_positions if reads_source else loaded.model.max_target_positions
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
    dictionary = config.replace_unk_dictionary
    return AttentionResults(
        alignment=config.alignment_unit if config.print_alignment else "",
        weights=config.shows_attention,
        replaces_unknown=config.replace_unk,
        dictionary=read_replacements(dictionary) if dictionary else {},
    )
