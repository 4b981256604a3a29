"""`plot` from logs to pictures and charts."""

from __future__ import annotations

import json
import math
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from s2scli.cli.app import run
from s2scli.configs.plot import PlotConfig
from s2scli.errors import DataError, S2SError, UsageError
from s2scli.plot import PlotResult, plot
from s2scli.plotting.picture import draw
from s2scli.schema import build

NO_RUNS = (
    "RUNS must be given: run folders, their log.jsonl files, folders of s2s sweep, or records of s2s explain --method "
    "gradient_norm"
)


def figures(update: int, offset: float) -> dict[str, float]:
    loss = 4 + offset + 8 * math.exp(-update / 300)
    return {"loss": loss, "ppl": 2**loss, "gnorm": 1 + 100 / update, "lr": 1e-6 * update}


def write_run(folder: Path, offset: float, *, bleu: bool = True, norms: bool = True) -> Path:
    """A run of 1,000 updates in five epochs, logged every hundred."""
    events: list[dict[str, Any]] = []
    for update in (1, *range(100, 1001, 100)):
        epoch = 1 + (update - 1) // 200
        if norms:
            layers = {"source_embedding": 0.5, "encoder_layers.0": 0.1 * update, "output": 2.0 + offset}
            events.append({"event": "norms", "update": update, "norms": layers})
        events.append({"event": "train", "epoch": epoch, "update": update, **figures(update, offset)})
        if update % 200 == 0:
            valid = {"loss": figures(update, offset)["loss"] + 1} | (
                {"bleu": 30 * update / 1000} if bleu else {}
            )
            events.append({"event": "valid", "epoch": epoch, "update": update, **valid})
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        write_run(tmp_path / "small", 0.0),
        write_run(tmp_path / "_big $x$ 大", 0.5, bleu=False, norms=False),
    ]


def made(*runs: Path, **settings: Any) -> PlotResult:
    return plot(build(PlotConfig, {"runs": runs} | settings))


def drawn(result: PlotResult, x: str = "update") -> dict[str, Axes]:
    """The axes of the picture by their label; of maps of gradients, by the run."""
    figure = draw(result.panels, runs=[history.name for history in result.histories], x=x)
    assert isinstance(figure, Figure)
    return {axes.get_ylabel() or axes.get_title(): axes for axes in figure.axes}


def data(axes: Axes, line: int) -> list[tuple[float, float]]:
    x, y = axes.lines[line].get_data()
    return list(zip(x, y, strict=True))


def test_the_picture_shows_what_was_logged(runs: list[Path]) -> None:
    axes = drawn(made(*runs))
    labels = [
        "loss (bits per token)",
        "perplexity",
        "BLEU",
        "gradient norm",
        "learning rate",
        "small",
        "gradient norm by layer",
    ]
    assert list(axes) == labels
    updates = [1, *range(100, 1001, 100)]
    loss = axes["loss (bits per token)"]
    assert len(loss.lines) == 4
    for number, offset in enumerate((0.0, 0.5)):
        assert data(loss, 2 * number) == [(update, figures(update, offset)["loss"]) for update in updates]
        assert data(loss, 2 * number + 1) == [
            (update, figures(update, offset)["loss"] + 1) for update in range(200, 1001, 200)
        ]
    assert data(axes["BLEU"], 0) == [(update, 0.03 * update) for update in range(200, 1001, 200)]
    assert len(axes["BLEU"].lines) == 1
    colours = [to_hex(line.get_color()) for line in loss.lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    norms = norms_by_layer(axes["small"])
    assert list(norms) == ["source_embedding", "encoder_layers.0", "output"]
    assert norms["encoder_layers.0"] == pytest.approx([0.1 * update for update in updates])
    assert [name for name, item in axes.items() if item.get_yscale() == "log"] == [
        "perplexity",
        "gradient norm by layer",
    ]
    assert len({item.get_xlim() for name, item in axes.items() if name in labels[:5]}) == 1
    assert axes["small"].get_xlim() == (0, 1000)


def norms_by_layer(axes: Axes) -> dict[str, list[float]]:
    """What a map of gradients shows of each of its rows, from the top."""
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert axes.yaxis_inverted()
    return dict(zip(names, mesh_of(axes).get_array().tolist(), strict=True))


def mesh_of(axes: Axes) -> QuadMesh:
    (mesh,) = axes.collections
    assert isinstance(mesh, QuadMesh)
    return mesh


def test_gradients_of_runs_are_side_by_side_on_one_scale(tmp_path: Path) -> None:
    """Over layers and updates, with the same colours for the same norms."""
    runs = [write_run(tmp_path / name, offset) for name, offset in (("one", 0.0), ("two", 98.0))]
    result = made(*runs, figures=("gradients",))
    assert [(panel.title, panel.limits) for panel in result.panels] == [
        ("one", (0.1, 100.0)),
        ("two", (0.1, 100.0)),
    ]
    axes = drawn(result)
    assert list(axes) == ["one", "two", "gradient norm by layer"]
    meshes = [mesh_of(axes[name]) for name in ("one", "two")]
    assert [mesh.get_array()[2].tolist() for mesh in meshes] == [[2.0] * 11, [100.0] * 11]
    for mesh in meshes:
        assert (mesh.norm.vmin, mesh.norm.vmax) == (0.1, 100.0)
        assert mesh.norm(1.0) == pytest.approx(1 / 3)
    edges = meshes[0].get_coordinates()[0, :, 0]
    # A cell ends halfway to the next update.
    assert edges.tolist() == [-48.5, 50.5, *range(150, 1000, 100), 1050]
    places = [axes[name].get_subplotspec() for name in ("one", "two")]
    assert [place.colspan.start for place in places if place is not None] == [0, 1]


def test_a_run_without_gradients_is_told_how_to_log_them(runs: list[Path]) -> None:
    message = rf"^--figures gradients: {re.escape(str(runs[1]))}/log.jsonl has no gradient norms; they are logged by "
    for figure in ("gradients", "gradients.output"):
        with pytest.raises(UsageError, match=message + "s2s train --log-grad-norms$"):
            made(*runs, figures=(figure,))


def write_records(path: Path, *rows: list[list[float]], method: str = "gradient_norm") -> Path:
    """A file of `s2s explain`: a record for each, of an output with a source's gradients for each of its tokens."""
    blank = {"version": 1, "id": 0, "source": "", "text": ""}
    records = [
        blank
        | {"id": number, "source": "x", "tokens": ["t"] * len(source)}
        | {
            "attribution": {
                "version": 1,
                "method": method,
                "source": source,
                "prefix": [],
                "prefix_tokens": [],
            }
        }
        for number, source in enumerate(rows)
    ]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in [*records, blank]), encoding="utf-8")
    return path


def test_gradients_of_records_are_by_distance_from_the_sources_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = write_records(tmp_path / "long.jsonl", [[0.25, 0.5, 1.0], [0.0, 1.5, 3.0]], [[4.0]])
    short = write_records(tmp_path / "short.jsonl", [[0.0, 1e-20, 1e-3]])
    for figures in ((), ("gradients",)):
        (panel,) = made(long, short, figures=figures).panels
        assert panel.log_y
        assert [(line.name, line.x, line.y) for line in panel.lines] == [
            ("long", (0, 1, 2), (8 / 3, 1.0, 0.125)),
            ("short", (0, 1), (1e-3, 1e-20)),
        ]
    assert run(["plot", str(long), str(short)]) == 0
    out = capsys.readouterr().out
    for text in ("a long: 2 lines", "b short: 1 line", "tokens before the end of the source", "1e-20"):
        assert text in out
    axes = drawn(made(long), x="position")
    assert list(axes) == ["gradient norm at each source token"]
    assert axes["gradient norm at each source token"].get_xlabel() == "tokens before the end of the source"


def test_records_that_cannot_be_drawn(runs: list[Path], tmp_path: Path) -> None:
    other = write_records(tmp_path / "other.jsonl", [[1.0]], method="erasure")
    remedy = "; give the output of s2s explain --method gradient_norm --format jsonl$"
    with pytest.raises(
        DataError, match="other.jsonl:1: attribution.method is erasure, not gradient_norm" + remedy
    ):
        made(other)
    plain = tmp_path / "plain.jsonl"
    plain.write_text(
        '{"version": 1, "id": 0, "source": "a", "text": "b", "tokens": ["b"]}\n', encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"plain.jsonl:1: attribution = .* wanted: an object" + remedy):
        made(plain)
    nothing = write_records(tmp_path / "nothing.jsonl", [[0.0, 0.0]])
    with pytest.raises(DataError, match="nothing.jsonl: no gradient at any source position" + remedy):
        made(nothing)
    good = write_records(tmp_path / "good.jsonl", [[1.0]])
    with pytest.raises(
        UsageError, match="small is no file of records, whose gradients are by source position"
    ):
        made(good, runs[0])
    with pytest.raises(UsageError, match="--figures loss: records of s2s explain have one figure, gradients"):
        made(good, figures=("loss",))
    with pytest.raises(
        UsageError, match="--x epoch: the x axis of records counts source tokens; leave it out"
    ):
        made(good, x="epoch")


def test_smoothing_leaves_what_was_logged_in_sight(runs: list[Path]) -> None:
    axes = drawn(made(runs[0], figures=("loss",), smooth=3))["loss (bits per token)"]
    logged, smooth, valid = (data(axes, line) for line in range(3))
    assert smooth[5] == (500, pytest.approx(sum(value for _, value in logged[4:7]) / 3))
    assert smooth[0] == logged[0]
    assert valid[0] == (200, figures(200, 0)["loss"] + 1)


def test_the_x_axis(runs: list[Path]) -> None:
    axes = drawn(made(runs[0], figures=("loss",), x="epoch"), x="epoch")["loss (bits per token)"]
    assert axes.get_xlabel() == "epoch"
    assert [x for x, _ in data(axes, 1)] == [1, 2, 3, 4, 5]
    assert data(axes, 0)[3][0] == 1.5
    with pytest.raises(S2SError, match='no event has a number "seconds"'):
        made(runs[0], x="seconds")


def test_an_svg_holds_names_and_labels_as_text(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "curves.svg"
    assert made(*runs, output=output).output == output
    root = ElementTree.fromstring(output.read_text(encoding="utf-8"))
    texts = {"".join(item.itertext()).strip() for item in root.iter() if item.tag.endswith("text")}
    wanted = {
        "small",
        "_big $x$ 大",
        "training",
        "validation",
        "update",
        "perplexity",
        "BLEU",
        "encoder_layers.0",
    }
    assert wanted <= texts
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"{output}: loss, ppl, bleu, gnorm, lr, gradients of small, _big $x$ 大\n"
    first = output.read_bytes()
    for _ in range(5):
        # What else is in memory decides in which order the layout's solver adds up.
        crowd = [object() for _ in range(10_000)]
        made(*runs, output=output)
        assert output.read_bytes() == first, len(crowd)


@pytest.mark.parametrize(
    ("ending", "magic"), [("png", b"\x89PNG\r\n\x1a\n"), ("PNG", b"\x89PNG"), ("pdf", b"%PDF-")]
)
def test_other_formats(runs: list[Path], tmp_path: Path, ending: str, magic: bytes) -> None:
    output = tmp_path / f"curves.{ending}"
    made(*runs, output=output)
    content = output.read_bytes()
    assert content.startswith(magic)
    assert len(content) > 5000


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(
        '{"event": "train", "epoch": 1, "update": 1, "loss": 9.5, "ppl": 700.0}\n'
    )
    made(tmp_path / "log.jsonl", output=tmp_path / "first.png")
    assert (tmp_path / "first.png").stat().st_size > 5000


def test_only_gradients(runs: list[Path], tmp_path: Path) -> None:
    result = made(runs[0], figures=("gradients",), output=tmp_path / "gradients.svg")
    assert list(drawn(result)) == ["small", "gradient norm by layer"]
    assert "encoder_layers.0" in (tmp_path / "gradients.svg").read_text(encoding="utf-8")


def test_without_matplotlib_one_line_says_what_to_install(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(S2SError, match=r"^--output needs matplotlib.*pip install 's2scli\[plot\]'$"):
        made(runs[0], output=tmp_path / "x.png")
    assert made(runs[0]).panels


@pytest.mark.parametrize("name", ["curves.jpg", "curves"])
def test_an_ending_that_is_no_picture(runs: list[Path], tmp_path: Path, name: str) -> None:
    message = rf"^--output {re.escape(str(tmp_path / name))}: the ending must be one of \.png, \.svg, \.pdf$"
    with pytest.raises(UsageError, match=message):
        made(runs[0], output=tmp_path / name)


def test_a_python_user_gives_no_runs() -> None:
    with pytest.raises(UsageError, match=r"^RUNS must be given"):
        made()


def test_the_command_shows_charts(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(path) for path in runs]
    assert run(["plot", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    for text in (
        "small: 1,000 updates, epoch 5",
        "_big $x$ 大",
        "perplexity",
        "gradient norm by layer: small",
    ):
        assert text in out
    assert run(["plot", "--figures", "loss", *words, "--x", "epoch"]) == 0
    out = capsys.readouterr().out
    assert "epochs" in out
    assert "perplexity" not in out


def test_the_command_writes_pictures(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(["plot", str(runs[0]), "-o", str(tmp_path / "x.svg"), "--figures", "loss,bleu", "--log-y"]) == 0
    )
    assert capsys.readouterr().out == ""
    assert "BLEU" in (tmp_path / "x.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["plot"],
            2,
            NO_RUNS,
        ),
        (
            ["plot", "--figures", "loss"],
            2,
            NO_RUNS,
        ),
        (
            ["plot", "{run}", "--figures", "los"],
            2,
            "--figures los: no such figure in the log; did you mean loss?",
        ),
        (["plot", "{run}", "none"], 1, "none: no such file"),
        (["plot", "{run}", "--smooth", "0"], 2, "--smooth = '0' is not allowed; allowed: ≥ 1"),
    ],
)
def test_errors_of_the_command(
    runs: list[Path], words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([word.format(run=runs[0]) for word in words]) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"s2s plot: error: {message}\n")
