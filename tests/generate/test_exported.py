"""`generate` with CTranslate2: all it does with torch, or one line that says what that engine cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from generating import SENTENCES, Generator, joined

from s2scli.configs.export import ExportConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.errors import UsageError
from s2scli.export import export
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator
from s2scli.schema import build

pytest.importorskip("ctranslate2")

TEXT = joined(SENTENCES[:24])


@pytest.fixture
def both(
    toy_runs: Path, toy_export: Path, generating: Callable[[Path], Generator]
) -> tuple[Generator, Generator]:
    """`generate` with a checkpoint, by torch, and with what it was exported to."""
    return generating(toy_runs / "transformer"), generating(toy_export)


@pytest.fixture(scope="module")
def learned(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that has learned enough to be sure of what it says, and what it was exported to."""
    from toys import TRANSFORMER, Trainer

    folder = tmp_path_factory.mktemp("learned")
    settings = {"optimizer.lr": 0.005, "model.dropout": 0.0, "log_interval": 100}
    Trainer(toy_data, folder)("run", **TRANSFORMER | settings, max_epoch=40)
    export(ExportConfig(path=folder / "run", to="ctranslate2", out=folder / "exported", compare_lines=0))
    return folder / "run", folder / "exported"


# Searches whose rules are the same in both.
ALIKE: dict[str, dict[str, Any]] = {
    "greedy": {"beam": 1},
    "fairseq's lines": {"beam": 1, "format": "fairseq"},
    "a prefix": {"beam": 1, "target_prefix": "ba"},
    "blocked n-grams": {"beam": 1, "no_repeat_ngram_size": 1},
    "a repetition penalty": {"beam": 1, "repetition_penalty": 1.3},
    "long outputs": {"beam": 1, "min_len": 6, "max_len_a": 0.0, "max_len_b": 9},
    "alignments": {"beam": 1, "print_alignment": True},
    "a line at a time": {"beam": 1, "follow": True},
    "small batches": {"beam": 1, "max_tokens": 20},
    "a shard": {"beam": 1, "num_shards": 3, "shard_id": 1},
}


def same(ours: list[str], theirs: list[str]) -> None:
    """The same text, and the same numbers but for the last digits."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for here, there in zip(one.split(), other.split(), strict=True):
            if here != there:
                assert float(here) == pytest.approx(float(there), abs=2e-3)


@pytest.mark.parametrize("search", ALIKE)
def test_outputs_are_those_of_torch(search: str, both: tuple[Generator, Generator]) -> None:
    one, other = (generate(TEXT, **ALIKE[search]) for generate in both)
    same(other, one)
    assert any(line.strip() for line in one)


@pytest.mark.parametrize("settings", [{}, {"nbest": 3}, {"unnormalized": True}, {"lenpen": 0.5, "beam": 8}])
def test_a_beam_finds_outputs_as_good_as_with_torch(
    settings: dict[str, Any], learned: tuple[Path, Path], generating: Callable[[Path], Generator]
) -> None:
    """Their rules of what a candidate is differ in little; the scores are the model's own of the outputs."""
    both = map(generating, learned)
    found = [generate(TEXT, stop="fairseq", format="jsonl", **settings) for generate in both]
    pairs = [(json.loads(one), json.loads(other)) for one, other in zip(*found, strict=True)]
    assert sum(one["text"] == other["text"] for one, other in pairs) >= 18
    for one, other in pairs:
        assert other["score"] > one["score"] - 0.2
        texts = [item["text"] for item in other.get("nbest", [])]
        assert len({*texts}) == len(texts) == (settings.get("nbest", 0))
    mean = [sum(pair[side]["score"] for pair in pairs) / len(pairs) for side in (0, 1)]
    assert mean[1] == pytest.approx(mean[0], abs=0.03)


def test_records_have_the_scores_of_each_token_and_the_attention(both: tuple[Generator, Generator]) -> None:
    settings = {"format": "jsonl", "beam": 1, "print_attention": True, "print_alignment": True}
    found = [[json.loads(line) for line in generate(f"{TEXT}\n", **settings)] for generate in both]
    assert found[0][-1]["text"] == found[1][-1]["text"] == ""
    for one, other in zip(*found, strict=True):
        for name in ("score", "token_scores", "attention"):
            if name in one or name in other:
                flat = [_flat(record.pop(name)) for record in (one, other)]
                assert flat[1] == pytest.approx(flat[0], abs=2e-3)
        assert one == other


def _flat(value: Any) -> list[float]:
    return [number for item in value for number in _flat(item)] if isinstance(value, list) else [value]


def test_references_are_scored_as_with_torch(both: tuple[Generator, Generator], toy_data: Path) -> None:
    one, other = (generate("", data=toy_data, score_reference=True) for generate in both)
    same(other, one)


def test_bad_tokens_do_not_come(both: tuple[Generator, Generator], tmp_path: Path) -> None:
    _, generate = both
    words = {word for line in generate(TEXT) for word in line.split()}
    banned = sorted(words)[:2]
    file = tmp_path / "banned.txt"
    file.write_text(joined(banned))
    assert not {word for line in generate(TEXT, bad_tokens=file) for word in line.split()} & {*banned}


def test_the_best_by_bayes_risk_is_one_of_the_outputs(both: tuple[Generator, Generator]) -> None:
    _, generate = both
    drawn = generate(TEXT, mbr="chrf", mbr_candidates=4, sampling=True)
    assert len(drawn) == 24


def test_samples_differ_and_a_repeated_command_draws_the_same(toy_export: Path) -> None:
    """Each in a process of its own: what a thread of CTranslate2 draws goes on from what it has drawn."""

    def draw(seed: int) -> list[str]:
        words = [
            "--sampling",
            "--nbest",
            "5",
            "--seed",
            str(seed),
            "--max-len-b",
            "9",
            "--temperature",
            "1.5",
        ]
        command = [sys.executable, "-m", "s2scli", "generate", "--path", str(toy_export), *words]
        return subprocess.run(
            command, input=TEXT, capture_output=True, check=True, text=True, timeout=60
        ).stdout.splitlines()

    first = draw(1)
    assert len(first) == 5 * 24
    assert draw(1) == first
    assert draw(2) != first
    assert len({line.split("\t")[2] for line in first[:5]}) > 1


def test_long_lines_are_split_and_order_is_kept(both: tuple[Generator, Generator]) -> None:
    long = " . ".join(SENTENCES[:12])
    text = f"{SENTENCES[0]}\n\n{long}\n{SENTENCES[1]}\n"
    one, other = (generate(text, beam=1, on_long="split") for generate in both)
    assert other == one
    assert (len(other), other[1]) == (4, "")


def test_processes_and_a_file_that_is_gone_on_with(both: tuple[Generator, Generator], tmp_path: Path) -> None:
    _, generate = both
    wanted = generate(TEXT, beam=1)
    assert generate(TEXT, beam=1, processes=2) == wanted
    file = tmp_path / "out.txt"
    stopped = generate.interrupted(TEXT, after=9, output=file, beam=1)
    assert "repeat the command to go on" in str(stopped)
    assert not file.exists()
    generate(TEXT, beam=1, output=file, buffer_size=2)
    assert file.read_text().splitlines() == wanted


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "--diverse-beam-groups": ({"diverse_beam_groups": 5}, "has no such search"),
    "--sibling-diversity": ({"sibling_diversity": 0.5}, "has no such search"),
    "--word-reward": ({"word_reward": 0.5}, "has no such search"),
    "--unkpen": ({"unkpen": 1.0}, "has no such search"),
    "--min-p": ({"sampling": True, "min_p": 0.1}, "has no such search"),
    "--typical-p": ({"sampling": True, "typical_p": 0.9}, "has no such search"),
    "--retain-dropout": ({"retain_dropout": True}, "has no such search"),
    "--length-penalty": ({"length_penalty": "gnmt"}, "knows average alone"),
    "--stop": ({"stop": "exact"}, "stops once as many outputs"),
    "--temperature": ({"temperature": 0.5}, "has it for --sampling alone"),
    "--alignment-layer": ({"alignment_layer": -2, "print_alignment": True}, "tells what the last layer"),
    "--lm-path": ({"lm_path": "lm"}, "has no language model beside"),
    "--encoder-layers-to-keep": ({"encoder_layers_to_keep": "0"}, "has the layers that were exported"),
    "--constraints": ({"constraints": "ordered"}, "cannot make outputs hold phrases"),
    "--glossary": ({"glossary": "terms.tsv"}, "cannot make outputs hold phrases"),
    "--exclude": ({"exclude": "phrases.txt"}, "cannot keep phrases out"),
    "--device mps": ({"device": "mps"}, "computes on cpu and cuda"),
    "--shortlist": ({"shortlist": 5}, "was exported without shortlists"),
}


@pytest.mark.parametrize("flag", REFUSED)
def test_what_ctranslate2_cannot_is_said_in_one_line(flag: str, toy_export: Path) -> None:
    settings, message = REFUSED[flag]
    with pytest.raises(UsageError, match=message) as raised:
        make_translator(build(GenerateConfig, {"path": toy_export, **settings}))
    assert str(raised.value).startswith(flag)
    assert "\n" not in str(raised.value)


def test_what_a_line_or_a_request_asks_and_ctranslate2_cannot_is_refused_too(toy_export: Path) -> None:
    config = GenerateConfig(path=toy_export)
    translator = make_translator(config)
    for line in (Line(4, "ba", constraints=("be",)), Line(4, "ba", excluded=("be",))):
        with pytest.raises(UsageError, match="line 5: CTranslate2 cannot"):
            list(translator.records([line], 1))
    with pytest.raises(UsageError, match="--unkpen 2"):
        translator.with_search(build(GenerateConfig, {"path": toy_export, "unkpen": 2.0}), toy_export)


def test_torch_and_numpy_are_not_imported(toy_export: Path) -> None:
    """The whole command, in a process of its own."""
    code = (
        "import sys; from s2scli.cli.app import run; code = run(sys.argv[1:]); "
        "print(sorted({'torch', 'numpy', 'typer', 'sacrebleu'} & sys.modules.keys()), code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "generate", "--path", toy_export],
        input=TEXT.encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    *lines, last = done.stdout.decode().splitlines()
    assert (len(lines), last) == (24, "[] 0")
