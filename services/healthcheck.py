"""One-shot probe for HEALTHCHECK, systemd and people: ``python -m services.healthcheck sdr|audio``.

It ends with 0 only when data flows: samples, or decoded audio, that are fresh now. That Redis answers, or that a
process runs, is not enough. What is broken first is named, with the command that looks closer. A channel that no
capture holds, while others are heard, is a warning and no more: a person has asked for it, and no restart mends it. So
is what is wrong with the audio on its way out: nothing of it is needed to decode or to record an alert.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from services.runner import EXIT_FAILED, EXIT_OK, exit_code_of


def run(service: str, max_age_s: float, station_path: Path | None) -> int:
    """Judge one service, and say in a line or two what was found."""
    # Imported here, so that a wrong argument is answered at once; nothing below needs numpy.
    from app_core.bridge.connection import RedisLink
    from app_core.bridge.diagnosis import diagnose_audio, diagnose_sdr, read_station_health, warnings_of
    from services.audio_service import has_streams
    from services.settings import load

    loaded = load(station_path)
    # The verdict says it all; a container's health log has little room.
    logging.disable(logging.CRITICAL)
    link = RedisLink(loaded.redis)
    try:
        health = read_station_health(link, streams_wanted=has_streams(loaded))
    finally:
        link.close()
    verdicts = (diagnose_sdr if service == "sdr" else diagnose_audio)(health, max_age_s)
    if not verdicts:
        flowing = "samples" if service == "sdr" else "decoded audio"
        sys.stdout.write(f"healthy: {flowing} no older than {max_age_s:g} s\n")
        for warning in warnings_of(health, max_age_s) if service == "audio" else ():
            sys.stdout.write(f"warning: {warning}\n")
        return EXIT_OK
    first = verdicts[0]
    more = f" (and {len(verdicts) - 1} more)" if len(verdicts) > 1 else ""
    sys.stdout.write(f"unhealthy: {first.stage}: {first.reason}{more}\n")
    sys.stdout.write(f"look closer: {first.command_for(loaded.redis)}\n")
    return EXIT_FAILED


def _age(text: str) -> float:
    age_s = float(text)
    if not 0.0 < age_s <= 3600.0:
        raise ValueError
    return age_s


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="herald healthcheck", description="Ends with 0 only when fresh samples, or freshly decoded audio, flow."
    )
    parser.add_argument("service", choices=("sdr", "audio"), help="which half of the station is looked at")
    parser.add_argument(
        "--max-age-s", type=_age, default=5.0, metavar="SECONDS", help="oldest that counts as fresh (default: 5)"
    )
    parser.add_argument("--config", type=Path, metavar="STATION.TOML", help="the station's description")
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: run(arguments.service, arguments.max_age_s, arguments.config))


if __name__ == "__main__":
    sys.exit(main())
