"""Matrices in files of every format, and what else a reference may be to."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from s2scli.errors import DataError
from s2scli.features.opening import open_recording, read_matrix, resolve

MATRIX = np.random.default_rng(4).normal(0, 3, (7, 3)).astype(np.float32)


def read(folder: Path, text: str) -> np.ndarray:
    return read_matrix(resolve(text, folder))


def kaldi(token: bytes, *parts: bytes) -> bytes:
    return b"\0B" + token + b" " + b"".join(parts)


def whole(number: int) -> bytes:
    return b"\4" + struct.pack("<i", number)


@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_arrays_are_read(kind: str, order: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asarray(MATRIX.astype(kind), order=order))
    found = read(tmp_path, "a.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, MATRIX.astype(kind).astype(np.float32))


def test_what_a_file_begins_with_tells_its_format(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MATRIX)
    (tmp_path / "a.npy").rename(tmp_path / "no-ending")
    np.testing.assert_array_equal(read(tmp_path, "no-ending"), MATRIX)


def test_one_of_several_arrays_is_named(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "one.npz", feats=MATRIX)
    np.savez(tmp_path / "two.npz", a=MATRIX, b=MATRIX * 2)
    save_file({"a": MATRIX, "b": MATRIX * 2}, tmp_path / "two.safetensors")
    save_file({"x": MATRIX.astype(np.float16)}, tmp_path / "one.safetensors", {"format": "np"})
    np.testing.assert_array_equal(read(tmp_path, "one.npz"), MATRIX)
    np.testing.assert_array_equal(
        read(tmp_path, "one.safetensors"), MATRIX.astype(np.float16).astype(np.float32)
    )
    for name in ("two.npz", "two.safetensors"):
        np.testing.assert_array_equal(read(tmp_path, f"{name}:b"), MATRIX * 2)
        with pytest.raises(DataError, match=rf"{name}: holds 2 arrays .* name one"):
            read(tmp_path, name)
        with pytest.raises(DataError, match=rf"{name}: holds no 'c'"):
            read(tmp_path, f"{name}:c")


def test_what_is_stored_in_a_zip_archive_is_read_by_its_offset_and_by_its_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "f.zip", "w", zipfile.ZIP_STORED) as archive:
        for name, factor in (("a", 1), ("b", 2)):
            data = io.BytesIO()
            np.save(data, MATRIX * factor)
            archive.writestr(f"{name}.npy", data.getvalue())
    raw = (tmp_path / "f.zip").read_bytes()
    for name, factor in (("a", 1), ("b", 2)):
        # As fairseq's get_zip_manifest finds where data begins: behind the header, of 30 bytes and the name.
        with zipfile.ZipFile(tmp_path / "f.zip") as archive:
            info = archive.getinfo(f"{name}.npy")
        offset = info.header_offset + 30 + len(info.filename)
        assert raw[offset : offset + 6] == b"\x93NUMPY"
        np.testing.assert_array_equal(read(tmp_path, f"f.zip:{offset}:{info.file_size}"), MATRIX * factor)
        np.testing.assert_array_equal(read(tmp_path, f"f.zip:{name}.npy"), MATRIX * factor)
    with pytest.raises(DataError, match="beyond the end of the file"):
        read(tmp_path, f"f.zip:{len(raw) - 5}:6")
    with pytest.raises(DataError, match=r"FILE\.zip:NAME"):
        read(tmp_path, "f.zip:c.npy")


def test_matrices_of_kaldi_are_read(tmp_path: Path) -> None:
    single = kaldi(b"FM", whole(7), whole(3), MATRIX.astype("<f4").tobytes())
    double = kaldi(b"DM", whole(7), whole(3), MATRIX.astype("<f8").tobytes())
    rows = "\n".join("  " + " ".join(repr(float(number)) for number in row) for row in MATRIX)
    data, offsets = b"", []
    for name, matrix in (("u1 ", single), ("u2 ", double), ("u3 ", f" [\n{rows} ]\n".encode())):
        data += name.encode()
        offsets.append(len(data))
        data += matrix
    (tmp_path / "raw.ark").write_bytes(data)
    for offset in offsets:
        np.testing.assert_array_equal(read(tmp_path, f"raw.ark:{offset}"), MATRIX)
    np.testing.assert_array_equal(read(tmp_path, f"raw.ark:{offsets[0]}[2:4]"), MATRIX[2:5])
    np.testing.assert_array_equal(read(tmp_path, f"raw.ark:{offsets[0]}[0:6,1:2]"), MATRIX[:, 1:3])
    with pytest.raises(DataError, match="beyond the matrix"):
        read(tmp_path, f"raw.ark:{offsets[0]}[2:7]")
    for wrong in ("0", "2", str(len(data)), "x"):
        with pytest.raises(DataError, match=r"raw\.ark:"):
            read(tmp_path, f"raw.ark:{wrong}")


def test_compressed_matrices_of_kaldi_are_read(tmp_path: Path) -> None:
    """Bytes put down by hand, after the format's description in compressed-matrix.h."""
    # From -2 to 8, 2 rows of 3 columns.
    header = struct.pack("<ffii", -2.0, 10.0, 2, 3)
    two = kaldi(b"CM2", header, struct.pack("<6H", 0, 65535, 13107, 26214, 39321, 52428))
    one = kaldi(b"CM3", header, bytes([0, 255, 51, 102, 153, 204]))
    # The quartiles of the columns: 0 2 4 8, 0 0 0 0 and -2 -1 1 3; then the columns, one after the other.
    steps = [[13107, 26214, 39321, 65535], [13107] * 4, [0, 6553, 19661, 32768]]
    quartiles = b"".join(struct.pack("<4H", *column) for column in steps)
    by_column = kaldi(b"CM", header, quartiles, bytes([0, 255, 64, 100, 128, 192]))
    (tmp_path / "c.ark").write_bytes(two + one + by_column)
    expected = [[-2, 8, 0], [2, 4, 6]]
    np.testing.assert_allclose(read(tmp_path, "c.ark:0"), expected, atol=1e-4)
    np.testing.assert_allclose(read(tmp_path, f"c.ark:{len(two)}"), expected, atol=1e-4)
    np.testing.assert_allclose(
        read(tmp_path, f"c.ark:{len(two) + len(one)}"), [[0, 0, 0], [8, 0, 1]], atol=1e-3
    )


def test_what_is_broken_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", MATRIX[0])
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    np.save(tmp_path / "nan.npy", np.array([[1.0, 2.0], [3.0, np.nan]]))
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    np.save(tmp_path / "cut.npy", MATRIX)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-1])
    (tmp_path / "cut.ark").write_bytes(kaldi(b"FM", whole(7), whole(3), b"\0" * 80))
    (tmp_path / "huge.ark").write_bytes(kaldi(b"FM", whole(2**31 - 1), whole(2**31 - 1)))
    (tmp_path / "ragged.ark").write_bytes(b"[ 1 2\n 3 ]")
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(MATRIX))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(tmp_path / "objects.npz", np.array([{}], dtype=object))
    save_file({"a": MATRIX}, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-1])
    for name, problem in {
        "flat.npy": r"an array of shape \(3,\); wanted: \[frames, features\]",
        "objects.npy": "type object; wanted: numbers",
        "nan.npy": "feature 2 of frame 2 is not a finite number",
        "words.npy": "wanted: numbers",
        "cut.npy": "says that it has 84 bytes.* but 83 are there",
        "cut.ark:0": "cut short",
        "huge.ark:0": "cut short",
        "ragged.ark:0": "different lengths",
        "empty.npy": "the file is empty",
        "pickle.npy": "magic string is not correct",
        "cut.npz": "no archive of arrays, or cut short",
        "objects.npz": "type object; wanted: numbers",
        "cut.safetensors": "cut short",
    }.items():
        with pytest.raises(DataError, match=rf"{name.partition(':')[0]}.*: .*{problem}") as raised:
            read(tmp_path, name)
        assert "\n" not in str(raised.value)


def test_commands_are_never_run(tmp_path: Path) -> None:
    for command in (f"touch {tmp_path / 'ran'} |", f"| touch {tmp_path / 'ran'}"):
        with pytest.raises(DataError, match="is a command, and none is run"):
            resolve(command, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_paths_are_relative_to_the_folder_of_their_manifest(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a:1.npy", MATRIX)
    np.testing.assert_array_equal(read(tmp_path / "in", "a:1.npy"), MATRIX)
    np.testing.assert_array_equal(read(Path("/"), str(tmp_path / "in" / "a:1.npy")), MATRIX)
    for missing in ("b.npy", "in/b.npz:x"):
        with pytest.raises(DataError, match=r"in/b\.np[yz]: no such file"):
            resolve(missing, tmp_path if "/" in missing else tmp_path / "in")
    with pytest.raises(DataError, match="is no file"):
        resolve("in", tmp_path)


def test_sound_and_features_are_told_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MATRIX)
    (tmp_path / "a.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    (tmp_path / "a.txt").write_bytes(b"zero one\n")
    for name, remedy in {
        "a.npy": "--source-type features",
        "a.m4a": r"ffmpeg -i a\.m4a",
        "a.txt": "of no format that is known: wav, soundfile",
    }.items():
        with pytest.raises(DataError, match=rf"{name}: .*{remedy}"), open_recording(resolve(name, tmp_path)):
            pass
    with pytest.raises(DataError, match="--source-type audio"):
        read(tmp_path, "a.wav")
