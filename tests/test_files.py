"""What is written under names of our own goes into no other file, and what is read is what it should be."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import TRANSFORMER, Trainer

from s2scli.cli.app import run as run_command
from s2scli.errors import DataError, S2SError
from s2scli.files import make_own_folder, open_own, open_own_text, read_small
from s2scli.io import open_text, write_atomically, write_named

PRECIOUS = "nobody may write here\n"


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file that belongs to somebody else."""
    path = tmp_path / "precious"
    path.write_text(PRECIOUS, encoding="utf-8")
    return path


def test_a_file_of_our_own_is_no_link_and_no_pipe(tmp_path: Path, precious: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(precious)
    os.mkfifo(pipe)
    for mode in ("wb", "ab", "a+b", "r+b"):
        for path, kind in ((link, "a link"), (pipe, "a (named pipe|pipe or a socket)")):
            with pytest.raises(S2SError, match=rf"{path}: is {kind}, and s2s writes there .*; remove it"):
                open_own(path, mode)
    with pytest.raises(S2SError, match="is a link"):
        open_own_text(link, "w")
    assert precious.read_text(encoding="utf-8") == PRECIOUS
    with open_own(tmp_path / "new", "wb") as stream:
        stream.write(b"ours")
    with open_own(tmp_path / "new", "wb") as stream:
        pass
    assert (tmp_path / "new").read_bytes() == b"", "what is there of our own is emptied"


def test_a_folder_of_our_own_is_no_link_and_holds_none(
    tmp_path: Path, precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / ".out.partial"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    with pytest.raises(S2SError, match="is a link"):
        make_own_folder(folder)
    folder.unlink()
    make_own_folder(folder)
    make_own_folder(folder)
    (folder / "train").mkdir()
    (folder / "train" / "source.ids").symlink_to(precious)
    with pytest.raises(S2SError, match=r"source\.ids: is a link"):
        make_own_folder(folder)
    (folder / "train" / "source.ids").unlink()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr("s2scli.files._owner_of_new", lambda _: os.getuid() + 1)
    with pytest.raises(S2SError, match="is another user's folder"):
        make_own_folder(folder)


def commands(data: Path, run: Path) -> dict[str, tuple[Callable[[Path, Path], list[Path]], list[str]]]:
    """For each file of a name of our own: a function that puts links there, and the command that would write it."""

    def links(*names: str) -> Callable[[Path, Path], list[Path]]:
        def put(folder: Path, target: Path) -> list[Path]:
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).symlink_to(target)
            return [folder / name for name in names]

        return put

    train = [
        "train",
        str(data),
        "--save-dir",
        "run",
        "--arch",
        "transformer_tiny",
        "--max-update",
        "1",
        "--threads",
        "1",
    ]
    generate = ["generate", "--path", str(run), "--input", "source", "--output", "out"]
    preprocess = ["preprocess", "--train-file", "both.tsv", "--tokenizer", "word", "--destdir", "data"]
    return {
        "lock of a run": (links("run/.lock"), train),
        "log": (links("run/log.jsonl"), train),
        "tensorboard": (links("run/tensorboard"), [*train, "--tensorboard"]),
        "lock of an output": (links(".out.partial/.lock"), generate),
        "output": (links(".out.partial/output"), generate),
        "records": (links(".out.partial/records"), generate),
        "folder of an output": (links(".out.partial"), generate),
        "lock of a dataset": (links(".data.partial/.lock"), preprocess),
        "rejects": (links(".data.partial/rejects.jsonl"), preprocess),
        "shard": (links(".data.partial/train/main-00000/source.ids"), preprocess),
        "folder of a dataset": (links(".data.partial"), preprocess),
    }


NAMES = [*commands(Path(), Path())]


@pytest.mark.parametrize("name", NAMES)
def test_no_command_writes_through_a_link(
    name: str,
    toy_data: Path,
    toy_runs: Path,
    tmp_path: Path,
    precious: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").write_text("ba\n", encoding="utf-8")
    (tmp_path / "both.tsv").write_text("ba\tbe\n" * 4, encoding="utf-8")
    put, words = commands(toy_data, toy_runs / "transformer")[name]
    target = precious
    if "folder" in name or name == "tensorboard":
        target = tmp_path / "elsewhere"
        target.mkdir()
    (link,) = put(tmp_path, target)
    code = run_command(words)
    error = capsys.readouterr().err.splitlines()[-1]
    assert (code, f"{link.relative_to(tmp_path)}: is a link" in error.replace(f"{tmp_path}/", "")) == (
        1,
        True,
    ), error
    assert precious.read_text(encoding="utf-8") == PRECIOUS
    assert target.is_file() or not [*target.iterdir()]


def test_files_that_replace_others_replace_links_of_our_own_names_and_follow_the_users(
    tmp_path: Path, precious: Path
) -> None:
    link = tmp_path / "config.toml"
    link.symlink_to(precious)
    with write_atomically(link) as temporary:
        assert temporary.parent.stat().st_mode & 0o77 == 0, "nobody else can put anything in there"
        temporary.write_text("ours", encoding="utf-8")
    assert not link.is_symlink()
    assert precious.read_text(encoding="utf-8") == PRECIOUS
    named = tmp_path / "named"
    named.symlink_to(precious)
    with write_named(named) as temporary:
        temporary.write_text("his", encoding="utf-8")
    assert named.is_symlink()
    assert precious.read_text(encoding="utf-8") == "his"
    with open_text(tmp_path / "text.gz") as stream:
        stream.write("line\n")
    assert gzip.decompress((tmp_path / "text.gz").read_bytes()) == b"line\n"


def test_what_is_no_file_is_never_replaced(
    toy_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    found: list[str] = []
    for number in range(2):
        reader = threading.Thread(
            target=lambda: found.append(Path("pipe").read_text(encoding="utf-8")), daemon=True
        )
        reader.start()
        with write_named(Path("pipe")) as temporary:
            temporary.write_text(f"through {number}", encoding="utf-8")
        reader.join()
    assert found == ["through 0", "through 1"]
    for path, kind in (("pipe", "a named pipe"), (".", "a folder")):
        with pytest.raises(S2SError, match=f"is {kind}, not a file"), write_atomically(Path(path).resolve()):
            pass
    checkpoint = toy_runs / "transformer" / "checkpoint_last.safetensors"
    assert run_command(["average", "--inputs", str(checkpoint), "--output", "pipe"]) == 1
    assert "pipe: is a named pipe, not a file" in capsys.readouterr().err
    assert Path("pipe").is_fifo()


def test_small_files_have_a_limit_and_pipes_are_not_waited_for(tmp_path: Path) -> None:
    path, pipe = tmp_path / "config", tmp_path / "pipe"
    path.write_bytes(b"x" * 100)
    os.mkfifo(pipe)
    assert read_small(path) == b"x" * 100
    assert read_small(path, limit=100) == b"x" * 100
    with pytest.raises(DataError, match="config: is larger than 0 MB"):
        read_small(path, limit=99)
    with pytest.raises(DataError, match="nothing comes from this pipe"):
        read_small(pipe)
    with pytest.raises(DataError, match="is a folder"):
        read_small(tmp_path)
    with pytest.raises(DataError, match="zero: is larger than 1 MB"):
        read_small(Path("/dev/zero"), limit=1 << 20)
    reader = os.open(pipe, os.O_RDWR)
    writer = threading.Timer(0.1, lambda: (os.write(reader, b"a = 1"), os.close(reader)))
    writer.start()
    assert read_small(pipe) == b"a = 1", "a pipe with a slow writer is waited for"
    writer.join()


def test_settings_may_come_from_a_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("ba\n", encoding="utf-8")
    reading, writing = os.pipe()
    os.write(writing, b'metrics = ["ter"]\n')
    os.close(writing)
    # As the shell's <(…) has it.
    words = ["score", "--config", f"/dev/fd/{reading}"]
    code = run_command([*words, "--sys", str(tmp_path / "text"), "--ref", str(tmp_path / "text")])
    os.close(reading)
    assert code == 0
    assert capsys.readouterr().out.startswith("TER")


def test_no_training_is_lost_by_a_name_that_is_not_utf8(toy_data: Path, tmp_path: Path) -> None:
    trainer = Trainer(toy_data, tmp_path)
    trainer("n\udcff", **TRANSFORMER | {"max_update": 1})
    assert {path.name for path in (tmp_path / "n\udcff").iterdir()} >= {
        "checkpoint_last.safetensors",
        "log.jsonl",
    }
