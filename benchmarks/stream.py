"""Six mounts and a stream by HTTP: latency, stalls, pitch and length of what is heard, and the cost of a mount.

The whole station is at work: a capture at 250 kS/s is replayed in real time, six channels are demodulated, and a real
Icecast carries MP3, Vorbis, Opus, AAC, FLAC and MP3 again, and what a seventh source brings by HTTP. The sound has dips
that are found again in what a listener gets; when they were captured is known from ``audio:pcm:*``.

``--minutes 30`` makes the main run as long as a claim about stalls needs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.processes import (
    CHANNELS,
    DIP_EVERY_S,
    HEARD_RATE_HZ,
    TONE_HZ,
    CaptureClock,
    Ear,
    Station,
    as_plain,
    dips,
    status_of,
    stdin_records,
    streaming_station,
    tone_by_http,
)
from benchmarks.report import Figure, ceiling
from tests.support.pcm_source import frequency_of

CAVEATS = (
    "the antenna is a recording that is replayed in real time; capture time is that of the replay's clock",
    "latency to a socket: until so many bytes have come that a decoder gives the sample; a player's buffer is not in "
    "it, and Icecast is set to no burst",
    "a latency of four seconds or more would be read as four seconds less: the dips come every four",
    "underruns: silence that was put in for a source after its first second, and audio that was dropped anywhere",
    "a program in Python stands before every FFmpeg of the latency run and notes when its input comes",
    "cost of a mount: processor time of the stream job and its FFmpegs with six mounts of MP3 at 64 kbit/s, less that "
    "of the same job without mounts, over six; the peer encodes the same audio from a file with -re, six at a time",
)

CODECS = {"wx1": "mp3", "wx2": "vorbis", "wx3": "opus", "wx4": "aac", "wx5": "flac", "wx6": "mp3"}
EXTENSIONS = {"mp3": ".mp3", "vorbis": ".ogg", "opus": ".opus", "aac": ".aac", "flac": ".flac"}
LATENCY_S = 14.0
COST_S = 20.0

_ICECAST = """
[icecast]
port = {icecast_port}
password_file = "{password_file}"
bitrate_kbps = 64
"""
_WEB = """
[web_audio]
port = {web_port}
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say how long it runs."""
    parser.add_argument("--minutes", type=float, default=1.0, metavar="M", help="length of the main run (1)")


def _tables(codecs: dict[str, str], http_url: str) -> str:
    exceptions = "".join(
        f'[[icecast.mounts]]\nchannel = "{channel_id}"\ncodec = "{codec}"\n' for channel_id, codec in codecs.items()
    )
    source = f'[[sources]]\nid = "web"\ntype = "stream"\nprotocol = "http"\nurl = "{http_url}"\n' if http_url else ""
    return source + _ICECAST + exceptions + _WEB


def _ears(urls: dict[str, str]) -> dict[str, Ear]:
    ears = {name: Ear(url) for name, url in urls.items()}
    for ear in ears.values():
        ear.start()
    return ears


def _latency_s(captured: NDArray[np.float64], arrived: float) -> float:
    """Give the time from the last dip before it. [seconds]"""
    before = captured[captured < arrived]
    return float(arrived - before[-1]) if len(before) else float("nan")


def _socket_latencies(station: Station, clock: CaptureClock) -> Iterator[Figure]:
    urls = {f"Icecast, {CODECS[channel]}": station.mount_url(_path(channel)) for channel in list(CODECS)[:5]}
    urls |= {f"web, {extension}": f"{station.web_url}/wx1.{extension}" for extension in ("mp3", "opus", "wav")}
    ears = _ears(urls)
    time.sleep(LATENCY_S)
    captured = clock.dips()
    for ear in ears.values():
        ear.close()
    for name, ear in ears.items():
        found = dips(ear.decoded(), HEARD_RATE_HZ)[1:3]
        latencies = [_latency_s(captured, ear.arrival_of(float(position_s))) for position_s in found]
        latency = statistics.median(latencies) if latencies else float("nan")
        yield Figure(f"antenna to a listener's socket, {name} [s]", latency, None, None, "-", True)


def _stdin_latency(station: Station, clock: CaptureClock) -> Figure:
    captured = clock.dips()
    latencies: list[float] = []
    message = station.streams()
    assert message is not None
    # What comes by HTTP has dips of its own.
    pids = [mount["encoder"]["pid"] for channel, mount in message.mounts.items() if channel in CHANNELS]
    for record in stdin_records(station.folder, pids):
        rate_hz = clock.pcm[1]
        ends = np.cumsum([len(samples) for _, samples in record])
        if not record:
            continue
        for position_s in dips(np.concatenate([samples for _, samples in record]), rate_hz):
            arrived = record[int(np.searchsorted(ends, position_s * rate_hz, side="right"))][0]
            if captured[0] + 0.5 < arrived < captured[-1] + DIP_EVERY_S:
                latencies.append(_latency_s(captured, arrived))
    return ceiling(f"antenna to FFmpeg's stdin, longest of {len(latencies)} [s]", max(latencies, default=9.9), 0.5)


def _path(channel_id: str) -> str:
    return f"/{channel_id}{EXTENSIONS[CODECS[channel_id]]}"


def _quality(name: str, ear: Ear) -> Iterator[Figure]:
    """Count the tone, and hold the dips of what was heard against those of the air."""
    pcm = ear.decoded()
    found = dips(pcm, HEARD_RATE_HZ)
    frequency_hz = frequency_of(pcm, HEARD_RATE_HZ) if len(pcm) > HEARD_RATE_HZ else float("nan")
    yield ceiling(f"{name}: tone off {TONE_HZ:g} Hz by [Hz]", abs(frequency_hz - TONE_HZ), 0.1)
    truth_s = DIP_EVERY_S * round(float(found[-1] - found[0]) / DIP_EVERY_S) if len(found) > 1 else float("nan")
    off = 100.0 * abs(float(found[-1] - found[0]) / truth_s - 1.0) if len(found) > 1 else float("nan")
    yield ceiling(f"{name}: length off by, over {truth_s:.0f} s [%]", off, 0.1)
    steps = np.diff(found)
    worst_s = float(np.abs(steps - DIP_EVERY_S).max()) if len(steps) else float("nan")
    yield ceiling(f"{name}: a dip off its place by, at most [s]", worst_s, 0.02)
    yield ceiling(f"{name}: longest time without a byte [s]", ear.longest_gap_s, 1.5)


def _main_run(minutes: float) -> Iterator[Figure]:
    with tone_by_http() as url, tempfile.TemporaryDirectory(prefix="herald-stream-") as name:
        folder = Path(name)
        with streaming_station(folder, _tables(CODECS, url), record_stdin=True) as station:
            station.wait_for_mounts({*(_path(channel) for channel in CODECS), "/web.mp3"})
            clock = CaptureClock(station)
            time.sleep(2.0)
            yield from _socket_latencies(station, clock)
            yield _stdin_latency(station, clock)
            clock.close()
            before = station.streams()
            assert before is not None
            began = status_of(before.mounts)
            job = station.job("stream")
            rss_before = job.memory_info().rss
            ears = _ears({"SDR": station.mount_url("/wx1.mp3"), "HTTP": station.mount_url("/web.mp3")})
            until_s = time.monotonic() + 60.0 * minutes
            while (left_s := until_s - time.monotonic()) > 0.0:
                time.sleep(min(left_s, 10.0))
                print(f"{left_s:6.0f} s to go", file=sys.stderr)
            after = station.streams()
            print(as_plain(after), file=sys.stderr)
            assert after is not None
            ended = status_of(after.mounts)
            encoders = [process for process in job.children(recursive=True) if not process.children()]
            memory_mb = [process.memory_full_info().pss / 1e6 for process in (job, *encoders)]
            rss_after = job.memory_info().rss
            for ear in ears.values():
                ear.close()
    for source, ear in ears.items():
        yield from _quality(source, ear)
    radio = {channel: mount for channel, mount in after.mounts.items() if channel in CHANNELS}
    yield ceiling("longest write in the feed path, six SDR mounts [s]", status_of(radio)["longest_write_s"], 0.05)
    puts = [source["longest_put_s"] for source in after.feed["sources"].values()]
    yield ceiling("longest put into a queue [s]", max(puts), 0.05)
    for what, unit in (("silence_s", "s"), ("dropped_s", "s"), ("restarts", ""), ("connections", "")):
        words = {"silence_s": "silence put in", "dropped_s": "audio dropped"}.get(what, f"{what} more")
        yield ceiling(f"{words}, seven mounts, {minutes:g} min [{unit}]", ended[what] - began[what], 0.0)
    yield Figure("memory of the stream job (PSS) [MB]", memory_mb[0], None, None, "-", True)
    yield Figure("memory of one FFmpeg (PSS), largest [MB]", max(memory_mb[1:]), None, None, "<= 100", True)
    yield ceiling("growth of the stream job in that time [MB]", (rss_after - rss_before) / 1e6, 5.0)


def _job_cpu(folder: Path, tables: str, paths: set[str]) -> tuple[float, NDArray[np.float32]]:
    """Give the processor time of the stream job with its FFmpegs, per second, and the audio of one channel."""
    with streaming_station(folder, tables) as station:
        station.wait_for_mounts(paths)
        clock = CaptureClock(station)
        time.sleep(4.0)
        before, began_s = station.family_cpu_s("stream"), time.monotonic()
        time.sleep(COST_S)
        share = (station.family_cpu_s("stream") - before) / (time.monotonic() - began_s)
        pcm, _ = clock.pcm
        clock.close()
    return share, pcm


def _peer_cpu(pcm: NDArray[np.float32], folder: Path) -> float:
    """Give the processor time of one FFmpeg that encodes the same audio in real time, per second."""
    path = folder / "peer.raw"
    (np.clip(pcm, -1, 1) * 32767).astype("<i2").tofile(path)
    argv = [
        "ffmpeg",
        "-v",
        "quiet",
        "-nostdin",
        "-y",
        "-re",
        "-stream_loop",
        "-1",
        "-f",
        "s16le",
        "-ar",
        "24000",
        "-ac",
        "1",
    ]
    argv += ["-i", str(path), "-c:a", "libmp3lame", "-b:a", "64k", "-flush_packets", "1", "-f", "mp3", "/dev/null"]
    peers = [subprocess.Popen(argv) for _ in range(6)]
    try:
        time.sleep(4.0)
        before = [sum(psutil.Process(peer.pid).cpu_times()[:2]) for peer in peers]
        began_s = time.monotonic()
        time.sleep(COST_S)
        after = [sum(psutil.Process(peer.pid).cpu_times()[:2]) for peer in peers]
        elapsed_s = time.monotonic() - began_s
    finally:
        for peer in peers:
            peer.kill()
            peer.wait()
    return (sum(after) - sum(before)) / elapsed_s / 6.0


def _cost() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="herald-stream-") as name:
        folder = Path(name)
        for part in ("six", "none"):
            (folder / part).mkdir()
        mp3 = dict.fromkeys(CODECS, "mp3")
        six, pcm = _job_cpu(folder / "six", _tables(mp3, ""), {f"/{channel}.mp3" for channel in CODECS})
        peer = _peer_cpu(pcm, folder)
        none, _ = _job_cpu(folder / "none", _WEB, set())
    ours = (six - none) / 6.0
    name = "CPU of a mount, MP3 64 kbit/s [% of a core]"
    yield Figure(name, 100 * ours, 100 * peer, ours / peer, "<= 1.15x", ours <= 1.15 * peer)
    yield Figure("the same with the whole job over six mounts", 100 * six / 6, 100 * peer, six / 6 / peer, "-", True)
    yield Figure("CPU of the stream job without a mount [% of a core]", 100 * none, None, None, "-", True)


def run(options: argparse.Namespace) -> Iterator[Figure]:
    """Measure latency, then a run of some length, then the cost."""
    yield from _main_run(options.minutes)
    yield from _cost()
