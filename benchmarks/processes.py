"""A station that streams, as processes, for the benchmarks: an antenna whose sound is known, Redis, and a real Icecast.

The air carries six narrow FM channels. Each has a tone of 1 kHz that is 20 dB weaker for the first tenth of every four
seconds: these dips are found again in whatever comes out, so that the way's length is measured, and no sample is missed
or doubled unseen. The tone's phase goes through them, so its frequency can be counted over any time.
"""

from __future__ import annotations

import http.server
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil
from numpy.typing import NDArray

from app_core.base.child import Child, run_quietly, wait_until
from app_core.bridge import keys
from app_core.bridge.connection import RedisLink
from app_core.bridge.health import read_message
from app_core.bridge.local_redis import LocalRedis, free_port
from app_core.bridge.messages import AudioMetricsMessage, StreamsMessage
from app_core.bridge.pcm_frame import decode_pcm
from app_core.bridge.pubsub import Subscriber
from tests.support.icecast_server import SOURCE_PASSWORD, IcecastDaemon, running_icecast
from tests.support.signals import preemphasis_gain

RATE_HZ = 250_000
CENTER_HZ = 162_487_500
TONE_HZ = 1000.0
DIP_EVERY_S = 4.0
DIP_S = 0.1
CHANNELS = {f"wx{number}": 162_400_000 + 25_000 * (number - 1) for number in range(1, 7)}
HEARD_RATE_HZ = 8000
"""Rate to which streams are decoded before they are looked at."""

START_S = 90.0

_RECORDER = """#!{python} -SE
import os, struct, subprocess, sys, time
real, folder, arguments = {real!r}, {folder!r}, sys.argv[1:]
if "s16le" not in arguments:
    os.execv(real, [real, *arguments])
encoder = subprocess.Popen([real, *arguments], stdin=subprocess.PIPE)
left = {most}
with open(os.path.join(folder, str(os.getpid()) + ".stdin"), "wb", buffering=0) as log:
    while piece := os.read(0, 65536):
        if left > 0:
            log.write(struct.pack("<dI", time.time(), len(piece)) + piece)
            left -= len(piece)
        encoder.stdin.write(piece)
        encoder.stdin.flush()
encoder.stdin.close()
sys.exit(encoder.wait())
"""


def write_air(path: Path) -> None:
    """Write one period of the air as CF32; played in a loop it has no seam."""
    n = round(DIP_EVERY_S * RATE_HZ)
    time_s = np.arange(n) / RATE_HZ
    tone = 0.5 * np.sin(2.0 * np.pi * TONE_HZ * time_s)
    # Raised cosines of 2 ms, so that the dip's edges stay in the channel; the first and last sample are alike.
    edge = np.clip(np.minimum(time_s / 0.002, (DIP_S - time_s) / 0.002), 0.0, 1.0)
    audio = tone * (1.0 - 0.9 * 0.5 * (1.0 - np.cos(np.pi * edge)))
    phase = 2.0 * np.pi * 5000.0 * preemphasis_gain(TONE_HZ) / RATE_HZ * np.cumsum(audio)
    phase -= phase.mean()
    iq = np.zeros(n, np.complex128)
    for frequency_hz in CHANNELS.values():
        iq += 0.1 * np.exp(1j * (phase + 2.0 * np.pi * (frequency_hz - CENTER_HZ) * time_s))
    rng = np.random.default_rng(6)
    iq += 1e-3 * (rng.standard_normal(n) + 1j * rng.standard_normal(n))
    iq.astype(np.complex64).tofile(path)


def dips(pcm: NDArray[np.float32], sample_rate_hz: float) -> NDArray[np.float64]:
    """Give where the dips begin, found by the level of one period of the tone. [seconds from the first sample]"""
    if len(pcm) < sample_rate_hz:
        return np.zeros(0)
    period = round(sample_rate_hz / TONE_HZ)
    power = np.convolve(np.square(pcm.astype(np.float64)), np.ones(period) / period, mode="valid")
    loud = float(np.median(power))
    quiet = power < 0.25 * loud
    begins = np.flatnonzero(~quiet[:-1] & quiet[1:]) + 1
    # Half of a dip must be quiet: a click is none.
    half = int(0.5 * DIP_S * sample_rate_hz)
    kept = [begin for begin in begins if begin + half < len(quiet) and quiet[begin : begin + half].mean() > 0.9]
    return np.asarray(kept, np.float64) / sample_rate_hz + 0.5 / TONE_HZ


def decode(encoded: bytes, extension: str) -> NDArray[np.float32]:
    """Have FFmpeg decode what a listener got, to `HEARD_RATE_HZ`; shape (n,). [full scale = ±1]"""
    # Told and not guessed: a stream is joined in the middle of a frame.
    form = {"mp3": "mp3", "aac": "aac", "wav": "wav"}.get(extension, "ogg")
    argv = ["ffmpeg", "-v", "quiet", "-f", form, "-i", "pipe:0"]
    argv += ["-f", "f32le", "-ac", "1", "-ar", str(HEARD_RATE_HZ), "pipe:1"]
    return np.frombuffer(run_quietly(argv, timeout_s=300.0, stdin=encoded) or b"", "<f4")


class Ear(threading.Thread):
    """Listens to an address, and notes when each piece came.

    Attributes
    ----------
    pieces
        Of what came: UTC seconds, and bytes.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        address, _, path = url.removeprefix("http://").partition("/")
        host, _, port = address.rpartition(":")
        self._where, self._path = (host, int(port)), path
        self._extension = path.rpartition(".")[2]
        self._closing = threading.Event()
        self.pieces: list[tuple[float, bytes]] = []

    def run(self) -> None:
        """Listen until closed, or until the other side ends."""
        with socket.create_connection(self._where, timeout=30.0) as connection:
            # HTTP/1.0, so that the body is bare.
            connection.sendall(f"GET /{self._path} HTTP/1.0\r\nHost: bench\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1)
            while not self._closing.is_set():
                try:
                    piece = connection.recv(65536)
                except OSError:
                    return
                if not piece:
                    return
                self.pieces.append((time.time(), piece))

    @property
    def heard(self) -> bytes:
        """Everything that came."""
        return b"".join(piece for _, piece in list(self.pieces))

    def decoded(self) -> NDArray[np.float32]:
        """Give its sound, at `HEARD_RATE_HZ`; shape (n,). [full scale = ±1]"""
        return decode(self.heard, self._extension)

    @property
    def longest_gap_s(self) -> float:
        """Longest time without a byte. [seconds]"""
        times = [when for when, _ in list(self.pieces)]
        return max((after - before for before, after in itertools.pairwise(times)), default=0.0)

    def close(self) -> None:
        """Listen no more."""
        self._closing.set()
        self.join(35.0)

    def arrival_of(self, position_s: float) -> float:
        """Give when so much had come that what stands at `position_s` could be heard. [UTC seconds]"""
        pieces = list(self.pieces)
        low, high = 0, len(pieces)
        while high - low > 1:
            middle = (low + high) // 2
            heard = decode(b"".join(piece for _, piece in pieces[:middle]), self._extension)
            low, high = (low, middle) if len(heard) > position_s * HEARD_RATE_HZ else (middle, high)
        return pieces[high - 1][0]


class CaptureClock:
    """Says when the dips were captured, from ``audio:pcm:wx1``."""

    def __init__(self, station: Station) -> None:
        self._blocks: list[tuple[float, float, NDArray[np.float32]]] = []
        self._subscriber = Subscriber(station.redis.settings, [keys.pcm("wx1")], self._take, name="CaptureClock")
        self._subscriber.start()

    def _take(self, channel: str, payload: bytes) -> None:
        block = decode_pcm(payload)
        self._blocks.append((block.timestamp, block.sample_rate_hz, block.pcm))
        del self._blocks[:-600]

    @property
    def pcm(self) -> tuple[NDArray[np.float32], float]:
        """The last minute or so of the channel, and its rate."""
        blocks = list(self._blocks)
        return np.concatenate([pcm for _, _, pcm in blocks]), blocks[0][1]

    def dips(self) -> NDArray[np.float64]:
        """Give when dips were captured. [UTC seconds]"""
        pcm, rate_hz = self.pcm
        began = self._blocks[0][0]
        return began + dips(pcm, rate_hz)

    def close(self) -> None:
        """End."""
        self._subscriber.stop()


class Station:
    """The processes; made by `streaming_station`.

    Attributes
    ----------
    redis, icecast
        The servers.
    folder
        Of settings and logs.
    """

    def __init__(self, folder: Path, redis: LocalRedis, icecast: IcecastDaemon, web_port: int) -> None:
        self.folder, self.redis, self.icecast = folder, redis, icecast
        self.web_url = f"http://127.0.0.1:{web_port}/listen"
        self.link = RedisLink(redis.settings)
        self.audio: Child | None = None

    def mount_url(self, path: str) -> str:
        """Give the address of a mount."""
        return f"http://127.0.0.1:{self.icecast.port}{path}"

    def streams(self) -> StreamsMessage | None:
        """Give what the stream job says of itself."""
        return read_message(self.link, keys.STREAMS, StreamsMessage)

    def channel(self, channel_id: str) -> Mapping[str, Any]:
        """Give what the decode job says of a channel."""
        metrics = read_message(self.link, keys.AUDIO_METRICS, AudioMetricsMessage)
        return {} if metrics is None else metrics.channels.get(channel_id, {})

    def lateness_s(self) -> float:
        """Give how far the decoder is behind the antenna. [seconds]"""
        metrics = read_message(self.link, keys.AUDIO_METRICS, AudioMetricsMessage)
        return float("inf") if metrics is None else float(metrics.receivers["air"].get("lateness_s") or 0.0)

    def job(self, role: str) -> psutil.Process:
        """Give the process of a job."""
        assert self.audio is not None
        for child in psutil.Process(self.audio.pid).children():
            if role in child.cmdline():
                return child
        raise RuntimeError(f"the {role} job does not run")

    def family_cpu_s(self, role: str) -> float:
        """Give the processor time of a job and of its FFmpegs so far. [seconds]"""
        job = self.job(role)
        times = [process.cpu_times() for process in (job, *job.children())]
        return sum(each.user + each.system for each in times)

    def wait_for_mounts(self, paths: set[str]) -> None:
        """Wait until these mounts carry audio.

        Raises
        ------
        RuntimeError
            If they do not within `START_S`.
        """

        def are_fed() -> bool:
            message = self.streams()
            fed = {
                str(mount.get("mount"))
                for mount in (message.mounts.values() if message is not None else ())
                if mount.get("connected") and mount.get("encoder", {}).get("fed_s", 0.0) > 2.0
            }
            return paths <= fed

        if not wait_until(are_fed, START_S, 0.2):
            log = (self.folder / "audio.log").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"no audio on {sorted(paths)}: {log[-3000:]}")


@contextmanager
def streaming_station(folder: Path, tables: str, *, record_stdin: bool = False) -> Iterator[Station]:
    """Start a station for the length of a block.

    Parameters
    ----------
    folder
        An empty one.
    tables
        More of ``station.toml``; ``{icecast_port}``, ``{password_file}`` and ``{web_port}`` stand for what they say.
    record_stdin
        Put a program before FFmpeg that notes when which of its input came: ``*.stdin`` in the folder.
    """
    write_air(folder / "air.cf32")
    password_file = folder / "password"
    password_file.write_text(SOURCE_PASSWORD + "\n", encoding="utf-8")
    web_port = free_port()
    with ExitStack() as cleanup:
        redis = LocalRedis(free_port())
        redis.start()
        redis.wait_ready()
        cleanup.callback(redis.close)
        cleanup.callback(redis.stop)
        icecast = cleanup.enter_context(running_icecast(folder))
        lines = [
            f"[redis]\nport = {redis.settings.port}\n",
            f'[[receivers]]\nid = "air"\ndriver = "replay"\npath = "{folder / "air.cf32"}"\niq_format = "cf32"',
            f"sample_rate_hz = {RATE_HZ}\ncenter_frequency_hz = {CENTER_HZ}\n",
        ]
        for channel_id, frequency_hz in CHANNELS.items():
            lines.append(f'[[channels]]\nid = "{channel_id}"\nreceiver_id = "air"\nfrequency_hz = {frequency_hz}\n')
        filled = tables.format(icecast_port=icecast.port, password_file=password_file, web_port=web_port)
        config = folder / "station.toml"
        config.write_text("\n".join(lines) + filled, encoding="utf-8")
        environment = {name: "" for name in os.environ if name.startswith(("HERALD_", "REDIS_", "CONFIG_PATH"))}
        environment |= {"HERALD_DATA_DIR": str(folder / "kept"), "HERALD_STATION": str(config)}
        if record_stdin:
            environment["PATH"] = f"{_recorder(folder)}:{os.environ['PATH']}"
        station = Station(folder, redis, icecast, web_port)
        cleanup.callback(station.link.close)
        for name in ("sdr", "audio"):
            log = cleanup.enter_context((folder / f"{name}.log").open("wb"))
            argv = [sys.executable, "-m", f"services.{name}_service"]
            child = Child(name, argv, environment=environment, stdout=log, stderr=log)
            child.start()
            cleanup.callback(child.stop, 20.0)
        station.audio = child
        yield station


def stdin_records(folder: Path, pids: Iterable[int]) -> list[list[tuple[float, NDArray[np.float32]]]]:
    """Give what came to each recorded FFmpeg: UTC seconds, and the samples; the rate is the channel's."""
    records = []
    for pid in pids:
        raw, record, at = (folder / f"{pid}.stdin").read_bytes(), [], 0
        while at + 12 <= len(raw):
            when = float(np.frombuffer(raw, "<f8", 1, at)[0])
            size = int(np.frombuffer(raw, "<u4", 1, at + 8)[0])
            piece = raw[at + 12 : at + 12 + size]
            record.append((when, np.frombuffer(piece[: len(piece) // 2 * 2], "<i2").astype(np.float32) / 32767.0))
            at += 12 + size
        records.append(record)
    return records


def _recorder(folder: Path) -> Path:
    real = next(
        str(Path(each) / "ffmpeg") for each in os.environ["PATH"].split(":") if (Path(each) / "ffmpeg").is_file()
    )
    script = folder / "bin" / "ffmpeg"
    script.parent.mkdir()
    text = _RECORDER.format(python=os.path.realpath(sys.executable), real=real, folder=str(folder), most=6_000_000)
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)
    return script.parent


@contextmanager
def tone_by_http() -> Iterator[str]:
    """Serve a stream of MP3 with the same tone and dips, in real time, and give its address."""
    tone = f"0.5*sin(2*PI*{TONE_HZ:.0f}*t)*(1-0.9*lt(mod(t\\,{DIP_EVERY_S:.0f})\\,{DIP_S}))"
    argv = ["ffmpeg", "-v", "quiet", "-re", "-f", "lavfi", "-i", f"aevalsrc={tone}:s=24000"]
    argv += ["-b:a", "64k", "-f", "mp3", "-flush_packets", "1", "pipe:1"]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "audio/mpeg")
            self.end_headers()
            with subprocess.Popen(argv, stdout=subprocess.PIPE) as ffmpeg:
                assert ffmpeg.stdout is not None
                try:
                    while piece := ffmpeg.stdout.read1(4096):  # type: ignore[attr-defined]
                        self.wfile.write(piece)
                except OSError:
                    ffmpeg.kill()

        def log_message(self, format: str, *words: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/tone.mp3"
    finally:
        server.shutdown()
        server.server_close()


def status_of(mounts: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Add up what went wrong on all mounts."""
    added = {"silence_s": 0.0, "dropped_s": 0.0, "restarts": 0.0, "connections": 0.0, "longest_write_s": 0.0}
    for mount in mounts.values():
        encoder, queue, backlog = mount["encoder"], mount["queue"], mount["backlog"]
        added["silence_s"] += encoder["silence_s"]
        added["restarts"] += encoder["restarts"]
        added["dropped_s"] += queue["dropped_s"] + backlog["dropped_s"]
        added["connections"] += mount["connections"]
        added["longest_write_s"] = max(added["longest_write_s"], encoder["longest_write_s"])
    return added


def as_plain(message: StreamsMessage | None) -> str:
    """Give a status for the one who looks for a cause."""
    return "nothing" if message is None else orjson.dumps(message.model_dump()).decode()
