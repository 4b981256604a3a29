"""A model that `s2s export --to ctranslate2` has written, opened for CTranslate2; torch is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli import document
from s2scli.configs.generate import GenerateConfig
from s2scli.data.exported import ExportedModel
from s2scli.errors import CheckpointError, DataError, S2SError, UsageError
from s2scli.inference.ctranslate2_engine import Ctranslate2Engine, refusal
from s2scli.inference.ctranslate2_language import Ctranslate2LanguageEngine
from s2scli.inference.ctranslate2_translation import Ctranslate2TranslationEngine
from s2scli.inference.opened import OpenedModel
from s2scli.inference.token_names import TokenNames
from s2scli.text.tokenizer import Tokenizer

# Our precisions, as CTranslate2 calls them. Without one it computes in the types that the model was exported with.
_TYPES = {"fp32": "default", "auto": "auto", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}
# What GenerateConfig has and CTranslate2 has not.
_CANNOT = {
    "lm_path": "has no language model beside a translation model",
    "ctc_weight": "has no CTC heads",
    "datastore": "cannot search in it",
    "encoder_layers_to_keep": "has the layers that were exported",
    "decoder_layers_to_keep": "has the layers that were exported",
    "constraints": "cannot make outputs hold phrases",
    "glossary": "cannot make outputs hold phrases",
    "exclude": "cannot keep phrases out, only --bad-tokens",
}
_AGAIN = "export the model again"


@dataclass(frozen=True, kw_only=True)
class Ctranslate2Model(OpenedModel):
    """A folder with CTranslate2's files; exported: what the file at the path says of it."""

    exported: ExportedModel

    def engine(self, config: GenerateConfig) -> Ctranslate2Engine:
        """CTranslate2, with the folder's shortlists where they are asked for."""
        for name, why in _CANNOT.items():
            value = getattr(config, name)
            if value:
                shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
                raise refusal(f"--{name.replace('_', '-')} {shown}", why)
        self._check_shortlist(config)
        engine = self._engine(
            config,
            uses_shortlist=bool(config.shortlist),
            scores_outputs=bool(config.rerank_path),
            scores_tokens=config.shows_scores,
        )
        engine.check(config.of_candidates)
        return engine

    def scoring_engine(self, config: GenerateConfig) -> Ctranslate2Engine:
        """CTranslate2 without shortlists."""
        return self._engine(config)

    def _engine(
        self,
        config: GenerateConfig,
        *,
        uses_shortlist: bool = False,
        scores_outputs: bool = False,
        scores_tokens: bool = False,
    ) -> Ctranslate2Engine:
        library = _library(self.path)
        names = self._names()
        # Threads of the library draw from a sequence that begins with the seed when they first draw.
        library.set_random_seed(config.seed % 2**32)
        kind, runner = (
            (Ctranslate2TranslationEngine, library.Translator)
            if self.exported.reads_source
            else (Ctranslate2LanguageEngine, library.Generator)
        )
        device, _, index = self._device(library, config).partition(":")
        try:
            made = runner(
                str(self.path.parent),
                device=device,
                device_index=int(index or 0),
                compute_type=_TYPES[config.precision],
                intra_threads=config.threads,
            )
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{self.path.parent}: CTranslate2 cannot load it: {error}; {_AGAIN}"
            ) from None
        return kind(
            runner=made,
            **names,
            positions=self.exported.positions,
            num_layers=self.exported.alignment_layer + 1,
            uses_shortlist=uses_shortlist,
            scores_outputs=scores_outputs,
            scores_tokens=scores_tokens,
        )

    @staticmethod
    def _device(library: Any, config: GenerateConfig) -> str:
        if config.device == "mps":
            raise refusal("--device mps", "computes on cpu and cuda")
        if config.device == "auto":
            return "cuda" if library.get_cuda_device_count() else "cpu"
        return config.device

    def _check_shortlist(self, config: GenerateConfig) -> None:
        """UsageError where the folder has other shortlists than are asked for."""
        if not config.shortlist:
            return
        own = self.exported.shortlist
        if own is None:
            raise UsageError(
                f"--shortlist {config.shortlist}: {self.path.parent} was exported without shortlists; export it with "
                f"--shortlist {config.shortlist}"
            )
        if (config.shortlist, config.shortlist_frequent) != (own.translations, own.frequent):
            raise UsageError(
                f"--shortlist {config.shortlist} --shortlist-frequent {config.shortlist_frequent}: "
                f"{self.path.parent} was exported with --shortlist {own.translations} --shortlist-frequent "
                f"{own.frequent}; give those"
            )

    def _names(self) -> dict[str, TokenNames]:
        """The tokens of each side as CTranslate2 knows them; CheckpointError where they are not the tokenizers'."""
        folder, found = self.path.parent, {}
        for side, tokenizer in self.tokenizers.items():
            files = [folder / f"{name}vocabulary.json" for name in (f"{side}_", "shared_", "")]
            path = next((file for file in files if file.is_file()), files[0])
            with document.blaming(path, _AGAIN, CheckpointError):
                names = document.read(path, tuple[str, ...])
                if len(names) != len(tokenizer):
                    raise DataError(f"has {len(names):,} tokens, and the {side} tokenizer {len(tokenizer):,}")
            found[side] = TokenNames(names=names, special=tokenizer.vocabulary.special)
        return found


def open_exported(
    path: Path, exported: ExportedModel, tokenizers: Mapping[str, Tokenizer]
) -> Ctranslate2Model:
    """Open what the `s2s.json` at a path is of; nothing is loaded yet."""
    return Ctranslate2Model(
        path=path,
        tokenizers=tokenizers,
        dataset=exported.dataset,
        right_to_left=exported.right_to_left,
        exported=exported,
    )


def _library(path: Path) -> Any:
    try:
        import ctranslate2
    except ImportError:
        raise S2SError(
            f"{path.parent}: was exported for ctranslate2, which is not installed: pip install 's2scli[ctranslate2]'"
        ) from None
    return ctranslate2
