"""The checks of the machine, on machines that a test makes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app_core.base import machine_checks
from app_core.base.finding import Verdict
from app_core.base.machine_checks import (
    check_data_directory,
    check_disk_room,
    check_fsync,
    check_memory,
    check_power,
    check_temperature,
    existing_folder,
    judge_fsync,
)

THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


@pytest.mark.parametrize(
    ("available_kib", "verdict"),
    [(2_000_000, Verdict.OK), (200_000, Verdict.WARNING), (60_000, Verdict.FAILURE)],
)
def test_memory_is_judged_by_what_can_be_had(available_kib: int, verdict: Verdict, tmp_path: Path) -> None:
    write(tmp_path / "proc/meminfo", f"MemTotal: 4000000 kB\nMemFree: 1 kB\nMemAvailable: {available_kib} kB\n")
    finding = check_memory(tmp_path)
    assert (finding.verdict, finding.seen) == (verdict, f"{available_kib // 1024} MiB of 3906 MiB can be had")


@pytest.mark.parametrize(
    ("hottest", "verdict"), [("61200", Verdict.OK), ("79000", Verdict.WARNING), ("84900", Verdict.FAILURE)]
)
def test_the_hottest_zone_counts(hottest: str, verdict: Verdict, tmp_path: Path) -> None:
    for number, text in enumerate(("40000", hottest, "-1000", "no number")):
        write(tmp_path / f"sys/class/thermal/thermal_zone{number}/temp", text + "\n")
    finding = check_temperature(tmp_path)
    assert finding.verdict is verdict
    assert finding.seen == f"{int(hottest) / 1000:.0f} °C at the hottest"


@pytest.mark.parametrize(
    ("bits", "verdict", "words"),
    [
        ("0", Verdict.OK, "neither"),
        ("50000", Verdict.WARNING, "since the start: under-voltage, throttled"),
        ("50005", Verdict.FAILURE, "now: under-voltage, throttled"),
        ("0x2", Verdict.FAILURE, "now: frequency capped"),
    ],
)
def test_throttling_now_is_worse_than_before(bits: str, verdict: Verdict, words: str, tmp_path: Path) -> None:
    write(tmp_path / THROTTLED, bits + "\n")
    finding = check_power(tmp_path)
    assert finding.verdict is verdict
    assert words in finding.seen


def test_vcgencmd_is_asked_where_sys_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "vcgencmd"
    program.write_text("#!/bin/sh\necho throttled=0x50000\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert check_power(tmp_path).verdict is Verdict.WARNING


def test_a_machine_that_says_nothing_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "find_program", lambda _: None)
    findings = [check_memory(tmp_path), check_temperature(tmp_path), check_power(tmp_path)]
    assert {finding.verdict for finding in findings} == {Verdict.NOT_APPLICABLE}


def test_a_data_directory_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    assert check_data_directory(tmp_path).verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []
    finding = check_data_directory(tmp_path / "state" / "herald")
    assert (finding.verdict, list(tmp_path.iterdir())) == (Verdict.OK, [])
    assert "not there yet" in finding.seen
    assert existing_folder(tmp_path / "state" / "herald") == tmp_path


def test_a_data_directory_that_cannot_be_written_names_the_command() -> None:
    # Not even root makes files there.
    finding = check_data_directory(Path("/proc/self/fdinfo"))
    assert finding.verdict is Verdict.FAILURE
    assert finding.remedy.startswith("sudo install -d -o ")
    assert check_fsync(Path("/proc/self/fdinfo")).verdict is Verdict.NOT_APPLICABLE


def test_a_file_in_the_place_of_the_data_directory_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "herald").touch()
    finding = check_data_directory(tmp_path / "herald")
    assert (finding.verdict, finding.remedy) == (Verdict.FAILURE, f"sudo mv {tmp_path}/herald{{,.old}}")


@pytest.mark.parametrize(
    ("free_bytes", "n_free_files", "verdict"),
    [
        (50 * 10**9, 1000, Verdict.OK),
        (500 * 10**6, 1000, Verdict.WARNING),
        (50 * 10**6, 1000, Verdict.FAILURE),
        (50 * 10**9, 0, Verdict.FAILURE),
    ],
)
def test_room_for_recordings_is_judged(
    free_bytes: int, n_free_files: int, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = free_bytes // 4096
    facts = os.statvfs_result((4096, 4096, 10 * blocks, 2 * blocks, blocks, 9000, n_free_files, n_free_files, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: facts)
    assert check_disk_room(tmp_path).verdict is verdict


def test_an_fsync_is_judged_by_its_time(tmp_path: Path) -> None:
    assert judge_fsync(0.2, tmp_path).verdict is Verdict.OK
    assert judge_fsync(0.4, tmp_path).verdict is Verdict.WARNING


def test_every_fsync_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    monkeypatch.setattr(os, "fsync", kept.append)
    monkeypatch.setattr(machine_checks, "_SLOW_FSYNC_S", float("inf"))
    assert check_fsync(tmp_path).verdict is Verdict.OK
    assert len(kept) == 5
