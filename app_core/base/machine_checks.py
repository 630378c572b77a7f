"""Checks of the machine under a station: memory, heat and supply of the processor, disk.

`root` is where ``proc`` and ``sys`` are. Nothing needs a privilege, and nothing is left behind.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from pathlib import Path

from app_core.base.child import find_program, run_quietly
from app_core.base.finding import Finding, failure, not_applicable, ok, warning

_MIB = 1024**2
_LOW_MEMORY_BYTES = 256 * _MIB
_NO_MEMORY_BYTES = 96 * _MIB
"""The audio program alone takes about 200 MiB; below the second, the kernel begins to end programs."""

_LOW_DISK_BYTES = 1024 * _MIB
_NO_DISK_BYTES = 100 * _MIB
"""Recordings stop and old ones go at 50 MB of free room (``recordings_keep_free_bytes``)."""

_HOT_C = 75.0
_TOO_HOT_C = 84.0
"""A Raspberry Pi slows down from 80 °C on, and hard at 85 °C (Raspberry Pi documentation, frequency management)."""

_SLOW_FSYNC_S = 0.25
_FSYNCS = 5

# Bits of get_throttled (Raspberry Pi documentation, vcgencmd): now in the lowest, ever since the start 16 higher.
_THROTTLED_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def check_memory(root: Path = Path("/")) -> Finding:
    """Look at the memory that programs can still have."""
    available = _meminfo_bytes(root, "MemAvailable")
    if available is None:
        return not_applicable("memory", "this machine does not say how much memory is free")
    total = _meminfo_bytes(root, "MemTotal") or 0
    seen = f"{available // _MIB} MiB of {total // _MIB} MiB can be had"
    remedy = "ps -eo pid,rss,comm --sort=-rss | head    # then end what is not needed: kill PID"
    if available < _NO_MEMORY_BYTES:
        return failure("memory", seen, remedy)
    return warning("memory", seen, remedy) if available < _LOW_MEMORY_BYTES else ok("memory", seen)


def check_temperature(root: Path = Path("/")) -> Finding:
    """Look at the hottest thermal zone."""
    readings_c = []
    for path in sorted((root / "sys/class/thermal").glob("thermal_zone*/temp")):
        text = _read(path)
        if text.lstrip("-").isdecimal():
            readings_c.append(int(text) / 1000.0)
    if not readings_c:
        return not_applicable("temperature", "this machine shows no temperature")
    hottest_c = max(readings_c)
    seen = f"{hottest_c:.0f} °C at the hottest"
    remedy = "give it air or a fan; watch it with: cat /sys/class/thermal/thermal_zone0/temp"
    if hottest_c >= _TOO_HOT_C:
        return failure("temperature", seen, remedy)
    return warning("temperature", seen, remedy) if hottest_c >= _HOT_C else ok("temperature", seen)


def check_power(root: Path = Path("/")) -> Finding:
    """Look whether a Raspberry Pi slows its processor down, or has too little voltage."""
    text = _read(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if not text and find_program("vcgencmd"):
        output = run_quietly(["vcgencmd", "get_throttled"], timeout_s=5.0) or b""
        text = output.decode("ascii", "replace").strip().partition("=")[2]
    try:
        bits = int(text, 16)
    except ValueError:
        return not_applicable("power", "not a Raspberry Pi, or its firmware cannot be asked")
    now = [name for bit, name in _THROTTLED_BITS.items() if bits >> bit & 1]
    before = [name for bit, name in _THROTTLED_BITS.items() if bits >> (bit + 16) & 1]
    remedy = "use the supply and the cable that the board's maker sells (5.1 V at 3 A, 5 A for a Pi 5), and cool it"
    if now:
        return failure("power", f"now: {', '.join(now)}", remedy)
    if before:
        return warning("power", f"since the start: {', '.join(before)}", remedy)
    return ok("power", "neither throttled nor under-voltage since the start")


def check_data_directory(folder: Path) -> Finding:
    """Try whether files can be made in the data directory, or, where it is not there yet, in what it will stand in."""
    target = existing_folder(folder)
    if not target.is_dir():
        return failure("data directory", f"{target} is not a folder", f"sudo mv {shlex.quote(str(target))}{{,.old}}")
    where = str(folder) if target == folder else f"{folder} (not there yet; {target} is)"
    try:
        with tempfile.TemporaryFile(dir=target):
            pass
    except OSError as error:
        quoted = shlex.quote(str(folder))
        return failure(
            "data directory",
            f"{where} cannot be written: {error.strerror}",
            f'sudo install -d -o "$(id -un)" -g "$(id -gn)" {quoted} && sudo chown -R "$(id -un):$(id -gn)" {quoted}',
        )
    return ok("data directory", f"{where} can be written")


def check_disk_room(folder: Path) -> Finding:
    """Look at the room, and the number of files, that are left for the data directory."""
    target = existing_folder(folder)
    try:
        facts = os.statvfs(target)
    except OSError as error:
        return not_applicable("disk room", f"{target} cannot be asked: {error.strerror}")
    free = facts.f_bavail * facts.f_frsize
    remedy = f"du -xh --max-depth=2 {shlex.quote(str(target))} | sort -h | tail    # or lower recordings_max_bytes"
    seen = f"{free / 1e9:.1f} GB are free for {folder}"
    # File systems that number no files, btrfs among them, give 0 of 0.
    if facts.f_files and not facts.f_favail:
        return failure("disk room", f"no file can be made: all inodes of {target} are taken", remedy)
    if free < _NO_DISK_BYTES:
        return failure("disk room", seen, remedy)
    return warning("disk room", seen, remedy) if free < _LOW_DISK_BYTES else ok("disk room", seen)


def check_fsync(folder: Path) -> Finding:
    """Measure how long the disk takes to keep a small file for good, as it must for every alert."""
    target = existing_folder(folder)
    times_s = []
    try:
        with tempfile.TemporaryFile(dir=target) as file:
            for _ in range(_FSYNCS):
                file.write(bytes(4096))
                file.flush()
                begun_s = time.monotonic()
                os.fsync(file.fileno())
                times_s.append(time.monotonic() - begun_s)
    except OSError as error:
        return not_applicable("fsync", f"cannot be tried in {target}: {error.strerror}")
    return judge_fsync(max(times_s), target)


def judge_fsync(longest_s: float, folder: Path) -> Finding:
    """Give the verdict on the longest of some fsyncs. [seconds]"""
    seen = f"a small file is kept for good within {1000.0 * longest_s:.1f} ms"
    if longest_s > _SLOW_FSYNC_S:
        return warning("fsync", seen, f"set HERALD_DATA_DIR to a folder on a faster disk; see findmnt -T {folder}")
    return ok("fsync", seen)


def existing_folder(folder: Path) -> Path:
    """Give the folder itself, or the nearest above it that exists."""
    folder = folder.absolute()
    return next((place for place in (folder, *folder.parents) if _exists(place)), Path("/"))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # what stands above may not be looked into
        return False


def _meminfo_bytes(root: Path, name: str) -> int | None:
    for line in _read(root / "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if key == name and words and words[0].isdecimal():
            return 1024 * int(words[0])
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
