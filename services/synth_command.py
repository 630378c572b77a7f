"""``herald synth``: a generated station, as a SigMF recording or live behind an ``rtl_tcp`` server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from app_core.base.errors import ConfigError
from app_core.synth.clips import default_cache_folder
from app_core.synth.demo import demo_plan
from app_core.synth.plan import ChannelPlan, Programme, Recording, ScheduledAlert, Silence, StationPlan
from app_core.synth.sigmf_output import write_sigmf
from services import synth_service
from services.runner import EXIT_OK, exit_code_of

WARNING = (
    "Never put these signals on a transmitter: sending false EAS codes or attention signals is against the law "
    "(47 CFR 11.45)."
)


def _split(text: str, option: str) -> tuple[float, str]:
    """Split ``MHZ=VALUE``; give the frequency in Hz and the value."""
    frequency, equals, value = text.partition("=")
    try:
        if not equals or not value:
            raise ValueError
        return round(float(frequency) * 1e6), value
    except ValueError:
        raise ConfigError(f"{option} takes MHZ=VALUE, for example 162.550=…, not {text!r}") from None


def plan_of(arguments: argparse.Namespace) -> StationPlan:
    """Make the plan that the command line describes: the demo's seven channels, with files and alerts put on them.

    Raises
    ------
    ConfigError
        If a frequency, file or header is wrong; the text names it.
    """
    station = demo_plan(seed=arguments.seed)
    programmes: dict[float, Programme] = {}
    for text in arguments.channel:
        frequency_hz, value = _split(text, "--channel")
        path, _, start = value.rpartition("@")
        timed = bool(path) and _is_number(start)
        programmes[frequency_hz] = Recording(
            Path(path if timed else value), start_s=float(start) if timed else 0.0, looped=False
        )
    known = {channel.frequency_hz: channel for channel in station.channels}
    if arguments.silent:
        known = {hz: ChannelPlan(hz, channel.cn_db, Silence()) for hz, channel in known.items()}
    for frequency_hz, programme in programmes.items():
        cn_db = known[frequency_hz].cn_db if frequency_hz in known else 30.0
        known[frequency_hz] = ChannelPlan(frequency_hz, cn_db, programme)
    alerts = []
    for text in arguments.alert:
        frequency_hz, value = _split(text, "--alert")
        header, _, start = value.rpartition("@")
        alerts.append(ScheduledAlert(frequency_hz, _seconds(start, text), header, arguments.voice))
    return StationPlan(
        tuple(known[frequency_hz] for frequency_hz in sorted(known)),
        alerts=tuple(alerts),
        impairments=station.impairments,
        seed=arguments.seed,
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _seconds(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{whole!r} must end in @SECONDS, the time at which it begins") from None


def render(arguments: argparse.Namespace) -> int:
    """Write the recording, with progress on a terminal."""
    plan = plan_of(arguments)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("rendering", total=1.0)
        samples, metadata = write_sigmf(
            arguments.output,
            plan,
            arguments.seconds,
            {"cf32": "cf32_le", "cs16": "ci16_le", "cu8": "cu8"}[arguments.format],
            cache_folder=default_cache_folder(),
            started=datetime.now(UTC),
            on_progress=lambda done: progress.update(task, completed=done),
        )
    sys.stdout.write(f"{samples}\n{metadata}\n")
    sys.stderr.write(f"{WARNING}\n")
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--serve" in arguments:
        arguments.remove("--serve")
        return synth_service.main(arguments)
    parser = argparse.ArgumentParser(
        prog="herald synth",
        description="A generated station of seven weather channels, written as a SigMF recording.",
        epilog=f"With --serve it is live, as a dongle behind rtl_tcp: herald synth --serve --help. {WARNING}",
    )
    parser.add_argument("output", type=Path, metavar="NAME", help="the recording: NAME.sigmf-data, NAME.sigmf-meta")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="its length (default: 60)")
    parser.add_argument("--format", choices=["cu8", "cs16", "cf32"], default="cu8", help="its samples (default: cu8)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same samples")
    parser.add_argument(
        "--channel", action="append", default=[], metavar="MHZ=FILE[@S]", help="put an audio file on a channel, S s in"
    )
    parser.add_argument(
        "--alert",
        action="append",
        default=[],
        metavar="MHZ=HEADER@S",
        help="send this SAME header on a channel, S s in",
    )
    parser.add_argument("--voice", default="This is a test of Herald. It is not real.", help="what alerts say")
    parser.add_argument("--silent", action="store_true", help="no speech on the channels that nothing was put on")
    return exit_code_of(lambda: render(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
