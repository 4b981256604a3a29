"""Heat maps as text and as a page."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree

import pytest
from rich.cells import cell_len

from s2scli.plotting.heat import HeatMap, heat_maps, table
from s2scli.plotting.heat_page import HeatPage
from s2scli.plotting.heat_picture import draw_heat_maps
from s2scli.record import Hypothesis, Record


def heat_map(rows: list[str], columns: list[str], **fields: object) -> HeatMap:
    weights = [
        [round((7 * row + 3 * column) % 10 / 10, 1) for column in range(len(columns))]
        for row in range(len(rows))
    ]
    values: dict = {
        "number": 1,
        "source": "s",
        "text": "t",
        "rows": rows,
        "columns": columns,
        "weights": weights,
    }
    return HeatMap(**values | fields)


def test_a_table() -> None:
    found = table(
        HeatMap(
            number=1,
            source="",
            text="",
            rows=["ab", "c"],
            columns=["x", "yz"],
            weights=[[0.7, 0.06], [0.0, 0.3]],
        ),
        80,
    )
    assert found.split("\n") == [
        "     y",
        "   x z",
        "ab ██░░",
        "c    ▒▒",
        "░ from 0.05, ▒ 0.2, ▓ 0.4, █ 0.7",
    ]


@pytest.mark.parametrize("width", [20, 41, 80])
def test_a_table_is_no_wider_than_it_may_be(width: int) -> None:
    wide = heat_map(["中文" * 20, "e\u0301" * 3, "a"], ["b" * 30, *"cdefghij" * 5, "字"])
    lines = table(wide, width).split("\n")
    assert max(map(cell_len, lines[:-1])) <= max(width, 27)
    assert sum(line.startswith("a ") for line in lines) >= 42 * 2 // width
    assert "…" in table(wide, width)


def test_maps_of_a_record() -> None:
    item = Hypothesis(
        text="t", score=0.0, tokens=["a b", "\n", "</s>"], token_scores=[], attention=[[1.0]] * 3
    )
    blind = Hypothesis(text="t", score=0.0, tokens=[], token_scores=[])
    (found,) = heat_maps(Record(id=4, source="s", hypotheses=[item, blind], attended=["\u2028"]))
    assert (found.number, list(found.rows), list(found.columns)) == (5, ["a␣b", "\ufffd", "</s>"], ["\ufffd"])


def page_of(*maps: HeatMap) -> str:
    stream = io.StringIO()
    page = HeatPage(stream)
    for item in maps:
        page.add(item)
    page.finish()
    return stream.getvalue()


def test_a_page_holds_text_as_text_and_needs_nothing_else() -> None:
    evil = '<script>alert("x")</script>&amp;\'"'
    content = page_of(heat_map([evil, "</s>"], [evil, "b"], source=evil, text=f"</p>{evil}"))
    assert "<script" not in content
    assert not re.search(r"(src|href|url|@import|https?:)", content)
    body = content[content.index("<body>") : content.index("</html>")]
    tree = ElementTree.fromstring(body)
    assert [part.text for part in tree.findall("./section/p")] == [evil, f"</p>{evil}"]
    assert [cell.text for cell in tree.findall(".//tbody/tr/th")] == [evil, "</s>"]
    titles = [cell.get("title") for cell in tree.findall(".//td") if cell.get("title")]
    assert f"{evil} ← b: 0.30" in titles
    assert "prefers-color-scheme: dark" in content


def test_a_page_is_written_map_by_map() -> None:
    stream = io.StringIO()
    page = HeatPage(stream)
    sizes = []
    for _ in range(3):
        page.add(heat_map(["a"], ["b"]))
        sizes.append(stream.tell())
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 0


@pytest.mark.parametrize("number", [1, 2, 4, 5, 12])
def test_a_picture_has_a_panel_for_each_map(number: int) -> None:
    maps = [heat_map(["a", "$x$"], ["b", "c", "字"], number=place) for place in range(number)]
    panels = [panel for panel in draw_heat_maps(maps).axes if panel.images]
    assert len(panels) == number
    for panel, item in zip(panels, maps, strict=True):
        assert panel.images[0].get_array().tolist() == item.weights
        assert [label.get_text() for label in panel.get_xticklabels()] == ["b", "c", "字"]
        assert [label.get_text() for label in panel.get_yticklabels()] == ["a", "$x$"]
