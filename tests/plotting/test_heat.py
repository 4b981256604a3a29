"""Heat maps as text and as a page."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.transforms import Bbox
from rich.cells import cell_len

from s2scli.plotting.heat import HeatMap, heat_maps, table
from s2scli.plotting.heat_page import HeatPage
from s2scli.plotting.heat_picture import draw_heat_maps
from s2scli.plotting.png import as_png
from s2scli.record import AttendedFrames, Hypothesis, Record


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


def of_frames(positions: int, rows: int = 3, channels: int = 1, **fields: object) -> HeatMap:
    """The map of an output whose n-th token attends to position 7 n, of 40 ms each, that are brighter and brighter."""
    light = np.linspace(0, 1, 4 * positions, dtype=np.float32)
    frames = AttendedFrames(
        starts=[4 * number for number in range(positions)],
        seconds=0.01,
        picture=np.broadcast_to(light[None, :, None], (8, 4 * positions, channels)),
    )
    item = Hypothesis(
        text="t",
        score=0.0,
        tokens=[f"w{row}" for row in range(rows)],
        token_scores=[],
        attention=[[0.8 if column == 7 * row else 0.0 for column in range(positions)] for row in range(rows)],
    )
    (found,) = heat_maps(Record(id=0, source="a.wav", hypotheses=[item], frames=frames, **fields))
    return found


@pytest.mark.parametrize("width", [20, 41, 80])
@pytest.mark.parametrize("positions", [1, 15, 78, 1000])
def test_a_table_of_frames_has_one_line_a_token_and_the_times_where_they_are(
    positions: int, width: int
) -> None:
    lines = table(of_frames(positions), width).split("\n")[:-1]
    *strip, axis, first, second, third = lines
    assert max(map(len, lines)) <= width
    assert len(strip) == 4
    each = -(-positions // (width - 3))
    assert first == "w0 █"
    if positions > 14:
        assert (second, third) == (f"w1 {' ' * (7 // each)}█", f"w2 {' ' * (14 // each)}█")
        assert {line[-1] for line in strip} == {"█"}
    assert axis[3:].startswith("0.00 s")
    for match in re.finditer(r"(\S+) s", axis):
        assert (match.start() - 3) * each <= float(match[1]) / 0.04 <= (match.start() - 2) * each


def test_the_times_of_a_table_of_frames() -> None:
    assert (
        table(of_frames(78), 81).split("\n")[4]
        == "   " + "".join(f"{0.4 * number:.2f} s".ljust(10) for number in range(8)).rstrip()
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_page_shows_frames_above_their_positions(channels: int) -> None:
    item = of_frames(40, channels=channels)
    content = page_of(item)
    assert re.findall(r'(?:src|href|url)="([^,"]*)', content) == ["data:image/png;base64"]
    tree = ElementTree.fromstring(content[content.index("<body>") : content.index("</html>")])
    seen, labels, *rows = tree.findall(".//tr")
    (image,) = seen.findall(".//img")
    pixels = imread(io.BytesIO(base64.b64decode(image.get("src").partition(",")[2])))
    assert pixels.shape[:2] == (8, 160)
    expected = item.picture if channels == 3 else item.picture[..., 0]
    assert pixels == pytest.approx(expected, abs=1 / 255)
    assert seen.find("td").get("colspan") == "40"
    assert [(cell.text, cell.get("colspan")) for cell in labels[1:]] == [
        (f"{0.2 * number:.2f} s", "5") for number in range(8)
    ]
    assert [len(row) for row in rows] == [41] * 3
    titles = [cell.get("title") for cell in tree.findall(".//td") if cell.get("title")]
    assert titles == ["w0 ← 0.00 s: 0.80", "w1 ← 0.28 s: 0.80", "w2 ← 0.56 s: 0.80"]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_picture_shows_frames_above_their_positions(number: int) -> None:
    """As wide as the map, and nothing is drawn over anything else."""
    figure = draw_heat_maps([replace(of_frames(40), number=place) for place in range(number)])
    figure.canvas.draw()
    drawn = [axes for axes in figure.axes if axes.images]
    boxes = [axes.get_position() for axes in drawn]
    whole = Bbox([[0, 0], [1, 1]])
    assert all(whole.contains(*corner) for box in boxes for corner in (box.min, box.max))
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    seen = [axes for axes in drawn if axes.images[0].get_array().shape == (8, 160)]
    maps = [axes for axes in drawn if axes.images[0].get_array().shape == (3, 40)]
    assert len(seen) == len(maps) == number
    for above, below in zip(seen, maps, strict=True):
        assert above.get_xlim() == below.get_xlim() == (-0.5, 39.5)
        for side in ("x0", "x1"):
            assert getattr(above.get_position(), side) == pytest.approx(getattr(below.get_position(), side))
        assert above.get_position().y0 > below.get_position().y1
        labels = [label.get_text() for label in below.get_xticklabels()]
        assert labels == [f"{0.2 * place:.2f} s" for place in range(8)]
    assert [axes.get_title(loc="left") for axes in maps] == [str(place) for place in range(number)]


def test_frames_that_are_no_time_are_numbered() -> None:
    frames = AttendedFrames(starts=[0, 2, 4])
    item = Hypothesis(text="t", score=0.0, tokens=["a"], token_scores=[], attention=[[0.1, 0.2, 0.7]])
    (found,) = heat_maps(Record(id=0, source="a.ppm", hypotheses=[item], frames=frames))
    assert list(found.columns) == ["0", "2", "4"]
    assert found.is_still
    assert '<table class="frames still" style="--columns:3">' in page_of(found)
    assert table(found, 80).split("\n")[:2] == ["  0 4", "a ░▒█"]


def test_a_png_is_what_other_programs_read() -> None:
    for channels in (1, 3):
        pixels = np.random.default_rng(1).random((5, 7, channels), dtype=np.float32)
        found = imread(io.BytesIO(as_png(pixels)))
        assert found == pytest.approx(pixels if channels == 3 else pixels[..., 0], abs=1 / 255)
