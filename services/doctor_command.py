"""``herald doctor``: look at everything that a station needs, and say what mends what is wrong."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from app_core.audio.output_checks import output_findings
from app_core.base.clock_check import check_clock
from app_core.base.finding import Finding, Verdict, not_applicable
from app_core.base.machine_checks import (
    check_data_directory,
    check_disk_room,
    check_fsync,
    check_memory,
    check_power,
    check_temperature,
)
from app_core.bridge.redis_checks import redis_findings
from app_core.radio.receiver_checks import receiver_findings
from app_core.radio.usb_checks import usb_findings
from app_core.radio.usb_devices import list_receivers
from services.doctor_station import DoctorStation, read_doctor_station
from services.runner import EXIT_FAILED, EXIT_OK, exit_code_of

_MARKS = {
    Verdict.OK: (" ok ", "green"),
    Verdict.WARNING: ("warn", "yellow"),
    Verdict.FAILURE: ("FAIL", "bold red"),
    Verdict.NOT_APPLICABLE: (" -- ", "dim"),
}
_PLURALS = {Verdict.WARNING: "warnings", Verdict.FAILURE: "failures"}


def examine(station: DoctorStation, root: Path = Path("/"), *, is_root: bool = False) -> list[Finding]:
    """Make all checks, in the order of the signal's way.

    Parameters
    ----------
    station
        What is configured.
    root
        Where ``proc``, ``sys`` and ``dev`` are.
    is_root
        Whether this is the user root, whose commands need no ``sudo``.
    """
    drivers = [settings.driver for settings in station.receivers]
    findings = [
        station.finding,
        *usb_findings(list_receivers(root), station.soapy, drivers, root),
        *receiver_findings(station.receivers),
        *_redis(station),
        *output_findings(station.icecast, station.sources, has_web_audio=station.has_web_audio),
        *_disk(station.data_directory),
        check_clock(),
        check_memory(root),
        check_temperature(root),
        check_power(root),
    ]
    # Root needs no sudo, which a container has not even got.
    return [replace(each, remedy=each.remedy.replace("sudo ", "")) for each in findings] if is_root else findings


def _redis(station: DoctorStation) -> list[Finding]:
    if station.redis is None:
        return [not_applicable("redis", "the settings do not say where it is")]
    findings = redis_findings(station.redis, station.published_rate_hz)
    if station.is_configured or len(findings) > 1 or findings[0].verdict is not Verdict.FAILURE:
        return findings
    # Nothing needs it yet, and the demo brings its own.
    return [replace(findings[0], verdict=Verdict.WARNING)]


def _disk(folder: Path | None) -> list[Finding]:
    if folder is None:
        return [not_applicable("data directory", "the settings do not say where it is")]
    return [check_data_directory(folder), check_disk_room(folder), check_fsync(folder)]


def as_text(findings: Sequence[Finding]) -> Text:
    """Give the findings as a list for people; the marks say without colour what colour says."""
    text = Text()
    width = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        mark, style = _MARKS[finding.verdict]
        text.append(f"[{mark}]", style)
        text.append(f" {finding.check:<{width}}  {finding.seen}\n")
        if finding.remedy:
            text.append(f"{'':<7}mend it: ")
            text.append(f"{finding.remedy}\n", "bold")
    return text.append("\n" + summary(findings))


def summary(findings: Sequence[Finding]) -> str:
    """Give how many checks ended in which way: ``1 failure, 2 warnings, 14 ok, 6 not applicable``."""
    counts = Counter(finding.verdict for finding in findings)
    order = (Verdict.FAILURE, Verdict.WARNING, Verdict.OK, Verdict.NOT_APPLICABLE)
    return ", ".join(
        f"{counts[verdict]} {verdict if counts[verdict] == 1 else _PLURALS.get(verdict, verdict)}" for verdict in order
    )


def as_dict(findings: Sequence[Finding]) -> dict[str, Any]:
    """Give the findings for machines."""
    counts = Counter(finding.verdict for finding in findings)
    return {
        "healthy": not counts[Verdict.FAILURE],
        "counts": {verdict.value: counts[verdict] for verdict in Verdict},
        "checks": [
            {"check": each.check, "verdict": each.verdict.value, "seen": each.seen, "remedy": each.remedy or None}
            for each in findings
        ],
    }


def run(station_path: Path | None, *, as_json: bool, root: Path = Path("/")) -> int:
    """Make all checks, print what they found, and give the exit code."""
    findings = examine(read_doctor_station(station_path), root, is_root=os.geteuid() == 0)
    if as_json:
        sys.stdout.write(orjson.dumps(as_dict(findings), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        # Commands are to be copied: no line is broken.
        Console(highlight=False).print(as_text(findings), soft_wrap=True)
    return EXIT_FAILED if any(each.verdict is Verdict.FAILURE for each in findings) else EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit code 1 when a check failed."""
    parser = argparse.ArgumentParser(prog="herald doctor", description="What is wrong here, and what mends it.")
    parser.add_argument("--config", type=Path, metavar="STATION.TOML", help="the station's description")
    parser.add_argument("--json", action="store_true", help="a JSON object")
    arguments = parser.parse_args(argv)
    # What drivers and clients log, the findings say better.
    logging.basicConfig(level=logging.CRITICAL, format="herald: %(message)s", stream=sys.stderr)
    return exit_code_of(lambda: run(arguments.config, as_json=arguments.json))


if __name__ == "__main__":
    sys.exit(main())
