"""`--max-tokens auto` within the limits on a process: those of the shell, and of the control groups that it is in."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from s2scli.training import budget

MIB = 1 << 20


def group(folder: Path, limit: str, used: int, *, version: int = 2, inactive: int = 0) -> None:
    """A control group as the kernel shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        ("memory.max", "memory.current")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used - inactive}\ninactive_file {inactive}\n")


@pytest.mark.parametrize(
    ("kind", "field"), [(resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")]
)
def test_the_limits_of_a_shell(monkeypatch: pytest.MonkeyPatch, kind: int, field: str) -> None:
    used = budget._proc_bytes(budget._STATUS, field)
    plain = resource.getrlimit

    def getrlimit(asked: int) -> tuple[int, int]:
        return (used + 300 * MIB, resource.RLIM_INFINITY) if asked == kind else plain(asked)

    monkeypatch.setattr(resource, "getrlimit", getrlimit)
    assert 0 < budget._free_host_memory() <= 300 * MIB


def test_the_group_and_those_above_it(tmp_path: Path) -> None:
    member = tmp_path / "member"
    member.write_text("0::/jobs/mine\n")
    root = tmp_path / "groups"
    group(root / "jobs/mine", "max", 10 * MIB)
    group(root / "jobs", str(500 * MIB), 200 * MIB, inactive=50 * MIB)
    group(root / "others", str(1 * MIB), 1 * MIB)
    assert list(budget._group_limits(root, member)) == [350 * MIB]


def test_a_container_sees_its_own_group_as_the_first(tmp_path: Path) -> None:
    member = tmp_path / "member"
    member.write_text("0::/kubepods/a-name-that-is-known-outside-alone\n")
    group(tmp_path / "groups", str(800 * MIB), 300 * MIB)
    assert list(budget._group_limits(tmp_path / "groups", member)) == [500 * MIB]


def test_groups_of_version_1(tmp_path: Path) -> None:
    member = tmp_path / "member"
    member.write_text("5:cpu,cpuacct:/\n4:memory:/job\n0::/\n")
    group(tmp_path / "groups/memory/job", str(100 * MIB), 40 * MIB, version=1)
    assert list(budget._group_limits(tmp_path / "groups", member)) == [60 * MIB]


def test_no_groups(tmp_path: Path) -> None:
    assert list(budget._group_limits(tmp_path, tmp_path / "none")) == []
