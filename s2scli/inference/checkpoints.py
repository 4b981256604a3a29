"""Checkpoints, opened for torch: one model, an ensemble of several, or one beside a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from s2scli.checkpoint import Checkpoint, fingerprint_of, load_checkpoint, restore_model
from s2scli.checkpoint_file import find_checkpoints
from s2scli.configs.generate import GenerateConfig
from s2scli.data.shortlist import ChosenShortlist, table_for
from s2scli.data.tokenizers import check_vocabularies
from s2scli.errors import CheckpointError, UsageError
from s2scli.features.form import FeatureForm, check_same_sources
from s2scli.inference.adapting import put_adapter, read_adapters
from s2scli.inference.opened import OpenedModel
from s2scli.inference.torch_engine import TorchEngine
from s2scli.models.base import Decodable, Model
from s2scli.models.chosen_adapters import Adapted, choices_of
from s2scli.models.ctc import CTCDecoder, JointDecoding
from s2scli.models.ensemble import Ensemble
from s2scli.models.fusion import ShallowFusion
from s2scli.models.neighbours import Datastore, NearestNeighbours
from s2scli.nn.quantized import quantize
from s2scli.nn.runtime import prepare, resolve_precision


@dataclass(frozen=True, kw_only=True)
class OpenedCheckpoints(OpenedModel):
    """A checkpoint whose weights are mapped but not yet read, and the paths of others that are an ensemble with it."""

    checkpoint: Checkpoint
    others: Sequence[Path] = ()

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Self:
        """Open the first of some checkpoints; CheckpointError where it is broken."""
        path, *others = paths
        checkpoint = load_checkpoint(path)
        return cls(
            path=path,
            tokenizers=checkpoint.tokenizers,
            dataset=checkpoint.dataset,
            right_to_left=_right_to_left(checkpoint),
            checkpoint=checkpoint,
            others=others,
        )

    def engine(self, config: GenerateConfig) -> TorchEngine:
        """The model on the config's device, with the language model, the layers and the shortlists that it asks for."""
        device = prepare(config.device, config.threads)
        model = self._model(config, device, config.ctc_weight, adapters=[*self._of_all(config)])
        # Adapters are of the whole model, and those of layers that are left out leave with them.
        if config.chooses_adapters:
            model = self._with_adapters(model, config)
        for member in model.members:
            for side in ("encoder", "decoder"):
                numbers = getattr(config, f"{side}_layers_to_keep")
                if numbers:
                    member.keep_layers(side, numbers)
        shortlist = self._shortlist(model, config, device)
        if config.datastore is not None:
            model = self._beside_neighbours(model, config.datastore, config)
        if config.lm_path is not None:
            model = self._fused(model, config.lm_path, config, device)
        return TorchEngine(model, device, shortlist, config.chooses_adapters)

    def scoring_engine(self, config: GenerateConfig) -> TorchEngine:
        """The model alone on the config's device."""
        device = prepare(config.device, config.threads)
        return TorchEngine(self._model(config, device), device)

    def _of_all(self, config: GenerateConfig) -> Iterator[Path]:
        """The adapter of all lines, if there is one; UsageError where there are several models."""
        if config.adapter and self.others:
            raise UsageError(
                f"--adapter {config.adapter[0]}: is of one model, and --path {config.path} names several; give one"
            )
        if not config.chooses_adapters:
            yield from config.adapters.values()

    def _model(
        self,
        config: GenerateConfig,
        device: torch.device,
        ctc_weight: float = 0.0,
        adapters: Sequence[Path] = (),
    ) -> Decodable:
        """The checkpoint's model, or the ensemble; CheckpointError where its members differ.

        ctc_weight: of their CTC heads; UsageError where one has none. adapters: what it computes with.
        """
        own = restore_model(self.checkpoint, self.path)
        for adapter in adapters:
            put_adapter(own, adapter, self.checkpoint, self.path)
        models = [_with_ctc(_on(own, config.precision, device), ctc_weight, self.path)]
        for path in self.others:
            member = load_checkpoint(path)
            self._check_frames(path, member)
            if set(member.tokenizers) != set(self.tokenizers):
                raise CheckpointError(
                    f"{config.path}: one of {self.path} and {path} is a language model; give it as --lm-path, and the "
                    "other as --path"
                )
            remedy = (
                "the models of an ensemble are trained on one dataset, or on datasets with one vocabulary "
                f"(s2s preprocess --vocab-from {self.path})"
            )
            check_vocabularies(self.tokenizers, self.path, member.tokenizers, path, remedy)
            self._check_direction(path, _right_to_left(member))
            restored = _on(restore_model(member, path), config.precision, device)
            models.append(_with_ctc(restored, ctc_weight, path))
        return Ensemble(models) if self.others else models[0]

    def _with_adapters(self, model: Decodable, config: GenerateConfig) -> Decodable:
        """The model with the adapters that lines may choose from."""
        (member,) = model.members
        adapters = read_adapters(member, config.adapters.values(), self.checkpoint, self.path)
        batch = choices_of(member, adapters)
        return Adapted(model, batch)

    def _fused(self, model: Decodable, path: Path, config: GenerateConfig, device: torch.device) -> Decodable:
        """The model together with a language model; CheckpointError where that is none, or of another vocabulary."""
        other = OpenedCheckpoints.open(find_checkpoints(path))
        language_model = other._model(config, device)
        if language_model.reads_source:
            raise CheckpointError(
                f"--lm-path {path}: reads a source, so it is no language model; several models are one by --path a:b"
            )
        remedy = (
            "train the language model on a dataset made with s2s preprocess --only-target --vocab-from "
            f"{self.path}"
        )
        check_vocabularies(other.tokenizers, other.path, self.tokenizers, self.path, remedy)
        self._check_direction(other.path, other.right_to_left)
        return ShallowFusion(model, language_model, config.lm_weight)

    def _beside_neighbours(self, model: Decodable, path: Path, config: GenerateConfig) -> Decodable:
        """The model with what the nearest of the states in a datastore say; UsageError where it is not one model."""
        if config.adapter:
            raise UsageError(
                f"--adapter {config.adapter[0]}: the states in the datastore {path} are of the model without one; "
                "merge it (s2s average --merge-adapter), and make a datastore of that"
            )
        for side in ("encoder", "decoder"):
            if numbers := getattr(config, f"{side}_layers_to_keep"):
                flag = f"--{side}-layers-to-keep {','.join(map(str, numbers))}"
                raise UsageError(
                    f"{flag}: the states in the datastore {path} are of the model with all of its layers"
                )
        if not isinstance(model, Model):
            other = "several models" if self.others else f"--ctc-weight {config.ctc_weight:g}"
            raise UsageError(f"--datastore {path}: is of one model, and does not go with {other}")
        if config.shortlist:
            raise UsageError(
                f"--shortlist {config.shortlist}: the nearest states speak the whole vocabulary; leave it or "
                "--datastore out"
            )
        weight = model.output.weight
        found = Datastore.open(
            path, fingerprint_of(self.checkpoint.weights), weight.size(1), model.target_size
        )
        return NearestNeighbours(
            model,
            found.to(weight.device),
            weight=config.knn_weight,
            number=config.knn_k,
            spread=config.knn_temperature,
        )

    def _shortlist(
        self, model: Decodable, config: GenerateConfig, device: torch.device
    ) -> ChosenShortlist | None:
        """The shortlists that the config wants; UsageError where the checkpoint has no table for them."""
        if not config.shortlist:
            return None
        if model.copies:
            raise UsageError(
                f"--shortlist {config.shortlist}: {config.path} copies words of the source, which a shortlist would "
                "leave out; leave --shortlist out"
            )
        if config.ctc_weight:
            raise UsageError(
                f"--shortlist {config.shortlist}: a CTC head (--ctc-weight) speaks its whole vocabulary; give one of "
                "them"
            )
        table = table_for(config.shortlist, self.checkpoint.shortlist, self.path)
        return ChosenShortlist(table.to(device), config.shortlist_frequent, config.shortlist)

    def _check_frames(self, path: Path, member: Checkpoint) -> None:
        """CheckpointError where another model of an ensemble reads frames that are made otherwise, or only one does."""
        own, other = FeatureForm.of_source(self.dataset), FeatureForm.of_source(member.dataset)
        check_same_sources(self.path, own, path, other)

    def _check_direction(self, path: Path, right_to_left: bool) -> None:
        """CheckpointError where another model writes in the other direction."""
        if self.right_to_left != right_to_left:
            backwards, forwards = (self.path, path) if self.right_to_left else (path, self.path)
            raise CheckpointError(
                f"{backwards}: writes from right to left, and {forwards} from left to right, so they have no next "
                "token in common; --rerank-path takes models of either kind"
            )


def _right_to_left(checkpoint: Checkpoint) -> bool:
    return bool(checkpoint.config.get("right_to_left", False))


def _on(model: Model, precision: str, device: torch.device) -> Model:
    model = model.to(device)
    quantize(model, resolve_precision(precision, device))
    return model


def _with_ctc(model: Model, weight: float, path: Path) -> Decodable:
    """A checkpoint's model, searched with its CTC head of such a weight; UsageError where it has none."""
    if not weight:
        return model
    if model.ctc_head is None:
        raise UsageError(
            f"--ctc-weight {weight:g}: {path} has no CTC head; train it with s2s train --ctc-weight 0.3, or leave it "
            "out"
        )
    ctc = CTCDecoder(model, model.ctc_head)
    return ctc if weight == 1 else JointDecoding(model, ctc, weight)
