"""What memory training takes, and the limits on it: those of the shell, and of the control groups of a process."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from hungry import Hungry

from s2scli.data.batch import Batch, Tokens
from s2scli.nn.runtime import keep_freed_memory
from s2scli.training import memory

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
    used = memory.proc_bytes(field)
    plain = resource.getrlimit

    def getrlimit(asked: int) -> tuple[int, int]:
        return (used + 300 * MIB, resource.RLIM_INFINITY) if asked == kind else plain(asked)

    monkeypatch.setattr(resource, "getrlimit", getrlimit)
    assert 0 < memory.free_host_memory() <= 300 * MIB


def test_the_group_and_those_above_it(tmp_path: Path) -> None:
    member = tmp_path / "member"
    member.write_text("0::/jobs/mine\n")
    root = tmp_path / "groups"
    group(root / "jobs/mine", "max", 10 * MIB)
    group(root / "jobs", str(500 * MIB), 200 * MIB, inactive=50 * MIB)
    group(root / "others", str(1 * MIB), 1 * MIB)
    assert list(memory.group_limits(root, member)) == [350 * MIB]


def test_a_container_sees_its_own_group_as_the_first(tmp_path: Path) -> None:
    member = tmp_path / "member"
    member.write_text("0::/kubepods/a-name-that-is-known-outside-alone\n")
    group(tmp_path / "groups", str(800 * MIB), 300 * MIB)
    assert list(memory.group_limits(tmp_path / "groups", member)) == [500 * MIB]


def test_groups_of_version_1(tmp_path: Path) -> None:
    member = tmp_path / "member"
    member.write_text("5:cpu,cpuacct:/\n4:memory:/job\n0::/\n")
    group(tmp_path / "groups/memory/job", str(100 * MIB), 40 * MIB, version=1)
    assert list(memory.group_limits(tmp_path / "groups", member)) == [60 * MIB]


def test_no_groups(tmp_path: Path) -> None:
    assert list(memory.group_limits(tmp_path, tmp_path / "none")) == []


def test_what_is_measured_is_what_is_used() -> None:
    """In any order: memory that was freed is not counted, and counted again when it is used again."""
    keep_freed_memory()
    objective = Hungry(torch.nn.Linear(1, 1), most=10**9)
    device = memory.DeviceMemory(torch.device("cpu"))
    for slots in (40_000, 10_000, 80_000, 20_000, 40_000):
        ids = torch.zeros(1, slots // 2, dtype=torch.int64)
        side = Tokens(ids, torch.tensor([slots // 2]))
        used = memory.training_peak(objective, [Batch(side, side)], device, "fp32")
        # exp's output, the product's, and their gradients: two to four KiB a position, and what malloc rounds up.
        assert 1.5 < used / 1024 / slots < 8, slots
