from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from s2scli.configs.score import ScoreConfig
from s2scli.errors import DataError, UsageError
from s2scli.record import Hypothesis, Record
from s2scli.score import score, show
from s2scli.scoring.results import ScoreResult

SYSTEM = ["the cat sat on the mat", "Hello, world!", "", "eins zwei drei"]
REFERENCE = ["The cat sat on a mat.", "Hello world!", "a blank one", "eins zwei drei vier"]
OTHER = ["On the mat sat a cat.", "Hello, you world!", "empty", "eins, zwei, drei"]


def values(result: ScoreResult) -> list[float]:
    return [item.value for item in result.scores]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    names = ("sys.txt", SYSTEM), ("ref.txt", REFERENCE), ("other.txt", OTHER)
    system, first, second = (write(tmp_path / name, lines) for name, lines in names)
    return system, first, second


def test_values_are_sacrebleus(files: tuple[Path, Path, Path]) -> None:
    system, first, second = files
    result = score(ScoreConfig(sys=(system,), ref=(first, second)))
    references = [REFERENCE, OTHER]
    wanted = [metric.corpus_score(SYSTEM, references).score for metric in (BLEU(), CHRF(), TER())]
    assert [item.value for item in result.scores] == wanted
    assert result.segments == 4
    assert all("nrefs:2" in item.score.signature for item in result.scores)


def test_text_is_a_line_a_metric(files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    config = ScoreConfig(sys=files[:1], ref=files[1:2], metrics=("ter", "chrf++"), width=1)
    show(config, score(config))
    ter, chrf = capsys.readouterr().out.splitlines()
    assert ter.split()[0] == "TER"
    assert chrf.split()[0] == "chrF2++"
    assert "nw:2" in chrf
    assert ter.index("nrefs") == chrf.index("nrefs")


def test_json_is_a_list_of_scores(files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    config = ScoreConfig(sys=files[:1], ref=files[1:2], format="json", width=3)
    result = score(config)
    show(config, result)
    printed = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in printed] == ["BLEU", "chrF2", "TER"]
    assert [item["score"] for item in printed] == [round(item.value, 3) for item in result.scores]
    assert len(printed[0]["details"]["precisions"]) == 4


def test_reads_gz(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    packed = tmp_path / "sys.gz"
    packed.write_bytes(gzip.compress(files[0].read_bytes()))
    plain, unpacked = (score(ScoreConfig(sys=(path,), ref=files[1:2])) for path in (files[0], packed))
    assert values(plain) == values(unpacked)


def records(with_reference: int) -> list[str]:
    made = []
    for number, (text, reference) in enumerate(zip(SYSTEM, REFERENCE, strict=True)):
        hypothesis = Hypothesis(text=text, score=-1.0, tokens=[], token_scores=[])
        known = reference if number < with_reference else None
        made.append(Record(id=number, source="", hypotheses=[hypothesis], reference=known).to_json())
    return made


def test_records_bring_their_references(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    wanted = values(score(ScoreConfig(sys=files[:1], ref=files[1:2])))
    system = write(tmp_path / "out.jsonl", records(with_reference=4))
    assert values(score(ScoreConfig(sys=(system,)))) == wanted
    other_name = write(tmp_path / "out", records(with_reference=0))
    assert values(score(ScoreConfig(sys=(other_name,), sys_format="jsonl", ref=files[1:2]))) == wanted


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (records(with_reference=3), "--ref must be given: 1 record"),
        (['{"text": 3}'], r'sys\.jsonl:1: the record has no field "text"'),
        (["{}{"], r"sys\.jsonl:1: the line is no JSON.* --sys-format text"),
        (['{"text": "", "version": 99}'], r"sys\.jsonl:1: the record is of version 99"),
    ],
)
def test_broken_records(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        score(ScoreConfig(sys=(write(tmp_path / "sys.jsonl", lines),)))


def test_broken_files(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    system, first, _ = files
    empty = write(tmp_path / "empty.txt", [])
    longer = write(tmp_path / "longer.txt", [*REFERENCE, "more"])
    for config, message in (
        (ScoreConfig(sys=(empty,), ref=(first,)), "empty.txt: the system output is empty"),
        (ScoreConfig(sys=(system,), ref=(empty,)), "empty.txt: the reference is empty"),
        (ScoreConfig(sys=(system,), ref=(first, longer)), r"sys.txt has 4 lines but .*longer.txt has 5"),
        (ScoreConfig(sys=(tmp_path / "none",), ref=(first,)), "none: no such file"),
    ):
        with pytest.raises(DataError, match=message):
            score(config)
    with pytest.raises(UsageError, match="--ref must be given"):
        score(ScoreConfig(sys=(system,)))
    with pytest.raises(UsageError, match="--src must be given"):
        score(ScoreConfig(sys=(system,), metrics=("copy_rate",)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ref": (Path("-"),)}, "standard input"),
        ({"metrics": ()}, "--metrics must name a metric"),
        ({"metrics": ("ter", "bleu", "ter")}, "twice"),
        ({"metrics": ("ppl", "bpc")}, "ppl,bpc: asks a model; give its checkpoint as --path"),
        ({"diff": True}, "--diff: compares systems"),
        ({"sys": ()}, "--sys must name a file"),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ScoreConfig(**values)


def test_warns_where_bleu_would_mislead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chinese = write(tmp_path / "zh.txt", ["今天天气很好。", "明天也好。"])
    found = score(ScoreConfig(sys=(chinese,), ref=(chinese,))).scores
    assert "--tokenize zh" in capsys.readouterr().err
    assert [item.score.signature.split("|")[3] for item in found if item.metric == "bleu"] == ["tok:zh"]
    score(ScoreConfig(sys=(chinese,), ref=(chinese,), tokenize="zh"))
    assert capsys.readouterr().err == ""
    tokenized = write(tmp_path / "tok.txt", ["a b ."] * 100)
    score(ScoreConfig(sys=(tokenized,), ref=(tokenized,)))
    assert "looks tokenized" in capsys.readouterr().err


def test_of_one_line_there_are_scores_and_no_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bootstrap of one segment draws that segment always: it gave p < 0.001 and an interval without width."""
    base, new, right = (
        write(tmp_path / name, [text])
        for name, text in (("base", "a b c d x"), ("new", "a b c d e"), ("right", "a b c d e"))
    )
    config = ScoreConfig(sys=(base, new), ref=(right,), metrics=("bleu", "chrf"))
    result = score(config)
    assert "a single line" in capsys.readouterr().err
    assert all(item.measured is None for item in result.scores)
    show(config, result)
    shown = capsys.readouterr().out
    assert "interval" not in shown
    assert "p bootstrap" not in shown
    assert "+33.13" in shown  # 100 less BLEU of 4, 3, 2 and 1 n-grams of 5, 4, 3 and 2: (4·3·2·1/(5·4·3·2))^¼
