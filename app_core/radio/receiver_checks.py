"""Checks of the configured receivers: SoapySDR and its drivers, each device and its rates, servers and recordings.

A device that somebody has is left alone; a free one is opened, asked, and closed.
"""

from __future__ import annotations

import logging
import os
import shlex
import socket
from collections.abc import Sequence

from app_core.base.errors import ConfigError, DeviceError
from app_core.base.finding import Finding, failure, not_applicable, ok
from app_core.radio.device_lock import DeviceLock, holder_of
from app_core.radio.receiver import (
    AnyReceiverSettings,
    ReplaySettings,
    RtlTcpSettings,
    SoapySettings,
    parse_device_args,
)
from app_core.radio.soapy import describe, enumerate_devices, load_binding, lock_name, open_device
from app_core.radio.soapy_limits import DeviceLimits, check_frequency, check_rate, words
from app_core.radio.soapy_receiver import same_serial

log = logging.getLogger(__name__)

_TIMEOUT_S = 3.0


def check_soapy(receivers: Sequence[AnyReceiverSettings]) -> Finding:
    """Look whether SoapySDR can be imported, and which drivers it has."""
    wanted = {
        parse_device_args(receiver.args)["driver"] for receiver in receivers if isinstance(receiver, SoapySettings)
    }
    try:
        binding = load_binding(next(iter(sorted(wanted)), ""))
    except ConfigError as error:
        seen, _, remedy = str(error).partition("; type: ")
        return failure("soapysdr", seen, f"sudo {remedy}") if wanted else not_applicable("soapysdr", seen)
    drivers: set[str] = set()
    broken: list[str] = []
    binding.loadModules()
    for path in binding.listModules():
        results = dict(binding.getLoaderResult(path))
        drivers |= {name for name, error in results.items() if not error}
        broken += [f"{path}: {error}" for error in results.values() if error]
    seen = f"SoapySDR {binding.getAPIVersion()} with {', '.join(sorted(drivers)) or 'no driver'}"
    if broken:
        seen += f"; {len(broken)} cannot be loaded ({broken[0]})"
    if not wanted <= drivers:
        # The words of the one that opens devices name the package.
        try:
            for driver in sorted(wanted - drivers):
                enumerate_devices({"driver": driver})
        except ConfigError as error:
            return failure("soapysdr", seen, "sudo " + str(error).partition("; type: ")[2])
    return ok("soapysdr", seen)


def check_receiver(settings: AnyReceiverSettings) -> Finding:
    """Look whether a configured receiver is there, and takes its settings."""
    name = f"receiver {settings.id}"
    if isinstance(settings, ReplaySettings):
        return _check_recording(name, settings)
    if isinstance(settings, RtlTcpSettings):
        return _check_rtl_tcp(name, settings)
    try:
        return _check_device(name, settings)
    except ConfigError as error:
        seen, _, command = str(error).partition("; type: ")
        return failure(
            name, seen, f"sudo {command}" if command else "set it in station.toml, then: herald config check"
        )
    except (DeviceError, RuntimeError) as error:
        return failure(name, str(error), "unplug it and plug it in again, then: herald devices")


def _check_recording(name: str, settings: ReplaySettings) -> Finding:
    if os.access(settings.path, os.R_OK):
        return ok(name, f"plays {settings.path}")
    return failure(
        name,
        f"{settings.path} cannot be read",
        f"ls -l {shlex.quote(str(settings.path))}    # then set path in station.toml",
    )


def _check_rtl_tcp(name: str, settings: RtlTcpSettings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    try:
        # Its greeting is not waited for: a server that has its one client sends none to a second.
        socket.create_connection((settings.host, settings.port), timeout=_TIMEOUT_S).close()
    except OSError as error:
        return failure(
            name,
            f"no rtl_tcp answers at {where}: {error.strerror or error}",
            f"rtl_tcp -a {settings.host} -p {settings.port} -s {settings.sample_rate_hz} "
            f"-f {settings.center_frequency_hz} &",
        )
    return ok(name, f"rtl_tcp answers at {where}")


def _check_device(name: str, settings: SoapySettings) -> Finding:
    args = parse_device_args(settings.args)
    wanted = settings.serial or args.get("serial", "")
    found = enumerate_devices({key: value for key, value in args.items() if key != "serial"})
    matching = [entry for entry in found if not wanted or same_serial(entry.get("serial", ""), wanted)]
    if not matching and len(found) == 1 and not found[0].get("serial"):
        matching = found
    holder = holder_of(lock_name({"driver": args["driver"], "serial": wanted})) if wanted else None
    if holder is None:
        holder = next((who for entry in matching if (who := holder_of(lock_name(entry)))), None)
    if holder is not None:
        return ok(name, f"is in use by {holder}; its rates are not asked")
    if not matching:
        there = ", ".join(entry.get("serial") or entry.get("label", "?") for entry in found) or "none"
        which = f"with serial {wanted}" if wanted else "at all"
        return failure(
            name,
            f"no {args['driver']} device {which} is there; there is: {there}",
            "lsusb    # replug it; herald devices",
        )
    limits = _ask(matching[0], args, only_one=len(found) == 1)
    rate_hz = check_rate(limits, settings.sample_rate_hz)
    check_frequency(limits, settings.center_frequency_hz)
    return ok(name, f"{limits.name} takes {rate_hz:.10g} S/s; legal are {words(limits.legal_rates)}")


def _ask(entry: dict[str, str], args: dict[str, str], *, only_one: bool) -> DeviceLimits:
    lock = DeviceLock(lock_name(entry))
    try:
        device = open_device(entry, args, only_one=only_one)
        try:
            return describe(entry, device)
        finally:
            device.close()
    finally:
        lock.release()


def receiver_findings(receivers: Sequence[AnyReceiverSettings]) -> list[Finding]:
    """Make all checks of this module."""
    if not receivers:
        return [check_soapy(()), not_applicable("receivers", "none is configured")]
    return [check_soapy(receivers), *(check_receiver(settings) for settings in receivers)]
