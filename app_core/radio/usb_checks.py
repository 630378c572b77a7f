"""Checks of the way from USB to a program: kernel drivers, permission, memory, other programs.

`root` is where ``proc``, ``sys`` and ``dev`` are. No receiver is used: a node is opened at the most, and closed.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app_core.base.finding import Finding, failure, not_applicable, ok, warning
from app_core.radio.receiver import SoapySettings, parse_device_args
from app_core.radio.soapy_limits import BUFFERED_S, FALLBACK_RATES_HZ, LEAST_RATE_HZ
from app_core.radio.usb_devices import BLACKLISTS, UsbReceiver, has_usb

_BLACKLIST_FILE = "/etc/modprobe.d/herald-sdr.conf"
_UDEV_FILE = "/etc/udev/rules.d/70-herald-sdr.rules"
_GROUP = "plugdev"

_BYTES_PER_SAMPLE = {"rtlsdr": 2, "hackrf": 2}
_MOST_BYTES_PER_SAMPLE = 4
"""What a sample takes on its way over USB: 8 bits each of I and Q, or 16. [bytes]"""

_DEFAULT_RATE_HZ = 2.5e6
_MIB = 1024**2


def check_kernel_drivers(receivers: Sequence[UsbReceiver], root: Path = Path("/")) -> Finding:
    """Look whether the kernel has made something else of a receiver, a television set mostly, or is about to."""
    held = [(device, name) for device in receivers for name in device.kernel_drivers]
    if held:
        words = "; ".join(f"{device} is held by the kernel's {name}" for device, name in held)
        names = {name for device, name in held} | {
            name for device, _ in held for name in BLACKLISTS.get(device.driver, ())
        }
        return failure("kernel driver", words, _blacklist(sorted(names), [name for _, name in held]))
    if not receivers:
        return not_applicable("kernel driver", "no receiver that is known is on USB")
    loaded = _loaded_modules(root)
    waiting = sorted({name for device in receivers for name in BLACKLISTS.get(device.driver, ()) if name in loaded})
    if waiting:
        return warning(
            "kernel driver",
            f"{', '.join(waiting)} will take the receiver when it is plugged in again",
            _blacklist(waiting, waiting),
        )
    return ok("kernel driver", "none is in the way of " + ", ".join(map(str, receivers)))


def _blacklist(names: Sequence[str], loaded: Sequence[str]) -> str:
    lines = "".join(f"blacklist {name}\\n" for name in names)
    removed = " ".join(dict.fromkeys(loaded))
    return f"printf '{lines}' | sudo tee {_BLACKLIST_FILE} && sudo modprobe -r {removed}"


def _loaded_modules(root: Path) -> set[str]:
    """Give the modules that are loaded, or built in and in use: ``/proc/modules`` may be hidden, ``/sys`` seldom is."""
    names: set[str] = set()
    with contextlib.suppress(OSError):
        names |= {line.split(" ", 1)[0] for line in (root / "proc/modules").read_text("ascii", "replace").splitlines()}
    folder = root / "sys/module"
    return names | ({path.name for path in folder.iterdir()} if folder.is_dir() else set())


def try_node(node: Path) -> int | None:
    """Open a node as libusb does, and close it; give the number of the error, or None."""
    try:
        os.close(os.open(node, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno
    return None


def check_permission(receivers: Sequence[UsbReceiver], try_to_open: Callable[[Path], int | None] = try_node) -> Finding:
    """Try whether this user may open each receiver's node.

    Parameters
    ----------
    receivers
        Those that are plugged in.
    try_to_open
        As `try_node`.
    """
    if not receivers:
        return not_applicable("usb permission", "no receiver that is known is on USB")
    for device in receivers:
        number = try_to_open(device.node)
        if number in (None, errno.EBUSY):
            continue
        seen = f"{device}: {device.node} cannot be opened: {os.strerror(number or 0)}"
        if number == errno.ENOENT:
            return failure(
                "usb permission",
                f"{seen}; in a container, /dev/bus/usb is not there",
                "start the container with: -v /dev/bus/usb:/dev/bus/usb --device-cgroup-rule 'c 189:* rmw'",
            )
        if number == errno.EPERM:
            return failure(
                "usb permission",
                f"{seen} by the container's device rules",
                "start the container with: --device-cgroup-rule 'c 189:* rmw'",
            )
        return failure("usb permission", seen, _permission_remedy(device))
    return ok("usb permission", "this user may open " + ", ".join(map(str, receivers)))


def _permission_remedy(device: UsbReceiver) -> str:
    """Give the shortest way: to a group that may already, else a rule for this receiver."""
    try:
        facts = device.node.stat()
        group = grp.getgrgid(facts.st_gid).gr_name
    except (OSError, KeyError):
        facts, group = None, ""
    if facts is not None and facts.st_gid != 0 and facts.st_mode & 0o060 == 0o060:
        return f'sudo usermod -aG {group} "$(id -un)"    # then log in again'
    rule = (
        f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{device.vendor}", ATTR{{idProduct}}=="{device.product}", '
        f'MODE="0660", GROUP="{_GROUP}"'
    )
    return (
        f"echo '{rule}' | sudo tee -a {_UDEV_FILE} && sudo udevadm control --reload && sudo udevadm trigger "
        f'&& sudo usermod -aG {_GROUP} "$(id -un)"    # then log in again'
    )


def needed_usb_bytes(settings: SoapySettings) -> int:
    """Give what a receiver's transfers take while `BUFFERED_S` of its samples wait in them. [bytes]"""
    driver = parse_device_args(settings.args)["driver"]
    rate_hz = settings.sample_rate_hz
    if rate_hz is None:
        legal = [rate for rate in FALLBACK_RATES_HZ.get(driver, ()) if rate >= LEAST_RATE_HZ]
        rate_hz = min(legal, default=_DEFAULT_RATE_HZ)
    return round(BUFFERED_S * rate_hz * _BYTES_PER_SAMPLE.get(driver, _MOST_BYTES_PER_SAMPLE))


def check_usb_memory(settings: Sequence[SoapySettings], root: Path = Path("/")) -> Finding:
    """Compare what the kernel lends to all USB programs together with what the configured receivers need."""
    if not settings:
        return not_applicable("usb memory", "no SoapySDR receiver is configured")
    try:
        limit_mb = int((root / "sys/module/usbcore/parameters/usbfs_memory_mb").read_text("ascii"))
    except (OSError, ValueError):
        return not_applicable("usb memory", "this machine shows no usbfs_memory_mb")
    needed_mb = sum(map(needed_usb_bytes, settings)) / _MIB
    if limit_mb == 0:
        return ok("usb memory", f"no limit; {needed_mb:.1f} MB are needed")
    seen = f"usbfs_memory_mb is {limit_mb}; the configured rates need {needed_mb:.1f}"
    if needed_mb <= limit_mb:
        return ok("usb memory", seen)
    wanted_mb = 1 << (int(2.0 * needed_mb) - 1).bit_length()
    return failure(
        "usb memory",
        seen,
        f"echo {wanted_mb} | sudo tee /sys/module/usbcore/parameters/usbfs_memory_mb"
        f"    # for ever: usbcore.usbfs_memory_mb={wanted_mb} on the kernel's command line",
    )


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a receiver's node open, and how it was started."""

    pid: int
    command: str

    @property
    def is_ours(self) -> bool:
        """Whether it is Herald's SDR service."""
        return any(name in self.command for name in ("services.sdr_service", "herald sdr", "services.cli sdr"))


def check_free(receivers: Sequence[UsbReceiver], drivers: Sequence[str], root: Path = Path("/")) -> Finding:
    """Look who has the receivers open.

    Parameters
    ----------
    receivers
        Those that are plugged in.
    drivers
        Kinds of the configured receivers, as in ``station.toml``: with ``rtl_tcp`` among them, that one shall hold one.
    root
        As above.
    """
    if not receivers:
        return not_applicable("usb free", "no receiver that is known is on USB")
    holders = list(_holders({str(device.node): device for device in receivers}, root))
    strangers = [
        (device, holder)
        for device, holder in holders
        if not holder.is_ours and not ("rtl_tcp" in drivers and "rtl_tcp" in holder.command)
    ]
    words = "; ".join(f"{device} is held by process {holder.pid} ({holder.command})" for device, holder in holders)
    if strangers:
        return failure("usb free", words, f"sudo kill {' '.join(str(holder.pid) for _, holder in strangers)}")
    hidden = "" if os.geteuid() == 0 else "; other users' processes are not seen without root"
    return ok("usb free", words or f"no process has a receiver open{hidden}")


def _holders(nodes: dict[str, UsbReceiver], root: Path) -> Iterator[tuple[UsbReceiver, Holder]]:
    for folder in sorted((root / "proc").glob("[0-9]*")):
        if not folder.name.isdecimal():
            continue
        try:
            links = list((folder / "fd").iterdir())
        except OSError:
            continue  # another user's, or it has ended
        found: set[str] = set()
        for link in links:
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target in nodes and target not in found:
                found.add(target)
                yield nodes[target], Holder(int(folder.name), _command(folder))


def _command(folder: Path) -> str:
    try:
        words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        return " ".join(words).strip()[:120] or (folder / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "?"


def usb_findings(
    receivers: Sequence[UsbReceiver], settings: Sequence[SoapySettings], drivers: Sequence[str], root: Path
) -> list[Finding]:
    """Make all checks of this module, and say what is plugged in."""
    if receivers:
        plugged = ok("usb", "; ".join(map(str, receivers)))
    elif not has_usb(root):
        plugged = not_applicable("usb", "this machine shows no USB")
    elif settings:
        plugged = warning("usb", "no receiver that is known is plugged in", "lsusb    # is it in the list? replug it")
    else:
        plugged = not_applicable("usb", "no receiver that is known is plugged in, and none is configured")
    return [
        plugged,
        check_kernel_drivers(receivers, root),
        check_permission(receivers),
        check_free(receivers, drivers, root),
        check_usb_memory(settings, root),
    ]
