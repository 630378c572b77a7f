"""Icecast killed for ten seconds, FFmpeg killed, Icecast frozen: how soon every codec is heard again.

The station is that of ``stream``, with a mount of each codec. ``--rounds 20`` is as often as the claim is made for.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app_core.base.child import wait_until
from benchmarks.processes import Ear, Station, streaming_station
from benchmarks.report import Figure, ceiling, floor
from benchmarks.stream import CODECS, EXTENSIONS

CAVEATS = (
    "a mount is back when Icecast's status shows it, asked for every 50 ms; Icecast's return is its first answer, "
    "which comes after it listens: a mount that is faster counts as 0 s",
    "an FFmpeg is killed while a client listens; the time is that from the kill to the first byte of the next one, "
    "by the encoder's own count of bytes and process",
    "frozen: SIGSTOP; memory is the resident set of the stream job",
)

AWAY_S = 10.0
BACK_WITHIN_S = 5.0
AUDIO_WITHIN_S = 2.0
TRIED = dict(list(CODECS.items())[:5])

_TABLES = """
[icecast]
port = {{icecast_port}}
password_file = "{{password_file}}"
{mounts}"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say how often."""
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="times that Icecast is killed (2)")
    parser.add_argument("--frozen-s", type=float, default=30.0, metavar="S", help="how long it is frozen (30)")


def _tables() -> str:
    mounts = "".join(
        f'[[icecast.mounts]]\nchannel = "{channel}"\ncodec = "{CODECS[channel]}"\n'
        + ("" if channel in TRIED else "enabled = false\n")
        for channel in CODECS
    )
    return _TABLES.format(mounts=mounts)


def _paths() -> dict[str, str]:
    return {codec: f"/{channel}{EXTENSIONS[codec]}" for channel, codec in TRIED.items()}


def _back_after_s(station: Station) -> dict[str, float]:
    """Give for each codec when its mount is there again, from now on. [seconds]"""
    began_s = time.monotonic()
    back: dict[str, float] = {}

    def all_are() -> bool:
        mounts = station.icecast.mounts()
        for codec, path in _paths().items():
            if path in mounts:
                back.setdefault(codec, time.monotonic() - began_s)
        return len(back) == len(TRIED)

    wait_until(all_are, 60.0, 0.05)
    return {codec: back.get(codec, 60.0) for codec in TRIED.values()}


def _killed(station: Station, rounds: int) -> Iterator[Figure]:
    times: dict[str, list[float]] = {codec: [] for codec in TRIED.values()}
    heard_again = 0
    for number in range(rounds):
        station.icecast.kill()
        time.sleep(AWAY_S)
        station.icecast.start()
        for codec, back_s in _back_after_s(station).items():
            times[codec].append(back_s)
        print(
            f"round {number + 1}: { ({codec: round(each[-1], 2) for codec, each in times.items()}) }", file=sys.stderr
        )
        for path in _paths().values():
            heard_again += bool(station.icecast.fetch(path, 3.0, 8000))
    for codec, each in times.items():
        yield ceiling(f"{codec}: mount back after Icecast's return, longest of {rounds} [s]", max(each), BACK_WITHIN_S)
        yield Figure(f"{codec}: the same, median [s]", statistics.median(each), None, None, "-", True)
    yield floor(f"mounts heard again, of {rounds * len(TRIED)}", float(heard_again), float(rounds * len(TRIED)))


def _ffmpeg_killed(station: Station) -> Iterator[Figure]:
    for channel, codec in TRIED.items():
        ear = Ear(station.mount_url(_paths()[codec]))
        ear.start()
        time.sleep(1.5)
        message = station.streams()
        assert message is not None
        os.kill(message.mounts[channel]["encoder"]["pid"], signal.SIGKILL)
        killed = time.time()
        time.sleep(5.0)
        ear.close()
        # What stood in pipes still comes; the pause behind it is what a listener notices.
        after = [when for when, _ in ear.pieces if when > killed - 0.3]
        pauses = [(end - begin, end) for begin, end in itertools.pairwise(after) if begin < killed + 1.5]
        back = max(pauses)[1] - killed if pauses else 60.0
        yield ceiling(f"{codec}: audio back after FFmpeg was killed [s]", max(back, 0.0), AUDIO_WITHIN_S)


def _frozen(station: Station, frozen_s: float) -> Iterator[Figure]:
    job = station.job("stream")
    time.sleep(3.0)
    before_bytes, lost_before = job.memory_info().rss, station.channel("wx1")["lost_samples"]
    station.icecast.freeze()
    grown_mb, late_s = 0.0, 0.0
    until_s = time.monotonic() + frozen_s
    while time.monotonic() < until_s:
        time.sleep(0.5)
        grown_mb = max(grown_mb, (job.memory_info().rss - before_bytes) / 1e6)
        late_s = max(late_s, station.lateness_s())
    station.icecast.thaw()
    back = _back_after_s(station)
    connected = wait_until(lambda: _are_connected(station), 60.0, 0.1)
    yield ceiling(f"Icecast frozen for {frozen_s:g} s: growth of the stream job [MB]", grown_mb, 5.0)
    yield ceiling("the same: decoder behind the antenna, at most [s]", late_s, 2.0)
    lost = float(station.channel("wx1")["lost_samples"] - lost_before)
    yield ceiling("the same: samples lost to the decoder", lost, 0.0)
    yield ceiling("the same: mounts back after the thaw, longest [s]", max(back.values()), BACK_WITHIN_S)
    yield floor("the same: every mount connected again", float(connected), 1.0)


def _are_connected(station: Station) -> bool:
    message = station.streams()
    return message is not None and all(message.mounts[channel]["connected"] for channel in TRIED)


def run(options: argparse.Namespace) -> Iterator[Figure]:
    """Do it to a running station, one thing after the other."""
    with (
        tempfile.TemporaryDirectory(prefix="herald-recovery-") as name,
        streaming_station(Path(name), _tables()) as station,
    ):
        station.wait_for_mounts(set(_paths().values()))
        yield from _ffmpeg_killed(station)
        yield from _frozen(station, options.frozen_s)
        yield from _killed(station, options.rounds)
