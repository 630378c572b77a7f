"""The memory that limits are a share of: the machine's, or less where a control group says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from app_core.base.machine_memory import (
    ASSUMED_BYTES,
    LEAST_BYTES,
    MOST_BYTES,
    machine_memory_bytes,
    memory_share_bytes,
)

GIB = 1024**3


def _machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal:        4194304 kB\nMemFree:           12345 kB\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 4 * GIB),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 4 * GIB),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, GIB),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{GIB}\n"}, GIB),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": f"{GIB}\n",
                "sys/fs/cgroup/a/b/memory.max": f"{GIB // 2}\n",
            },
            GIB // 2,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/x\n4:memory,hugetlb:/docker/1234\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n",
            },
            GIB,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            4 * GIB,
        ),
        ({"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, GIB),
        ({"proc/self/cgroup": "nonsense\n"}, 4 * GIB),
    ],
)
def test_the_smallest_limit_counts(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert machine_memory_bytes(_machine(tmp_path, MEMINFO | files)) == expected


def test_a_machine_that_says_nothing_is_taken_for_a_small_one(tmp_path: Path) -> None:
    assert machine_memory_bytes(tmp_path) == ASSUMED_BYTES


def test_a_share_is_bounded_on_both_sides(tmp_path: Path) -> None:
    root = _machine(tmp_path, MEMINFO)
    assert memory_share_bytes(1 / 16, root) == GIB // 4
    assert memory_share_bytes(1e-9, root) == LEAST_BYTES
    assert memory_share_bytes(2.0, root) == MOST_BYTES


def test_this_machine_says_what_it_has() -> None:
    assert machine_memory_bytes() > LEAST_BYTES
