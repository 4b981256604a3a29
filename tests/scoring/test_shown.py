"""What `s2s score` prints and writes: tables, line scores, lines side by side, the report."""

from __future__ import annotations

import csv
import html
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from systems import BASE, NEW, RIGHT

from s2scli.cli.app import run as run_command
from s2scli.components import METRICS
from s2scli.configs.score import ScoreConfig
from s2scli.errors import DataError, S2SError
from s2scli.score import score, show
from s2scli.scoring.differences import differing
from s2scli.scoring.results import length_label


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    for name, lines in (("base", BASE), ("new_1", NEW), ("right", RIGHT), ("kind", ["x", "y", "x", "y"])):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {"sys": (tmp_path / "base", tmp_path / "new_1"), "ref": (tmp_path / "right",)}


def printed(capsys: pytest.CaptureFixture[str], **values: Any) -> str:
    config = ScoreConfig(**values)
    show(config, score(config))
    return capsys.readouterr().out


def test_systems_are_beside_each_other(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, **files, metrics=("bleu", "wer"), resamples=200).splitlines()
    assert re.split(r"  +", lines[0])[3:] == ["95% interval", "difference", "p bootstrap", "p randomization"]
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["BLEU", "base"],
        ["new_1", f"{value(NEW, 'bleu'):.2f}"],
        ["WER", "base"],
        ["new_1", f"{value(NEW, 'wer'):.2f}"],
    ]
    assert lines[6].startswith("BLEU: nrefs:1|")
    assert lines[-1] == "95 % intervals and p-values against base: 200 samples, seed 12345"


def test_errors_are_counted(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    alone = printed(capsys, sys=files["sys"][1:], ref=files["ref"], metrics=("wer", "rouge1"), resamples=0)
    # ran through → runs in; a; four five.
    counts = "substitutions 2, deletions 1, insertions 2, reference words 22, wrong segments 3"
    assert alone.splitlines()[3] == f"WER: {counts}"
    assert re.fullmatch(r"ROUGE-1: precision \d\d\.\d\d, recall \d\d\.\d\d", alone.splitlines()[4])
    both = printed(capsys, **files, metrics=("wer",), format="markdown")
    assert f"WER new_1: {counts}" in both


def value(outputs: list[str], name: str) -> float:
    return METRICS[name]().score(outputs, [RIGHT]).value


def test_json(files: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = json.loads(
        printed(
            capsys,
            **files,
            metrics=("chrf", "distinct1"),
            format="json",
            resamples=50,
            groups=tmp_path / "kind",
            by_length=True,
            width=6,
        )
    )
    assert [(item["metric"], item["system"]) for item in found] == [
        (metric, system) for metric in ("chrf", "distinct1") for system in ("base", "new_1")
    ]
    assert "against" not in found[0]
    assert found[1]["difference"] == pytest.approx(found[1]["score"] - found[0]["score"], abs=2e-6)
    assert 0 < found[1]["p_randomization"] <= 1
    assert found[1]["interval"][0] <= found[1]["score"] <= found[1]["interval"][1]
    assert found[3]["p_bootstrap"] is None
    of_x = METRICS["chrf"]().score(NEW[::2], [RIGHT[::2]]).value
    assert found[1]["by kind"][0] == {"class": "x", "lines": 2, "score": pytest.approx(of_x, abs=1e-5)}
    assert found[1]["by length"] == [{"class": "0-10", "lines": 4, "score": found[1]["score"]}]


def test_the_table_says_where_there_is_no_bootstrap(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, **files, metrics=("ter", "distinct1", "entropy", "self_bleu"), resamples=50)
    rows = [line.split()[-2:] for line in out.splitlines() if line.split()[:1] == ["new_1"]]
    assert [bootstrap == "-" for bootstrap, _ in rows] == [False, True, True, True]
    assert [randomization == "-" for _, randomization in rows] == [False, False, False, True]
    assert "\nself-BLEU: no test, since " in out
    assert "\ndistinct-1, entropy-4: no bootstrap, which draws " in out
    assert "no bootstrap" not in printed(capsys, **files, metrics=("ter", "self_bleu"), resamples=50)


@pytest.mark.parametrize("name", ["=1+2", "+cmd", "-x", "@SUM(A1)", "=a\tb"])
def test_no_cell_is_a_formula(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (name, "other", "ref"):
        (tmp_path / file).write_text("a b\nc\n", encoding="utf-8")
    words = ["--sys", f"./{name}", "./other", "--ref", "ref", "--metrics", "ter", "--segments", "lines.tsv"]
    assert run_command(["score", *words, "--format", "csv"]) == 0
    header, *rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    lines = [line.split("\t") for line in (tmp_path / "lines.tsv").read_text(encoding="utf-8").splitlines()]
    cells = [cell for row in (header, *rows, *lines) for cell in row]
    assert f"'{name}" in cells
    assert f"'{name}:ter".replace("\t", " ") in cells
    assert not [
        cell for cell in cells if cell[:1] in ("=", "+", "-", "@") and cell != "-" and not is_float(cell)
    ]
    assert {len(line) for line in lines} == {3}


def is_float(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_csv_has_a_number_a_cell(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(printed(capsys, **files, metrics=("ter",), format="csv").splitlines()))
    assert [row["system"] for row in rows] == ["base", "new_1"]
    assert float(rows[1]["low"]) <= float(rows[1]["score"]) <= float(rows[1]["high"])
    assert rows[0]["p_bootstrap"] == ""
    assert 0 < float(rows[1]["p_bootstrap"]) <= 1


def test_markdown_and_latex(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    table = printed(capsys, **files, metrics=("bleu",), format="markdown").splitlines()
    assert table[1] == "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 8 for line in table[:4])
    latex = printed(capsys, **files, metrics=("bleu",), format="latex", resamples=0)
    assert r"\begin{tabular}{llrr}" in latex
    assert rf"BLEU & new\_1 & {value(NEW, 'bleu'):.2f} & " in latex
    assert latex.count(r" \\") == 3


def test_without_samples_there_are_only_scores(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, sys=files["sys"][:1], ref=files["ref"], metrics=("bleu",), resamples=0)
    assert re.fullmatch(r"BLEU  \d\d\.\d\d  nrefs:1\|\S+\n", out)
    both = printed(capsys, **files, metrics=("bleu",), resamples=0).splitlines()
    gap = value(NEW, "bleu") - value(BASE, "bleu")
    assert [line.split() for line in both[:3]] == [
        ["metric", "system", "score", "difference"],
        ["BLEU", "base", f"{value(BASE, 'bleu'):.2f}"],
        ["new_1", f"{value(NEW, 'bleu'):.2f}", f"{gap:+.2f}"],
    ]


@pytest.mark.parametrize("name", ["lines.tsv", "lines.jsonl"])
def test_line_scores(files: dict[str, Any], tmp_path: Path, name: str) -> None:
    metrics = ("bleu", "ter", "rouge1", "self_bleu")
    result = score(ScoreConfig(**files, metrics=metrics, segments=tmp_path / name))
    lines = (tmp_path / name).read_text(encoding="utf-8").splitlines()
    wanted = METRICS["bleu"]().sentence(NEW[1], [RIGHT[1]])
    if name.endswith("tsv"):
        assert lines[0].split("\t") == ["line", *(f"{s}:{m}" for s in ("base", "new_1") for m in metrics)]
        assert lines[2].split("\t")[0] == "2"
        assert float(lines[2].split("\t")[5]) == pytest.approx(wanted, abs=1e-3)
    else:
        assert json.loads(lines[1])["scores"]["new_1"]["bleu"] == pytest.approx(wanted, abs=1e-3)
        assert len(lines) == result.segments


def test_what_is_no_file_is_written_to_as_it_is(files: dict[str, Any], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    score(ScoreConfig(**files, metrics=("ter",), segments=pipe))
    assert os.read(reader, 10_000).decode().startswith("line\tbase:ter\tnew_1:ter\n")
    os.close(reader)
    assert pipe.is_fifo()
    with pytest.raises(S2SError, match="is a folder, not a file"):
        score(ScoreConfig(**files, metrics=("ter",), report=tmp_path))


def test_the_lines_that_differ_most(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, **files, metrics=("chrf",), diff=True, worst=2)
    differ, lose = out.split("new_1 beside base: ")[1:]
    gains = [
        METRICS["chrf"]().sentence(new, [right]) - METRICS["chrf"]().sentence(old, [right])
        for old, new, right in zip(BASE, NEW, RIGHT, strict=True)
    ]
    most = np.argsort(-np.abs(gains))[:2] + 1
    assert differ.startswith("the lines that differ most by chrF2")
    assert re.findall(r"^│ (\d+)", differ, re.M) == [str(line) for line in most]
    # One line loses; the second of those with the least gain has a gain all the same.
    assert re.findall(r"^│ (\d+)", lose, re.M) == [str(np.argmin(gains) + 1)]
    assert sorted(gains)[0] < 0 <= sorted(gains)[1]
    assert "{" in differ


def test_less_is_better_where_errors_are_counted(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, **files, metrics=("wer",), worst=1)
    rates = [
        [METRICS["wer"]().sentence(text, [right]) for text, right in zip(texts, RIGHT, strict=True)]
        for texts in (BASE, NEW)
    ]
    assert re.findall(r"^│ (\d+)", out, re.M) == [str(np.argmax(np.subtract(rates[1], rates[0])) + 1)]
    # And the worst line of each system, aligned.
    assert re.findall(r"the lines of (\S+) that score worst by WER\n\n(\d)", out) == [
        (name, str(np.argmax(found) + 1)) for name, found in zip(("base", "new_1"), rates, strict=True)
    ]


def test_errors_are_aligned_whatever_metric_is_first(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    alone = {"sys": files["sys"][:1], "ref": files["ref"]}
    four = r"\n4: WER 100\.00\nREF: one two three +\**.*\nHYP: one two three +four five six\n +I +I +I"
    assert re.search(four, printed(capsys, **alone, metrics=("wer",), worst=1))
    out = printed(capsys, **alone, metrics=("chrf", "wer", "cer"), worst=1)
    assert "the lines that score worst by chrF2" in out
    assert re.search(four, out)
    assert "worst by CER" not in out
    perfect = printed(capsys, sys=files["ref"], ref=files["ref"], metrics=("cer",), worst=2)
    assert perfect.endswith("\nno line has an error\n")


def test_words_that_differ() -> None:
    left, right = differing("a b c", "a x c d")
    assert "".join(part for part, _ in left) == "a b c"
    assert [part.strip() for part, differs in left if differs] == ["b"]
    assert [part.strip() for part, differs in right if differs] == ["x", "d"]
    assert differing("今天好", "今日好")[0] == [("今", False), ("天", True), ("好", False)]
    long = "w " * 5000
    assert differing(long, long + "x") == ([(long, True)], [(long + "x", True)])


@pytest.mark.parametrize(
    ("words", "label"), [(0, "0-10"), (10, "0-10"), (11, "11-20"), (50, "41-50"), (51, "over 50")]
)
def test_classes_of_length(words: int, label: str) -> None:
    assert length_label(words) == label


class Page(HTMLParser):
    """Checks that what is opened is closed, and collects what a page refers to."""

    VOID = ("meta", "rect")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report(files: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    result = score(ScoreConfig(**files, src=files["ref"][0], metrics=("chrf", "ter"), report=path))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert (page.links, "script" in page.tags, "http" in text, "url(" in text) == ([], False, False, False)
    for item in result.scores:
        assert f"{item.value:.2f}" in page.text
    for line in (BASE[1], NEW[1], RIGHT[1]):
        assert line in page.text
    assert "<the>" not in text
    for heading in (
        "Scores by length",
        "Lengths in words",
        "Most improved",
        "Most worsened",
        "new_1 beside base",
    ):
        assert heading in page.text
    assert "ins" in page.tags
    assert "del" in page.tags
    better = sum(
        METRICS["chrf"]().sentence(new, [right]) > METRICS["chrf"]().sentence(old, [right])
        for old, new, right in zip(BASE, NEW, RIGHT, strict=True)
    )
    assert f"Lines: {better} better" in page.text


def test_the_report_of_one_system_has_its_attention(tmp_path: Path) -> None:
    record = {
        "text": "a <b>",
        "reference": "a c",
        "source": "x y",
        "source_tokens": ["x", "y", "</s>"],
        "tokens": ["a", "<b>", "</s>"],
        "attention": [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0]],
    }
    system, path = tmp_path / "out.jsonl", tmp_path / "page.html"
    system.write_text(json.dumps(record) + "\n", encoding="utf-8")
    score(ScoreConfig(sys=(system,), metrics=("chrf",), report=path))
    text = path.read_text(encoding="utf-8")
    assert Page(text).open == []
    assert "--w:0.90" in text
    assert html.escape("<b> ← y: 0.70") in text
    for broken in ([[1.0]], "x", [["a", "b", "c"]] * 3, 7):
        system.write_text(json.dumps(record | {"attention": broken}) + "\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"out\.jsonl:1: the record's attention cannot be read"):
            score(ScoreConfig(sys=(system,), metrics=("chrf",), report=path))


def test_the_report_of_a_system_that_reads_frames_has_their_times(tmp_path: Path) -> None:
    record = {
        "text": "a",
        "reference": "a c",
        "source": "a.wav",
        "source_frames": [0, 4, 8],
        "frame_seconds": 0.01,
        "tokens": ["a", "</s>"],
        "attention": [[0.9, 0.1, 0.0], [0.0, 0.0, 1.0]],
    }
    system, path = tmp_path / "out.jsonl", tmp_path / "page.html"
    system.write_text(json.dumps(record) + "\n", encoding="utf-8")
    score(ScoreConfig(sys=(system,), metrics=("chrf",), report=path))
    text = path.read_text(encoding="utf-8")
    assert Page(text).open == []
    assert "</s> ← 0.08 s: 1.00" in html.unescape(text)
    for broken in ([0, 4], ["x"] * 3, 7):
        system.write_text(json.dumps(record | {"source_frames": broken}) + "\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"out\.jsonl:1: the record's attention cannot be read"):
            score(ScoreConfig(sys=(system,), metrics=("chrf",), report=path))


def test_only_lines_that_lose_or_are_wrong_are_shown(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A system that is right everywhere had its lines listed as those that lose most, 100.00 → 100.00."""
    right = files["ref"][0]
    out = printed(capsys, sys=(right, right), ref=(right,), metrics=("bleu",), worst=3, diff=True)
    out = " ".join(out.split())  # long paths are wrapped
    assert "the lines that lose most by BLEU: none" in out
    assert "the lines that differ most by BLEU: none" in out
    assert "→" not in out
    assert "every line is word for word a reference" in printed(
        capsys, sys=(right,), ref=(right,), metrics=("bleu",), worst=3
    )
