"""Models imported from transformers run with CTranslate2 as with torch: each family, with tiny random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import imported, text_lines
from half_folders import write_bert, write_gpt2
from marian_files import marian_folder
from transformers_families import FAMILIES

from s2scli.configs.export import ExportConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.importing import ImportConfig
from s2scli.errors import S2SError
from s2scli.export import export
from s2scli.importing import import_model
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator
from s2scli.record import Record

pytest.importorskip("ctranslate2")

# As many texts as the references that are scored for them.
TEXTS, REFERENCES = text_lines(7, 12), text_lines(8, 12)


@pytest.fixture(autouse=True)
def one_seed() -> None:
    """Models of transformers draw their first weights from torch's own generator."""
    torch.manual_seed(11)


def exported(run: Path) -> Path:
    out = run.with_name("exported")
    export(ExportConfig(path=run, to="ctranslate2", out=out, compare_lines=0))
    return out


def records(path: Path, texts: list[str], **settings: Any) -> list[Record]:
    config = GenerateConfig(path=path, device="cpu", format="jsonl", max_len_b=20, **settings)
    lines = [Line(number, *pair) for number, pair in enumerate(zip(texts, REFERENCES, strict=False))]
    return list(make_translator(config).records(lines, len(lines)))


def assert_same_best(run: Path, folder: Path, texts: list[str], least: int, **settings: Any) -> None:
    """The best outputs, or the references, of so many lines at least are the same, and those have the same scores."""
    equal = 0
    for one, other in zip(*(records(path, texts, **settings) for path in (run, folder)), strict=True):
        best, theirs = one.hypotheses[0], other.hypotheses[0]
        if best.tokens == theirs.tokens:
            assert best.text == theirs.text
            assert theirs.token_scores == pytest.approx(best.token_scores, abs=1e-4)
            equal += 1
    assert equal >= least


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_outputs_are_those_of_torch(family: str, tmp_path: Path) -> None:
    """Of a beam all outputs are asked for: at the longest, CTranslate2 ranks them without their end symbols' scores."""
    made = FAMILIES[family](tmp_path / "theirs")
    settings = made.get("settings", {})
    imported(tmp_path / "theirs", tmp_path / "ours", **settings)
    run = tmp_path / "ours"
    folder = exported(run)
    assert_same_best(run, folder, TEXTS, 12, score_reference=True)
    assert_same_best(run, folder, TEXTS, 12, beam=1)
    # The symbol of the language that outputs must begin with is no part of CTranslate2's own scores.
    assert_same_best(run, folder, TEXTS, 11, beam=4, nbest=4, stop="fairseq", unnormalized=True)
    if settings:
        symbols = {record.hypotheses[0].tokens[0] for record in records(folder, TEXTS[:3], beam=2)}
        assert symbols <= {"ro_RO", "__ro_RO__"}
        assert {record.source_tokens[0] for record in records(folder, TEXTS[:3])} <= {"en_XX", "__en_XX__"}


def test_a_gpt2_goes_on_with_a_text_as_with_torch(tmp_path: Path) -> None:
    write_gpt2(tmp_path / "theirs", n_positions=64)
    run = import_model(ImportConfig(source=tmp_path / "theirs", save_dir=tmp_path / "ours")).checkpoint.parent
    folder = exported(run)
    texts = ["the man", "", "reads the"]
    assert_same_best(run, folder, texts, 3, score_reference=True)
    assert_same_best(run, folder, texts, 3, beam=1)
    assert_same_best(run, folder, texts, 2, beam=4, nbest=4, stop="fairseq", unnormalized=True)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "an encoder alone": (write_bert, "encoder"),
    "a student of Firefox's": (
        marian_folder,
        "model.decoder_sublayer = 'ssru': CTranslate2 has no such model; it runs those with 'attention'; s2s generate "
        "runs the checkpoint itself",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_ctranslate2_has_not_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    write, message = REFUSED[kind]
    write(tmp_path / "theirs")
    run = import_model(ImportConfig(source=tmp_path / "theirs", save_dir=tmp_path / "ours")).checkpoint.parent
    with pytest.raises(S2SError) as raised:
        exported(run)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not run.with_name("exported").exists()
