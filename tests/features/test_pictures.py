"""Pictures are read column by column or patch by patch, as arrays of their pixels have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from s2scli.errors import DataError
from s2scli.features.extraction import Utterance, frame_reader
from s2scli.features.form import FeatureForm
from s2scli.features.opening import resolve
from s2scli.features.pictures import read_picture

SIZES = {"P5": 1, "P6": 3}


def write(path: Path, pixels: np.ndarray, comment: str = "") -> Path:
    """Write pixels [height, width, 1 or 3] as a .pgm or .ppm file."""
    height, width, channels = pixels.shape
    kind = next(name for name, number in SIZES.items() if number == channels)
    path.write_bytes(f"{kind}\n{comment}{width} {height}\n255\n".encode() + pixels.astype(np.uint8).tobytes())
    return path


def pixels(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """A picture in which every pixel is another."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels))


def frames(folder: Path, name: str, **settings: int) -> np.ndarray:
    """The frames of a picture, as those of the first one are settled."""
    form = FeatureForm(source_type="image", cmvn="none", num_features=1, **settings)
    reader = type(frame_reader(form))
    utterance = Utterance(references=(name,), folder=folder)
    return frame_reader(reader.settled(form, utterance)).read(utterance).frames


@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_is_a_column_from_the_top_down(tmp_path: Path, channels: int) -> None:
    picture = pixels(5, 7, channels)
    write(tmp_path / "a.ppm", picture, "# made by hand\n")
    found = frames(tmp_path, "a.ppm")
    assert found.shape == (7, 5 * channels)
    for column in range(7):
        assert found[column] * 255 == pytest.approx(picture[:, column].ravel(), abs=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_is_a_patch_row_by_row_and_the_last_are_completed_by_zeros(
    tmp_path: Path, channels: int
) -> None:
    picture = pixels(5, 7, channels)
    write(tmp_path / "a.ppm", picture)
    found = frames(tmp_path, "a.ppm", patch_size=3)
    assert found.shape == (2 * 3, 9 * channels)
    for row in range(2):
        for column in range(3):
            patch = np.zeros((3, 3, channels))
            part = picture[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            patch[: part.shape[0], : part.shape[1]] = part
            assert found[3 * row + column] * 255 == pytest.approx(patch.ravel(), abs=1e-3)


def test_pillow_reads_the_same_pixels_from_other_formats(tmp_path: Path) -> None:
    library = pytest.importorskip("PIL.Image")
    for channels, mode in ((1, "L"), (3, "RGB")):
        picture = pixels(6, 4, channels).astype(np.uint8)
        write(tmp_path / "a.ppm", picture)
        for ending in ("png", "bmp", "webp"):
            options = {"lossless": True} if ending == "webp" else {}
            library.fromarray(picture.squeeze(), mode).save(tmp_path / f"a.{ending}", **options)
            found = read_picture(resolve(f"a.{ending}", tmp_path))
            own = read_picture(resolve("a.ppm", tmp_path))
            # WebP knows colours only.
            assert found == pytest.approx(np.broadcast_to(own, found.shape), abs=1e-6)


def test_gray_in_16_bits_is_scaled_and_of_32_bits_nothing_says_what_is_white(tmp_path: Path) -> None:
    library = pytest.importorskip("PIL.Image")
    gray = np.array([[0, 300, 65535], [4096, 32768, 1]], np.uint16)
    for ending in ("png", "tiff"):
        library.fromarray(gray).save(tmp_path / f"a.{ending}")
        found = read_picture(resolve(f"a.{ending}", tmp_path))
        assert found[..., 0] == pytest.approx(gray / 65535, abs=1e-6)
    library.fromarray(np.float32([[0.0, 0.5], [1.0, 0.25]])).save(tmp_path / "b.tiff")
    with pytest.raises(DataError, match=r"b\.tiff: is gray in 32 bits, of which nothing says what is white"):
        read_picture(resolve("b.tiff", tmp_path))


def test_pictures_are_gray_or_colour_as_the_first_is(tmp_path: Path) -> None:
    gray, colour = pixels(3, 2, 1), pixels(3, 2, 3)
    write(tmp_path / "gray.pgm", gray)
    write(tmp_path / "colour.ppm", colour)
    form = FeatureForm(source_type="image", cmvn="none", num_features=1)
    for first, other in (("gray.pgm", "colour.ppm"), ("colour.ppm", "gray.pgm")):
        one, two = (Utterance(references=(name,), folder=tmp_path) for name in (first, other))
        reader = frame_reader(type(frame_reader(form)).settled(form, one))
        found = reader.read(two).frames * 255
        if first == "gray.pgm":
            lightness = colour @ [0.299, 0.587, 0.114]
            assert found == pytest.approx(lightness.T, abs=1e-3)
        else:
            assert found == pytest.approx(gray.repeat(3, axis=2).transpose(1, 0, 2).reshape(2, 9), abs=1e-3)


def test_what_is_no_picture_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "first.ppm", pixels(4, 4, 3))
    write(tmp_path / "high.ppm", pixels(5, 4, 3))
    whole = (tmp_path / "first.ppm").read_bytes()
    (tmp_path / "cut.ppm").write_bytes(whole[:-3])
    (tmp_path / "empty.ppm").touch()
    (tmp_path / "text.png").write_text("no picture\n")
    (tmp_path / "none.ppm").write_bytes(b"P6\n0 4\n255\n")
    (tmp_path / "deep.ppm").write_bytes(b"P6\n1 1\n65535\n" + bytes(6))
    (tmp_path / "huge.ppm").write_bytes(b"P6\n99999999 99999999\n255\n")
    form = FeatureForm(source_type="image", cmvn="none", num_features=1)
    first = Utterance(references=("first.ppm",), folder=tmp_path)
    reader = frame_reader(type(frame_reader(form)).settled(form, first))
    for name, problem in (
        ("high.ppm", "is 5 pixels high, and those before are 4; scale all to one height"),
        ("cut.ppm", "cut short: 45 bytes are there of 48"),
        ("empty.ppm", "is no picture that can be read"),
        ("text.png", "is no picture that can be read"),
        ("none.ppm", "0 × 4 pixels"),
        ("deep.ppm", "up to 65535"),
        ("huge.ppm", "99999999 × 99999999 pixels"),
        ("gone.ppm", "no such file"),
    ):
        with pytest.raises(DataError, match=rf"{name}: .*{problem}") as raised:
            reader.read(Utterance(references=(name,), folder=tmp_path))
        assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="start and end are of recordings"):
        reader.read(Utterance(references=("first.ppm",), folder=tmp_path, start=0.0, end=1.0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cmvn", ["none", "global"])
def test_what_a_model_reads_is_shown_as_the_picture_that_it_was(
    tmp_path: Path, channels: int, cmvn: str
) -> None:
    picture = pixels(4, 6, channels)
    write(tmp_path / "a.ppm", picture)
    for patch_size, expected in (
        (0, picture),
        # Patches of both rows side by side.
        (2, np.concatenate([picture[:2], picture[2:]], axis=1)),
    ):
        stored = frames(tmp_path, "a.ppm", patch_size=patch_size)
        number = stored.shape[1]
        moments = {"mean": tuple(stored.mean(0)), "deviation": tuple(stored.std(0) + 0.1)}
        form = FeatureForm(
            source_type="image",
            cmvn=cmvn,
            channels=channels,
            patch_size=patch_size,
            num_features=number,
            **moments if cmvn == "global" else {},
        )
        reader = frame_reader(form)
        shown = reader.shown(form.normalized(stored))
        assert form.frame_seconds is None
        assert shown * 255 == pytest.approx(expected, abs=0.1)
