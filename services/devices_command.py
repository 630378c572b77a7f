"""``herald devices``: the SoapySDR devices that are there, and what each can do."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

import orjson

from app_core.base.errors import DeviceError
from app_core.radio.device_lock import DeviceLock, holder_of
from app_core.radio.soapy import describe, enumerate_devices, lock_name, open_device
from app_core.radio.soapy_limits import DeviceLimits, Span, words
from services.runner import EXIT_OK, exit_code_of


def survey(driver: str | None) -> list[dict[str, Any]]:
    """Look at every device, one after the other; one that is in use is listed and left alone.

    Raises
    ------
    ConfigError
        If SoapySDR, or the driver, is not installed.
    """
    found = enumerate_devices({} if driver is None else {"driver": driver})
    return [_look_at(entry, only_one=len(found) == 1) for entry in found]


def _look_at(entry: dict[str, str], *, only_one: bool) -> dict[str, Any]:
    report: dict[str, Any] = {key: entry.get(key, "") for key in ("driver", "serial", "label")}
    holder = holder_of(lock_name(entry))
    if holder is not None:
        return {**report, "in_use_by": str(holder)}
    try:
        lock = DeviceLock(lock_name(entry))
        try:
            device = open_device(entry, {}, only_one=only_one)
            try:
                return {**report, **_abilities(describe(entry, device))}
            finally:
                device.close()
        finally:
            lock.release()
    except (DeviceError, RuntimeError) as error:
        return {**report, "error": str(error)}


def _abilities(limits: DeviceLimits) -> dict[str, Any]:
    return {
        "sample_rates_hz": _pairs(limits.legal_rates),
        "frequencies_hz": _pairs(limits.frequencies),
        "bandwidths_hz": _pairs(limits.bandwidths),
        "gain_db": None if limits.gain is None else [limits.gain.low, limits.gain.high],
        "gains_db": {name: [span.low, span.high] for name, span in limits.gain_elements.items()},
        "automatic_gain": limits.has_automatic_gain,
        "frequency_correction": limits.has_frequency_correction,
        "antennas": list(limits.antennas),
        "device_settings": list(limits.settings),
        "stream_formats": list(limits.formats),
    }


def _pairs(spans: Sequence[Span]) -> list[list[float]]:
    return [[span.low, span.high] for span in spans]


def as_text(report: dict[str, Any]) -> str:
    """Give one device in lines for people, with the names that ``station.toml`` has for them."""
    serial = f",serial={report['serial']}" if report["serial"] else ""
    lines = [f'args = "driver={report["driver"]}{serial}"    {report["label"]}'.rstrip()]
    if "in_use_by" in report:
        return "\n".join([*lines, f"  in use by {report['in_use_by']}"])
    if "error" in report:
        return "\n".join([*lines, f"  {report['error']}"])
    automatic = ', or "auto"' if report["automatic_gain"] else ""
    gain = "none" if report["gain_db"] is None else words(_spans([report["gain_db"]])) + automatic
    gains = "; ".join(f"{name} {words(_spans([span]))}" for name, span in report["gains_db"].items())
    facts = {
        "sample_rate_hz": words(_spans(report["sample_rates_hz"])),
        "center_frequency_hz": words(_spans(report["frequencies_hz"])),
        "gain_db": gain,
        "gains_db": gains or "none",
        "antenna": words(report["antennas"]),
        "bandwidth_hz": words(_spans(report["bandwidths_hz"])),
        "device_settings": words(report["device_settings"]),
        "stream_format": words(["auto", *report["stream_formats"]]),
        "frequency_correction_ppm": "yes" if report["frequency_correction"] else "no",
    }
    return "\n".join([*lines, *(f"  {name:<25}{value}" for name, value in facts.items())])


def _spans(pairs: Sequence[Sequence[float]]) -> list[Span]:
    return [Span(low, high) for low, high in pairs]


def run(driver: str | None, *, as_json: bool) -> int:
    """Print what there is."""
    reports = survey(driver)
    if as_json:
        sys.stdout.write(orjson.dumps(reports, option=orjson.OPT_INDENT_2).decode() + "\n")
    elif reports:
        sys.stdout.write("\n\n".join(as_text(report) for report in reports) + "\n")
    else:
        sys.stdout.write("no SoapySDR device is there; is it plugged in, and may this user open it? (lsusb lists it)\n")
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit code 78 when SoapySDR, or the driver that is named, is not installed."""
    parser = argparse.ArgumentParser(prog="herald devices", description="SoapySDR devices, and what each can do.")
    parser.add_argument("--json", action="store_true", help="a JSON array")
    parser.add_argument(
        "--driver", metavar="NAME", help="ask this driver alone: faster, and less noise on the terminal"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="herald: %(message)s", stream=sys.stderr)
    return exit_code_of(lambda: run(arguments.driver, as_json=arguments.json))


if __name__ == "__main__":
    sys.exit(main())
