"""`explain` from lines to records, pages, pictures and the terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from explaining import Explainer
from fairseq_symbols import pad_sequences
from generating import SENTENCES, joined, limited
from terminals import foreign_controls, on_terminal
from toys import write_lines

from s2scli.attribution.base import ExplainedPair
from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.checkpoint_file import find_checkpoint
from s2scli.configs.explain import ExplainConfig
from s2scli.errors import DataError, S2SError, UsageError
from s2scli.plotting.attributions import attribution_maps, attribution_table, shares_of
from s2scli.record import Attribution, Hypothesis, Record

LINES = SENTENCES[:4]


@pytest.fixture
def made(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Explainer]:
    return lambda path: Explainer(path, capsys, monkeypatch)


@pytest.fixture
def run(toy_runs: Path, made: Callable[[Path], Explainer]) -> Explainer:
    return made(toy_runs / "transformer")


def direct(path: Path, record: dict[str, Any], **settings: Any) -> Any:
    """The shares of a record's output, straight from the method."""
    file = find_checkpoint(path)
    checkpoint = load_checkpoint(file)
    model = restore_model(checkpoint, file).eval()
    source = pad_sequences([checkpoint.tokenizers["source"].encode(record["source"])])
    target = pad_sequences([checkpoint.tokenizers["target"].encode(record["text"])])
    config = ExplainConfig(path=path, **settings)
    return config.attribution.builder(config, config).shares(ExplainedPair(model, source, target))


@pytest.mark.parametrize(
    "method", ["attention", "gradient_norm", "input_x_gradient", "integrated_gradients", "erasure"]
)
def test_records_have_what_the_method_says(run: Explainer, method: str, generating: Any) -> None:
    found = run.records(joined([*LINES, ""]), method=method)
    plain = generating(run.path)(joined([*LINES, ""]), max_len_a=0.0, max_len_b=6)
    assert [record["text"] for record in found] == plain
    assert "attribution" not in found[-1]
    for record in found[:-1]:
        shown = record["attribution"]
        wanted = direct(run.path, record, method=method)
        torch.testing.assert_close(torch.tensor(shown["source"]), wanted.source, rtol=1e-2, atol=2e-3)
        torch.testing.assert_close(torch.tensor(shown["prefix"]), wanted.prefix, rtol=1e-2, atol=2e-3)
        assert (shown["version"], shown["method"]) == (1, method)
        assert record["source_tokens"] == [*record["source"].split(), "</s>"]
        assert shown["prefix_tokens"] == ["</s>", *record["tokens"][:-1]]
        is_integrated = method == "integrated_gradients"
        assert ("steps" in shown, shown.get("completeness_error", 0) < 0.01) == (is_integrated, True)


def test_references_are_explained_in_place_of_outputs(run: Explainer, toy_data: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"source": line, "reference": "ba de", "doc": 3}) for line in LINES[:2]]
    write_lines(tmp_path / "in.jsonl", lines)
    for record in run.records("", input=tmp_path / "in.jsonl", references=True):
        assert (record["tokens"], record["doc"]) == (["ba", "de", "</s>"], 3)
        wanted = direct(run.path, {**record, "text": "ba de"}, method="input_x_gradient")
        torch.testing.assert_close(
            torch.tensor(record["attribution"]["source"]), wanted.source, rtol=1e-3, atol=1e-4
        )
    assert len(run.records("", data=toy_data, references=True, method="attention")) == 16
    with pytest.raises(UsageError, match="line 1 has no reference to score"):
        run(joined(LINES), references=True)


def test_a_model_from_right_to_left_in_reading_order(
    other_runs: Path, made: Callable[[Path], Explainer]
) -> None:
    run = made(other_runs / "right_to_left")
    (record,) = run.records("ba be bi da\n", method="erasure", min_len=3)
    shown, size = record["attribution"], len(record["tokens"])
    prefix = torch.tensor(shown["prefix"])
    assert size > 3
    # What is read later was written earlier: a token comes from those to its right, which stand a column later.
    assert not prefix[:-1, 1:].tril().any()
    assert prefix[0, 2:].any()
    assert prefix[-1].all()


def test_a_language_model_comes_from_its_prefix(other_runs: Path, made: Callable[[Path], Explainer]) -> None:
    run = made(other_runs / "lm")
    (record,) = run.records("ba be\n", method="erasure")
    shown = record["attribution"]
    assert (record["source_tokens"], shown["source"][0]) == ([], [])
    assert torch.tensor(shown["prefix"]).any()
    with pytest.raises(UsageError, match="language model has no source"):
        run("ba be\n", method="attention")


def test_lines_in_parts_come_from_their_own_part(run: Explainer, made: Any, tmp_path: Path) -> None:
    path = limited(run.path, tmp_path / "model", on_long="skip", max_source_length=4)
    text = "ba be bi da de di ga ge gi ka ke\n"
    (record,) = made(path).records(text, on_long="split")
    source = torch.tensor(record["attribution"]["source"])
    assert source.shape == (len(record["tokens"]), len(record["source_tokens"]))
    ends = [place for place, token in enumerate(record["source_tokens"]) if token == "</s>"]
    assert len(ends) > 1
    assert not source[0, ends[0] + 1 :].any()
    assert not source[-1, : ends[-2] + 1].any()
    with pytest.raises(DataError, match=r"^line 1: 11 source tokens, more than the 4 "):
        made(path)(text, on_long="error")


def test_several_outputs_of_a_line(run: Explainer) -> None:
    (record,) = run.records(joined(LINES[:1]), nbest=3)
    assert len(record["nbest"]) == 3
    assert record["nbest"][0]["attribution"] == record["attribution"]
    for item in record["nbest"]:
        assert len(item["attribution"]["source"]) == len(item["tokens"])


def test_gradients_that_do_not_add_up_are_told_of(run: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2scli.attribution.integrated._MOST_HALVINGS", 0)
    (record,) = run.records(joined(LINES[:1]), method="integrated_gradients", completeness=1e-6)
    assert "more than --completeness 1e-06" in record["warnings"][0]
    assert "more than --completeness 1e-06" in run.errors


def test_by_default_tokens_are_left_out(run: Explainer) -> None:
    """Erasure needs no gradients, and so any precision will do."""
    default = ExplainConfig(path=run.path).method
    (record,) = run.records("ba be\n", method=default)
    assert record["attribution"]["method"] == "erasure"
    ExplainConfig(path=run.path, precision="int8")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"contrast": "zebra"},
            "--contrast zebra: the model has no token for it, and so gives it no probability",
        ),
        (
            {"contrast": "ba be"},
            r"--contrast ba be: is no token of the model but 2 \(ba be\); give a word that is one",
        ),
        (
            {"contrast": "ba", "method": "attention"},
            "--contrast ba: --method attention is about no token but the one",
        ),
        ({"precision": "int8"}, "--precision int8: --method input_x_gradient needs gradients"),
        ({"output": "maps.gif"}, "--output maps.gif: the ending must be one of .html, .png, .svg, .pdf"),
        ({"method": "gradients"}, "method = 'gradients' is not allowed; did you mean gradient_norm"),
        ({"method": "attention", "alignment_layer": 4}, "--alignment-layer 4: the model has 1 decoder layer"),
    ],
)
def test_what_cannot_be_explained_is_said_in_a_line(
    run: Explainer, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        run("ba be\n", **settings)
    assert "\n" not in str(raised.value)


def test_several_models_and_exported_ones_are_not_looked_into(
    run: Explainer, made: Any, request: pytest.FixtureRequest
) -> None:
    both = Path(f"{run.path}:{run.path.parent / 'recurrent'}")
    with pytest.raises(UsageError, match=r"^s2s explain looks into one model: give one --path"):
        made(both)("ba be\n")
    with pytest.raises(
        UsageError, match=r"^--method input_x_gradient: CTranslate2 gives neither gradients nor"
    ):
        made(request.getfixturevalue("toy_export"))("ba be\n")


def test_a_page_of_all_outputs_needs_nothing_else(run: Explainer, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    found = run.records(joined(LINES), output=page, nbest=2)
    content = page.read_text(encoding="utf-8")
    assert not re.search(r"<script|https?:|src=|url\(", content)
    sections = re.findall(r"<section>.*?</section>", content, re.S)
    items = [(record, item) for record in found for item in record["nbest"]]
    assert len(sections) == len(items) == 8
    for section, (record, item) in zip(sections, items, strict=True):
        rows = ElementTree.fromstring(section).findall(".//tr")
        columns = [cell.text for cell in rows[0]]
        assert columns == [None, *record["source_tokens"], None, *item["attribution"]["prefix_tokens"]]
        for row, source, prefix in zip(
            rows[1:], item["attribution"]["source"], item["attribution"]["prefix"], strict=True
        ):
            total = sum(map(abs, [*source, *prefix]))
            drawn = [
                float(cell.get("style", "--w:0")[4:]) * (-1 if cell.get("class") == "against" else 1)
                for cell in row[1:]
            ]
            assert drawn == pytest.approx([value / total for value in [*source, 0, *prefix]], abs=0.011)


def record_of(text: str, *, source: list[list[float]], tokens: list[str], attended: list[str]) -> Record:
    item = Attribution(
        method="erasure",
        source=source,
        prefix=[[0.0] * len(tokens)] * len(tokens),
        prefix_tokens=["<s>", *tokens[:-1]],
    )
    hypothesis = Hypothesis(
        text=text, score=0.0, tokens=tokens, token_scores=[-0.7] * len(tokens), attribution=item
    )
    return Record(id=0, source=text, hypotheses=[hypothesis], attended=attended)


def test_text_on_a_page_is_text(tmp_path: Path) -> None:
    from s2scli.inference.heat_file import Drawn, open_heat_file

    evil = "<script>alert(1)</script>&"
    record = record_of(evil, source=[[1.0]], tokens=[evil], attended=[evil])
    with open_heat_file(tmp_path / "page.html", Drawn(maps=attribution_maps)) as take:
        take(record)
    content = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in content
    assert "&lt;script&gt;" in content


def test_a_picture(run: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(joined(LINES[:2]), output=tmp_path / "maps.svg")
    texts = {
        element.text
        for element in ElementTree.parse(tmp_path / "maps.svg").iter("{http://www.w3.org/2000/svg}text")
    }
    assert {"1", "2", "</s>", *LINES[0].split()} <= texts
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(S2SError, match=r"^--output needs matplotlib, which is not installed"):
        run(joined(LINES[:1]), output=tmp_path / "maps.svg")


def test_shares_add_up_to_one_by_size() -> None:
    item = Attribution(
        method="erasure", source=[[3.0, -1.0], [0, 0]], prefix=[[0, 4.0], [0, 0]], prefix_tokens=["a"]
    )
    assert shares_of(item) == [[0.375, -0.125, 0, 0.5], [0, 0, 0, 0]]


def test_lines_for_the_terminal_have_signs_and_names_and_80_columns() -> None:
    words = [f"a-rather-long-word-{number}" for number in range(9)]
    record = record_of("x", source=[[5, -4, 3, 2, 2, 1, 1, 1, 0.1]], tokens=["y\x1b[31m"], attended=words)
    lines = attribution_table(record, 80).plain.splitlines()
    assert lines[2].startswith("   y�[31m  50%  a-rather-long-wor… +0.26  a-rather-long-wor… -0.21")
    assert all(len(line) <= 80 for line in lines)


def test_colours_are_those_of_any_terminal(run: Explainer, tmp_path: Path) -> None:
    write_lines(tmp_path / "in.txt", ["ba be bi \x07da", "ke ki ga"])
    words = [
        "explain",
        f"--path={run.path}",
        f"--input={tmp_path / 'in.txt'}",
        "--method=erasure",
        "--device=cpu",
    ]
    shown = on_terminal([*words, "--max-len-b=5"], columns=80)
    assert not foreign_controls(shown).difference("\n")
    plain = re.sub("\x1b\\[[0-9;]*m", "", shown)
    assert max(map(len, plain.splitlines())) <= 80
    codes = {code for found in re.findall("\x1b\\[([0-9;]*)m", shown) for code in found.split(";")}
    assert {"32", "31"} & codes
    assert codes <= {"", "0", "1", "31", "32"}


def traced_lines(run: Explainer, text: str, **settings: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(text, trace=True, format="jsonl", **settings).splitlines()]


def test_traces_of_lines(run: Explainer, generating: Any, tmp_path: Path) -> None:
    found = traced_lines(run, joined([*LINES, ""]), beam=3, output=tmp_path / "page.html")
    plain = generating(run.path)(joined([*LINES, ""]), max_len_a=0.0, max_len_b=6, beam=3)
    assert [line["text"] for line in found] == plain
    assert (found[-1]["steps"], found[-1]["outputs"]) == ([], [])
    for line in found[:-1]:
        assert (line["version"], line["beam"]) == (1, 3)
        assert {item["parent"] for item in line["steps"][0]} == {-1}
        ended = [item for step in line["steps"] for item in step if item["fate"] == "ended"]
        assert all(item["token"] == "</s>" for item in ended)
        assert len(ended) >= 1
        assert line["outputs"][0]["tokens"][-1] == "</s>"
    content = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"<script|https?:|src=|url\(", content)
    sections = re.findall(r"<section>.*?</section>", content, re.S)
    for section, line in zip(sections, found, strict=True):
        tree = ElementTree.fromstring(section)
        rows = [len(table.findall("tr")) for table in tree.findall("table")]
        assert rows == [len(step) for step in line["steps"]]


def test_why_a_reference_or_a_word_was_not_written(run: Explainer, tmp_path: Path) -> None:
    lines = [json.dumps({"source": LINES[0], "reference": text}) for text in ("ba de", "ki be ge")]
    write_lines(tmp_path / "in.jsonl", lines)
    arguments = {"input": tmp_path / "in.jsonl", "references": True, "why": "ga", "beam": 2}
    found = traced_lines(run, "", **arguments)
    for line, text in zip(found, ("ba de", "ki be ge"), strict=True):
        wished, score = line["wished"], line["outputs"][0]["score"]
        assert [item["token"] for item in wished["tokens"]] == [*text.split(), "</s>"]
        is_output = [item["token"] for item in wished["tokens"]] == line["outputs"][0]["tokens"]
        blamed = "search" if wished["score"] > score else "model"
        assert wished["verdict"] == ("none" if is_output else blamed)
        assert len(line["word"]["instead_of"]) == len(line["outputs"][0]["tokens"])
        assert {item["token"] for item in line["word"]["instead_of"]} == {"ga"}
    shown = run("", trace=True, **arguments)
    assert re.search(r"a (model|search) error: the model gives the reference", shown)
    assert "ga in place of each token:" in shown
    assert max(map(len, run("", trace=True, **arguments).splitlines())) <= 80
    content = run("", trace=True, output=tmp_path / "page.html", **arguments)
    assert content == shown
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<th>rank</th>" in page
    for line, section in zip(found, re.findall(r"<section>.*?</section>", page, re.S), strict=True):
        # What was written, in whose place the word is.
        word = section.partition("in place of each token")[2].partition("</table>")[0]
        assert re.findall(r"<tr><td>(.*?)</td>", unescape(word)) == line["outputs"][0]["tokens"]


def test_a_trace_tells_what_is_to_be_said_of_a_line(
    run: Explainer, made: Callable[[Path], Explainer], toy_runs: Path, tmp_path: Path
) -> None:
    lines = [" ".join(["ba"] * 60), "ba be"]
    cut = made(limited(run.path, tmp_path / "model"))
    found = traced_lines(cut, joined(lines))
    assert [bool(line.get("warnings")) for line in found] == [True, False]
    assert "60 source tokens, cut to the 3" in found[0]["warnings"][0]
    long = json.dumps({"source": "ba", "reference": " ".join(["ba"] * 5000)})
    write_lines(tmp_path / "in.jsonl", [json.dumps({"source": "ba", "reference": "be"}), long])
    learned = made(toy_runs / "convolutional")
    with pytest.raises(
        DataError, match=r"line 2: its reference has 5000 tokens, and the model has positions"
    ):
        traced_lines(learned, "", input=tmp_path / "in.jsonl", references=True)


def test_a_page_of_a_trace_that_cannot_be_written_is_said_before_the_work(
    run: Explainer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(S2SError, match=r"page.html: cannot write"):
        run("ba be\n", trace=True, output=tmp_path / "file" / "page.html")


def test_a_trace_from_right_to_left_forces_the_reference_backwards(
    other_runs: Path, made: Callable[[Path], Explainer], tmp_path: Path
) -> None:
    run = made(other_runs / "right_to_left")
    write_lines(tmp_path / "in.jsonl", [json.dumps({"source": "ba be", "reference": "da de di"})])
    (line,) = traced_lines(run, "", input=tmp_path / "in.jsonl", references=True)
    assert [item["token"] for item in line["wished"]["tokens"]] == ["di", "de", "da", "</s>"]
    assert line["outputs"][0]["tokens"][:-1] == line["text"].split()[::-1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"why": "zebra"}, "--why zebra: the model has no token for it"),
        (
            {"output": "page.svg"},
            "--output page.svg: of a trace there is a page alone; the ending must be .html",
        ),
        ({"sampling": True}, "--trace: is of beam search alone; leave --sampling"),
        ({"mbr": "chrf"}, "--mbr: chooses among what a search has found, and --trace tells how it was found"),
        ({"references": True}, "line 1 has no reference to score"),
    ],
)
def test_what_cannot_be_traced_is_said_in_a_line(
    run: Explainer, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run("ba be\n", trace=True, **settings)


def test_pieces_on_a_page_of_a_trace_are_text() -> None:
    from s2scli.plotting.trace_shown import TracePage, trace_table
    from s2scli.traces import BeamTrace, TracedExtension, TracedLine, TracedStep

    step = TracedStep([TracedExtension(-1, 5, -0.5, "kept"), TracedExtension(-1, 6, -2.5, "beam", 1.25)])
    line = TracedLine(
        id=0,
        source="<b>\x1b",
        text="<i>",
        trace=BeamTrace(1, [step], [([5, 2], -0.5)]),
        names=lambda ids: ["<script>" if token == 5 else f"w{'x' * 99}" for token in ids],
    )
    stream = StringIO()
    TracePage(stream).add(line)
    section = stream.getvalue()
    assert "<script" not in section
    assert "<b>" not in section
    lines = trace_table(line, 80).plain.splitlines()
    assert lines[4].rstrip().endswith("pruned: not among the best of the beam, by 1.25")
    assert all(len(text) <= 80 for text in lines)
