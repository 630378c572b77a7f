"""IQ from a receiver to a decoding subscriber in another process: the highest rate that loses nothing.

The SDR service itself (``services.sdr_service``) takes CF32 from a SoapySDR device through reader, ring, spectrum,
encoder and Redis, in the contract's wire format. A process of its own subscribes, decodes every message and checks that
each sample follows the last one. The data are Gaussian noise as converters of 8, 12 and 16 bits give it. The peer is
the same service with the standard library's zlib at level 1 in place of ISA-L. History is off, and on for the last
figure.

HERALD_CAPTURE_RATE_S sets the length of the main figure (60 seconds by default), HERALD_CAPTURE_SEARCH_S that of each
try of the search (6 seconds).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil

from app_core.base.child import wait_until
from app_core.bridge import keys
from app_core.bridge.connection import RedisLink, RedisSettings
from app_core.bridge.health import read_message
from app_core.bridge.local_redis import LocalRedis, free_port
from app_core.bridge.messages import SamplesMessage, SdrMetricsMessage
from app_core.bridge.pubsub import Subscriber
from app_core.bridge.sample_codec import decode_samples
from benchmarks.report import Figure, at_least, ceiling, floor

CAVEATS = (
    "all processes (SDR service, Redis, subscriber) share this machine's processors; the receiver's CPU time is in it",
    "the receiver is the SoapySDR module of the tests, or the replay driver where there is no SoapySDR; both play "
    "a loop of 2 MiSamples of CF32 in real time",
    "a rate counts as kept when not one sample is lost from receiver to subscriber and the last one is at most 1 s old",
    "the search steps by 10 %; each try is short, so its result is a little above what holds for an hour",
    "the program chooses the level of compression by itself; where it stored samples, the rate was kept by that",
)

RECEIVER_ID = "bench"
MAIN_RATE_HZ = 10_000_000.0
LOOP_SAMPLES = 1 << 21
WARM_UP_S = 2.0
FIRST_TRY_HZ = 10_000_000.0
STEP = 1.1
LATEST_S = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave.

    Attributes
    ----------
    rate_hz, lost
        Samples per second at the subscriber, and samples missing there since the beginning.
    lag_s
        Age of the newest sample at the subscriber when it stopped. [seconds]
    sdr_cpu, redis_cpu, listener_cpu
        Seconds of processor time for a second of the run.
    metrics
        The receiver's entry of ``sdr:metrics``, and the outbox's.
    rss_bytes
        Memory of the SDR service, at the beginning and at the end of the measurement.
    """

    rate_hz: float
    lost: int
    lag_s: float
    sdr_cpu: float
    redis_cpu: float
    listener_cpu: float
    metrics: dict[str, Any]
    rss_bytes: tuple[int, int]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost and nothing is late."""
        return self.rate_hz > 0 and self.lost == 0 and self.metrics["lost_samples"] == 0 and self.lag_s <= LATEST_S


def seconds_of(variable: str, default_s: float) -> float:
    """Give the length that an environment variable asks for. [seconds]"""
    return float(os.environ.get(variable, default_s))


def write_loop(path: Path, bits: int) -> None:
    """Write noise as a converter of that many bits gives it, with a standard deviation of a sixth of full scale."""
    full = float(1 << (bits - 1))
    codes = np.rint(np.random.default_rng(1).normal(0.0, full / 6.0, 2 * LOOP_SAMPLES)).clip(-full, full - 1.0)
    (codes / full).astype(np.float32).tofile(path)


def _receiver(folder: Path, loop: Path) -> tuple[dict[str, object], dict[str, str]]:
    """Give what is the receiver's own in its table, and the environment that its driver needs."""
    if importlib.util.find_spec("SoapySDR") is None:
        return {"driver": "replay", "path": str(loop), "iq_format": "cf32"}, {}
    from tests.support.soapy_module import IqFileDevices

    devices = IqFileDevices(folder)
    devices.plug_in("BENCH1", model="plain")
    table = {"driver": "soapy", "args": f"driver=iqfile,path={loop}", "serial": "BENCH1", "stream_format": "CF32"}
    return dict(table), devices.environment()


class CaptureLine:
    """Redis, the SDR service and a listener, as processes.

    Parameters
    ----------
    folder
        Of the loop and the settings.
    rate_hz
        Of the receiver.
    loop
        The samples.
    settings
        More of the receiver's table.
    is_peer
        Whether the standard library compresses.
    """

    def __init__(self, folder: Path, rate_hz: float, loop: Path, *, is_peer: bool = False, **settings: object) -> None:
        self._folder = folder
        receiver, driver_environment = _receiver(folder, loop)
        table = {
            "id": RECEIVER_ID,
            **receiver,
            "sample_rate_hz": rate_hz,
            "center_frequency_hz": 162_487_500.0,
            "ring_max_samples": 1 << 26,
            "history_seconds": 0.0,
            **settings,
        }
        lines = [f"{name} = {orjson.dumps(value).decode()}" for name, value in table.items()]
        station = folder / "station.toml"
        station.write_text("[[receivers]]\n" + "\n".join(lines) + "\n", encoding="utf-8")
        self._redis = LocalRedis(free_port())
        self._redis.start()
        self._redis.wait_ready()
        port = str(self._redis.settings.port)
        self.link = RedisLink(self._redis.settings)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}
        environment |= {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": port, "HERALD_LOG_LEVEL": "WARNING"}
        environment |= {"HERALD_DATA_DIR": str(folder), **driver_environment}
        module = [sys.executable, "-m", "benchmarks.capture_rate"]
        self._listener = subprocess.Popen(
            [*module, "listen", port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert self._listener.stdout is not None
        self._listener.stdout.readline()
        program = [*module, "stdlib"] if is_peer else [sys.executable, "-m", "services.sdr_service"]
        with (folder / "sdr.err").open("ab") as log:
            self._sdr = subprocess.Popen([*program, "--config", str(station)], stderr=log, env=environment)

    def cpu_seconds(self) -> tuple[float, float, float]:
        """Give the processor time of SDR service, Redis and listener so far."""
        assert self._redis.pid is not None
        times = [psutil.Process(pid).cpu_times() for pid in (self._sdr.pid, self._redis.pid, self._listener.pid)]
        sdr, server, listener = (each.user + each.system for each in times)
        return sdr, server, listener

    def rss_bytes(self) -> int:
        """Give the memory of the SDR service."""
        return int(psutil.Process(self._sdr.pid).memory_info().rss)

    def metrics(self) -> dict[str, Any]:
        """Give the receiver's health, with the outbox's under ``redis``."""
        message = read_message(self.link, keys.METRICS, SdrMetricsMessage)
        return {} if message is None else {**message.receivers[RECEIVER_ID], "redis": message.redis}

    def wait_running(self) -> None:
        """Wait for the first samples.

        Raises
        ------
        RuntimeError
            If there are none.
        """
        if not wait_until(lambda: bool(self.metrics().get("running")), 30.0):
            raise RuntimeError((self._folder / "sdr.err").read_text(encoding="utf-8", errors="replace")[-2000:])

    def heard(self) -> dict[str, Any]:
        """Ask the listener what it has heard so far."""
        assert self._listener.stdin is not None
        assert self._listener.stdout is not None
        self._listener.stdin.write(b"\n")
        self._listener.stdin.flush()
        heard: dict[str, Any] = orjson.loads(self._listener.stdout.readline())
        return heard

    def close(self) -> None:
        """End all of them."""
        self.link.close()
        self._sdr.terminate()
        self._sdr.wait(20)
        assert self._listener.stdin is not None
        assert self._listener.stdout is not None
        self._listener.stdin.close()
        self._listener.stdout.close()
        self._listener.wait(10)
        self._redis.stop()
        self._redis.close()


def measure(line: CaptureLine, length_s: float) -> Outcome:
    """Let a line run, and give what came of it; it is closed at the end."""
    try:
        line.wait_running()
        time.sleep(WARM_UP_S)
        cpu_before, rss_before, received = line.cpu_seconds(), line.rss_bytes(), line.heard()["received"]
        begun_s = time.monotonic()
        time.sleep(length_s)
        cpu = [(after - before) for before, after in zip(cpu_before, line.cpu_seconds(), strict=True)]
        elapsed_s, rss_after = time.monotonic() - begun_s, line.rss_bytes()
        heard, metrics = line.heard(), line.metrics()
    finally:
        line.close()
    sdr_cpu, redis_cpu, listener_cpu = (share / elapsed_s for share in cpu)
    return Outcome(
        rate_hz=(heard["received"] - received) / elapsed_s,
        lost=heard["lost"],
        lag_s=heard["lag_s"],
        sdr_cpu=sdr_cpu,
        redis_cpu=redis_cpu,
        listener_cpu=listener_cpu,
        metrics=metrics,
        rss_bytes=(rss_before, rss_after),
    )


def highest_rate(folder: Path, bits: int, length_s: float, *, is_peer: bool = False) -> float:
    """Give the highest rate that loses nothing, by steps of `STEP`; 0 when there is none. [samples per second]"""
    loop = folder / f"{bits}.cf32"

    def is_kept(rate_hz: float) -> bool:
        return measure(CaptureLine(folder, rate_hz, loop, is_peer=is_peer), length_s).is_whole

    low, high = -12, 16
    if not is_kept(FIRST_TRY_HZ * STEP**low):
        return 0.0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_kept(round(FIRST_TRY_HZ * STEP**middle, -3)) else (low, middle)
    return round(FIRST_TRY_HZ * STEP**low, -3)


def run() -> Iterator[Figure]:
    """Measure the main rate, its costs, and the limits."""
    length_s = seconds_of("HERALD_CAPTURE_RATE_S", 60.0)
    search_s = seconds_of("HERALD_CAPTURE_SEARCH_S", 6.0)
    with tempfile.TemporaryDirectory(prefix="herald-bench-") as name:
        folder = Path(name)
        for bits in (8, 12, 16):
            write_loop(folder / f"{bits}.cf32", bits)
        loop = folder / "8.cf32"
        ours = measure(CaptureLine(folder, MAIN_RATE_HZ, loop), length_s)
        peer = measure(CaptureLine(folder, MAIN_RATE_HZ, loop, is_peer=True), search_s)
        yield ceiling(
            f"samples lost at 10 MS/s, 8 bits, {length_s:g} s",
            ours.lost + ours.metrics["lost_samples"],
            0.0,
        )
        yield floor("rate at the subscriber [MS/s]", ours.rate_hz / 1e6, 9.9)
        yield ceiling("age of the last sample there [s]", ours.lag_s, LATEST_S, peer.lag_s)
        yield ceiling("CPU of the SDR service at 10 MS/s [s/s]", ours.sdr_cpu, 1.0, peer.sdr_cpu)
        yield ceiling("CPU of Redis and the subscriber [s/s]", ours.redis_cpu + ours.listener_cpu, 1.0)
        kept = measure(CaptureLine(folder, MAIN_RATE_HZ, loop, history_seconds=5.0), search_s)
        yield ceiling(
            "CPU of SDR service and Redis, with history [s/s]",
            kept.sdr_cpu + kept.redis_cpu,
            1.5,
            ours.sdr_cpu + ours.redis_cpu,
        )
        for bits in (8, 12, 16):
            limit = highest_rate(folder, bits, search_s) / 1e6
            theirs = highest_rate(folder, bits, search_s, is_peer=True) / 1e6
            yield at_least(f"highest rate without a loss, {bits} bits [MS/s]", limit, max(theirs, 0.1), 1.0)


class _Listener:
    """Decodes what comes and counts what is missing."""

    def __init__(self) -> None:
        self.received = 0
        self.lost = 0
        self.malformed = 0
        self.newest = 0.0
        self._next: tuple[int, int] | None = None

    def take(self, channel: str, payload: bytes) -> None:
        """Take one message, in the subscriber's thread."""
        block = decode_samples(SamplesMessage.from_json(payload))
        if self._next is not None and block.config_epoch == self._next[0]:
            self.lost += block.first_sample - self._next[1]
        self._next = (block.config_epoch, block.first_sample + len(block.iq))
        self.received += len(block.iq)
        self.newest = block.timestamp + len(block.iq) / block.sample_rate_hz


def listen(port: int) -> int:
    """Be the listener: a line on standard input asks for the figures, its end ends the process."""
    sys.setswitchinterval(1e-4)
    listener = _Listener()
    with Subscriber(RedisSettings(port=port), [keys.samples(RECEIVER_ID)], listener.take) as subscriber:
        wait_until(lambda: subscriber.subscription_count > 0, 20.0)
        print("ready", flush=True)
        for _ in sys.stdin:
            alive = threading.active_count() > 1 and subscriber.subscription_count == 1
            lag_s = time.time() - listener.newest if alive else float(1 << 20)
            heard = {"received": listener.received, "lost": listener.lost, "lag_s": lag_s}
            print(orjson.dumps(heard).decode(), flush=True)
    return 0


def stdlib(arguments: list[str]) -> int:
    """Be the peer: the SDR service with the standard library's zlib at level 1, whatever it costs."""
    import zlib

    from app_core.bridge import sample_codec
    from app_core.radio.encoding_level import COMPRESSED, LevelChooser
    from services.sdr_service import main

    sample_codec.isal_zlib = zlib  # type: ignore[attr-defined]
    LevelChooser.next_level = lambda self, fill_share: COMPRESSED  # type: ignore[method-assign]
    return main(arguments)


if __name__ == "__main__":
    sys.exit(listen(int(sys.argv[2])) if sys.argv[1] == "listen" else stdlib(sys.argv[2:]))
