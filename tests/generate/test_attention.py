"""`generate` with what outputs attend to: alignments, unknown words, records, pages and tables."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from generating import SENTENCES, Generator, joined, limited
from toys import BAHDANAU, TRANSFORMER, Trainer, write_dataset, write_lines

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.configs.generate import MOST_MAPS
from s2scli.data.batch import Batch
from s2scli.errors import DataError, S2SError, UsageError
from s2scli.inference import heat_file
from s2scli.record import Hypothesis, Record


def records_of(run: Generator, text: str, **settings: Any) -> list[Any]:
    return [json.loads(line) for line in run(text, format="jsonl", **settings)]


def attention(path: Path, source: str, output: str) -> list[list[float]]:
    """What the model of a run attends to for one pair of texts."""
    path = path if path.is_file() else path / "checkpoint_best.safetensors"
    checkpoint = load_checkpoint(path)
    ids = (
        checkpoint.tokenizers[side].encode(text) for side, text in (("source", source), ("target", output))
    )
    batch = Batch(*(pad_sequences([item]) for item in ids))
    with torch.inference_mode():
        weights: list[list[float]] = restore_model(checkpoint, path).attention(batch)[0].tolist()
    return weights


def strongest(weights: list[list[float]]) -> str:
    """The alignment of words that are tokens, in plain Python."""
    rows = [row[:-1] for row in weights[:-1]]
    return " ".join(f"{row.index(max(row))}-{target}" for target, row in enumerate(rows))


def close(got: list[list[float]], expected: list[list[float]]) -> None:
    torch.testing.assert_close(torch.tensor(got), torch.tensor(expected), atol=1e-4, rtol=0)


def test_alignments_are_those_of_each_pair_alone(run: Generator) -> None:
    text = joined([*SENTENCES[:12], "", "  "])
    plain = run(text)
    lines = [line.split("\t") for line in run(text, print_alignment=True)]
    assert [line[0] for line in lines] == plain
    for source, line in zip(SENTENCES[:12], lines, strict=False):
        assert line[1] == strongest(attention(run.path, source, line[0]))
    assert lines[12:] == [[""], [""]]


def test_attention_in_records(run: Generator) -> None:
    text = joined([*SENTENCES[:6], ""])
    found = records_of(run, text, print_attention=True, print_alignment=True, nbest=2)
    for record in found[:6]:
        assert record["source_tokens"] == [*record["source"].split(), "</s>"]
        weights = attention(run.path, record["source"], record["text"])
        close(record["attention"], weights)
        assert all(round(value, 4) == value for row in record["attention"] for value in row)
        assert record["alignment"] == strongest(weights)
        for item in record["nbest"]:
            assert item["tokens"] == [*item["text"].split(), "</s>"]
            close(item["attention"], attention(run.path, record["source"], item["text"]))
            assert "source_tokens" not in item
    assert not found[6].keys() & {"attention", "alignment", "source_tokens", "nbest"}
    plain = records_of(run, text, nbest=2)
    assert not plain[0].keys() & {"attention", "alignment", "source_tokens"}
    assert [record["text"] for record in plain] == [record["text"] for record in found]


def test_alignments_of_references(run: Generator, toy_data: Path) -> None:
    lines = run("", data=toy_data, score_reference=True, print_alignment=True)
    records = records_of(run, "", data=toy_data, score_reference=True)
    for record, line in zip(records, lines, strict=True):
        score, reference, alignment = line.split("\t")
        assert reference == record["reference"]
        assert alignment == strongest(attention(run.path, record["source"], reference))
        assert float(score) == pytest.approx(record["score"], abs=1e-3)


def test_fairseqs_lines(run: Generator) -> None:
    lines = run(joined(SENTENCES[:3]), format="fairseq", print_alignment=True, nbest=2, beam=3)
    assert [line[:2] for line in lines[:9]] == ["S-", "H-", "D-", "P-", "A-", "H-", "D-", "P-", "A-"]
    text, alignment = lines[2].split("\t")[2], lines[4].split("\t")
    assert alignment == ["A-0", strongest(attention(run.path, SENTENCES[0], text))]


@pytest.mark.parametrize(
    "settings",
    [
        {"beam": 1},
        {"nbest": 3},
        {"sampling": True, "nbest": 2},
        {"mbr": "chrf", "mbr_candidates": 6, "nbest": 2},
        {"coverage_penalty": 0.4, "nbest": 2},
    ],
)
def test_every_search_has_its_alignments(run: Generator, settings: dict[str, Any]) -> None:
    """What is asked for beside them is as without them, and the grouping changes nothing."""
    text = joined([*SENTENCES[:9], ""])
    plain = run(text, batch_size=1, **settings)
    found = run(text, batch_size=1, print_alignment=True, **settings)
    assert [line.rpartition("\t")[0] if line else "" for line in found] == plain
    assert all(re.fullmatch(r"(\d+-\d+ )*\d+-\d+|", line.rpartition("\t")[2]) for line in found)
    together = [line.split("\t")[-2:] for line in run(text, print_alignment=True, **settings)]
    assert together == [line.split("\t")[-2:] for line in found]


@pytest.mark.usefixtures("loaded_workers")
def test_processes_change_nothing(transformer: Generator) -> None:
    text = joined([*SENTENCES[:6], ""])
    settings = {"batch_size": 1, "print_alignment": True, "print_attention": True}
    assert records_of(transformer, text, processes=2, **settings) == records_of(transformer, text, **settings)


def test_an_ensemble_attends_as_its_models_do_on_average(transformer: Generator) -> None:
    both = [transformer.path, transformer.path.parent / "recurrent"]
    path = Path(":".join(map(str, both)))
    for record in records_of(transformer, joined(SENTENCES[:6]), path=path, print_attention=True):
        members = [attention(path, record["source"], record["text"]) for path in both]
        close(record["attention"], torch.tensor(members).mean(0).tolist())


def test_an_output_that_is_gone_on_with(transformer: Generator, tmp_path: Path) -> None:
    text, output = joined(SENTENCES[:5]), tmp_path / "out"
    expected = joined(transformer(text, print_alignment=True))
    broken = tmp_path / "in.jsonl"
    records = [json.dumps({"source": line}) for line in SENTENCES[:5]]
    write_lines(broken, [*records[:3], "{"])
    with pytest.raises(DataError):
        transformer("", input=broken, output=output, print_alignment=True, batch_size=1)
    write_lines(broken, records)
    page = tmp_path / "page.html"
    with pytest.raises(UsageError, match=r"--attention .*: would lack 3 lines that --output has already"):
        transformer("", input=broken, output=output, print_alignment=True, attention=page)
    transformer("", input=broken, output=output, print_alignment=True)
    assert "going on after line 3" in transformer.errors
    assert output.read_text() == expected
    assert sorted(tmp_path.iterdir()) == [broken, output]


def test_lines_in_parts(run: Generator, tmp_path: Path) -> None:
    path = limited(run.path, tmp_path / "model", on_long="skip", max_source_length=4)
    parts = ["ba be bi da", "de di ga", "ge gi ka ke"]
    text = " ".join(parts) + "\n"
    settings: dict[str, Any] = {"path": path, "print_alignment": True, "print_attention": True}
    (record,) = records_of(run, text, on_long="split", **settings)
    pieces = records_of(
        run, "".join(record["source"][start:end] + "\n" for start, end in spans(record)), **settings
    )
    assert len(pieces) > 1
    expected, attended, source_at, target_at = [], [], 0, 0
    for piece in pieces:
        for pair in piece["alignment"].split():
            source, target = map(int, pair.split("-"))
            expected.append(f"{source + source_at}-{target + target_at}")
        source_at += len(piece["source"].split())
        target_at += len(piece["text"].split())
        attended += piece["source_tokens"]
    assert record["text"] == " ".join(piece["text"] for piece in pieces)
    assert record["alignment"] == " ".join(expected)
    assert record["source_tokens"] == attended
    blocks = [torch.tensor(piece["attention"]) for piece in pieces]
    close(record["attention"], torch.block_diag(*blocks).tolist())
    (tokens,) = records_of(run, text, on_long="split", alignment_unit="token", **settings)
    rows = [pair.split("-") for pair in tokens["alignment"].split()]
    without_end = [place for place, token in enumerate(tokens["tokens"]) if token != "</s>"]
    assert [int(target) for _, target in rows] == without_end
    assert [int(source) for source, _ in rows] == [int(pair.split("-")[0]) for pair in expected]


def spans(record: dict[str, Any]) -> list[tuple[int, int]]:
    """Where the parts of a line of words are, by the end symbols between their tokens."""
    words, found, start = 0, [], 0
    for token in record["source_tokens"]:
        words += token != "</s>"
        if token == "</s>":
            end = len(" ".join(record["source"].split()[:words]))
            found.append((start, end))
            start = end + 1
    return found


def test_parts_with_a_tag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_dataset(tmp_path, source_tag=("<2bb>",), context_lines=2, max_source_length=20)
    Trainer(data, tmp_path)("run", **BAHDANAU, max_update=1)
    path = limited(tmp_path / "run", tmp_path / "model", max_source_length=9, on_long="skip")
    run = Generator(path, capsys, monkeypatch)
    text = joined(["da de", " ".join(["ba be bi da"] * 4)])
    found = records_of(run, text, source_tag="<2bb>", on_long="split", print_alignment=True, max_len_b=9)[1]
    words = found["source"].split()
    assert words[:4] == ["<2bb>", "da", "de", "<sep>"]
    pairs = [tuple(map(int, pair.split("-"))) for pair in found["alignment"].split()]
    assert [target for _, target in pairs] == list(range(len(found["text"].split())))
    assert {words[source] for source, _ in pairs} <= {"<2bb>", "ba", "be", "bi", "da"}
    assert not {1, 2, 3} & {source for source, _ in pairs}, "no part had the context before it"


def test_unknown_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a vocabulary that lacks words of training, the model learns to say <unk>."""
    data = write_dataset(tmp_path, nwordssrc=10, joined_dictionary=True, copy=True)
    Trainer(data, tmp_path)("run", **TRANSFORMER | {"optimizer.lr": 0.02, "model.dropout": 0.0}, max_epoch=8)
    run = Generator(tmp_path / "run", capsys, monkeypatch)
    text = joined(SENTENCES[:20])
    plain = records_of(run, text, print_attention=True)
    found = records_of(run, text, replace_unk=True)
    dictionary = tmp_path / "words.tsv"
    write_lines(dictionary, [f"{word}\t{word.upper()}" for word in ("ba", "ke", "ki")])
    translated = records_of(run, text, replace_unk=True, replace_unk_dictionary=dictionary)
    assert sum("<unk>" in record["tokens"] for record in plain) > 3
    for before, after, looked_up in zip(plain, found, translated, strict=True):
        expected = before["text"].split()
        words = before["source"].split()
        for place, row in enumerate(before["attention"][:-1]):
            if before["tokens"][place] == "<unk>":
                expected[place] = words[row.index(max(row[:-1]))]
        assert after["text"] == " ".join(expected)
        assert after["tokens"] == before["tokens"]
        unknown = [token == "<unk>" for token in before["tokens"][:-1]]
        assert looked_up["text"].split() == [
            word.upper() if is_unknown and word in ("ba", "ke", "ki") else word
            for word, is_unknown in zip(expected, unknown, strict=True)
        ]
    write_lines(dictionary, ["no tab"])
    with pytest.raises(DataError, match=r"words\.tsv:1: "):
        run(text, replace_unk=True, replace_unk_dictionary=dictionary, processes=2)


def test_a_model_without_attention(
    trained: Trainer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("run", **BAHDANAU | {"model.attention": "none"}, max_update=1)
    run = Generator(trained.root / "run", capsys, monkeypatch)
    for settings in (
        {"print_alignment": True},
        {"coverage_penalty": 0.2},
        {"format": "table"},
    ):
        with pytest.raises(UsageError, match="no attention to show") as raised:
            run("ba be\n", **settings)
        assert "\n" not in str(raised.value)
    assert run("ba be\n")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replace_unk": True, "score_reference": True}, "--replace-unk is for outputs"),
        ({"attention": "maps.gif"}, r"--attention maps.gif: the ending must be one of .html, .png, .svg"),
        (
            {"print_alignment": True, "alignment_layer": 7},
            "--alignment-layer 7: the model has 1 decoder layer; allowed: 0 to 0, or -1 to -1 from the top",
        ),
        (
            {"print_alignment": True, "alignment_layer": -2},
            "--alignment-layer -2: the model has 1 decoder layer; allowed: 0 to 0, or -1 to -1 from the top",
        ),
    ],
)
def test_settings_that_make_no_sense(transformer: Generator, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        transformer("ba be\n", **settings)


def test_a_page_of_all_maps(transformer: Generator, tmp_path: Path) -> None:
    text, page = joined([*SENTENCES[:4], "", SENTENCES[4]]), tmp_path / "maps.html"
    assert transformer(text, attention=page, nbest=2) == transformer(text, nbest=2)
    content = page.read_text(encoding="utf-8")
    found = records_of(transformer, text, print_attention=True, nbest=2)
    sections = re.findall(r"<section>(.*?)</section>", content, re.S)
    expected = [(record, item) for record in found for item in record.get("nbest", [])]
    assert len(sections) == len(expected) == 10
    for section, (record, item) in zip(sections, expected, strict=True):
        tree = ElementTree.fromstring(f"<section>{section}</section>")
        assert tree.findtext("h2") == str(record["id"] + 1)
        rows = tree.findall(".//tr")
        assert [cell.text for cell in rows[0]] == [None, *record["source_tokens"]]
        for row, token, weights in zip(rows[1:], item["tokens"], item["attention"], strict=True):
            assert row[0].text == token
            drawn = [float(cell.get("style", "--w:0").removeprefix("--w:")) for cell in row[1:]]
            assert drawn == pytest.approx(weights, abs=0.011)
    assert [path.name for path in tmp_path.iterdir()] == ["maps.html"]


def test_no_page_of_a_command_that_fails(transformer: Generator, tmp_path: Path) -> None:
    broken = tmp_path / "in.jsonl"
    write_lines(broken, [json.dumps({"source": SENTENCES[0]}), "{"])
    for name in ("maps.html", "maps.svg"):
        with pytest.raises(DataError):
            transformer("", input=broken, attention=tmp_path / name, buffer_size=1)
    assert list(tmp_path.iterdir()) == [broken]


@pytest.mark.parametrize("name", ["maps.html", "maps.svg"])
def test_what_goes_wrong_elsewhere_is_not_said_of_the_file(tmp_path: Path, name: str) -> None:
    item = Hypothesis(text="", score=0.0, tokens=["a"], token_scores=[], attention=[[1.0]])
    record = Record(id=0, source="", hypotheses=[item], attended=["b"])

    def draw_and_fail(path: Path, *failures: BaseException) -> None:
        with heat_file.open_heat_file(path) as draw:
            draw(record)
            for failure in failures:
                raise failure

    with pytest.raises(BrokenPipeError):
        draw_and_fail(tmp_path / "new" / name, BrokenPipeError())
    assert not list(tmp_path.glob("*/*"))
    (tmp_path / "file").touch()
    with pytest.raises(S2SError, match="cannot write: "):
        draw_and_fail(tmp_path / "file" / name)


def test_pictures(transformer: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "maps.svg"
    transformer(joined(["", *SENTENCES[: MOST_MAPS + 2]]), attention=picture)
    assert (
        f"maps.svg: the first {MOST_MAPS} of {MOST_MAPS + 2} heat maps; a file .html takes all"
        in transformer.errors
    )
    texts = {element.text for element in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")}
    assert {"2", str(MOST_MAPS + 1), "</s>", *SENTENCES[0].split()} <= texts
    transformer(joined(SENTENCES[:1]), attention=tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert transformer.errors == ""
    transformer("\n", attention=tmp_path / "none.png")
    assert "no output to draw" in transformer.errors
    assert not (tmp_path / "none.png").exists()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(S2SError, match=r"^--attention needs matplotlib, which is not installed: pip install"):
        transformer(joined(SENTENCES[:1]), attention=picture)
    assert heat_file.MOST_MAPS == MOST_MAPS


def test_tables(transformer: Generator) -> None:
    text = joined([SENTENCES[0], "", SENTENCES[1]])
    lines = transformer(text, format="table")
    plain = transformer(text)
    assert lines[0] == plain[0]
    labels = [line.split(" ")[0] for line in lines]
    assert [token for token in labels if token in ("ba", "</s>")]
    record = records_of(transformer, f"{SENTENCES[0]}\n", print_attention=True)[0]
    start = lines.index(next(line for line in lines[1:] if line.split(" ")[0] == record["tokens"][0]))
    for line, token, weights in zip(lines[start:], record["tokens"], record["attention"], strict=False):
        assert line.split(" ")[0] == token
        shades = line[5:].ljust(2 * len(weights))
        for place, weight in enumerate(weights):
            if all(abs(weight - least) > 1e-3 for least in (0.05, 0.2, 0.4, 0.7)):
                level = sum(weight >= least for least in (0.05, 0.2, 0.4, 0.7))
                assert shades[2 * place : 2 * place + 2] == 2 * " ░▒▓█"[level]
    assert "\x1b" not in "".join(lines)
