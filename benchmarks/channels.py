"""Channels out of one capture, IQ to 16-bit audio, against GNU Radio on the same core.

Ours is `ChannelBank`, fed with blocks of 125,000 samples of an array that is read over and over, and the conversion to
16-bit samples. The peers are receivers of GNU Radio's blocks (``benchmarks/peers/gnuradio_channels.py``), each with
GNU Radio's own choice of buffers and with room for 262,144 samples behind the source; the best of them counts.

All filters, ours and the peers', are the same: channel pass band to 8 kHz, stop band from 12 kHz (the neighbour at
25 kHz begins at 17), audio pass band to 5 kHz, stop band from 6.75 kHz, 85 dB. ``quality`` measures their rejection.

``python -m benchmarks.channels`` draws the cost against the number of channels and the rate into
``docs/images/channels.png``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from app_core.base.blocks import IqBlock
from app_core.base.errors import ConfigError
from app_core.demod.channel import ChannelBank, ChannelConfig
from app_core.demod.demodulator import Mode
from app_core.dsp.pcm16 import to_int16
from benchmarks.peers import ask, has_gnuradio
from benchmarks.report import Figure, at_least

CAVEATS = (
    "processor time (user and system) of the whole process while samples flow; planning and starting are outside",
    "everything runs on one core; the clock on the wall and other work on the machine do not count, their caches do",
    "channels lie on a raster of 25 kHz spread over the capture; GNU Radio's channeliser needs a raster, ours does not",
    "GNU Radio's source copies its samples, and that is in its figure: the row 'source alone' says how much it is",
    "with filters of 70 dB from 17 kHz on, GNU Radio's figures are the same within 10 %: it is not the taps",
    "memcpy copies the same array, 8 MB, into another",
)

RATE_HZ = 2_400_000
AUDIO_RATE_HZ = 48_000
RASTER_HZ = 25_000
N_SAMPLES = 1_000_000
BLOCK_SAMPLES = 125_000
TARGETS = {1: 1.8, 7: 6.0, 32: 7.0}
"""Least ratio to GNU Radio's best, by the number of channels."""

COUNTS = (1, 2, 4, 8, 16, 32, 64)
RATES_HZ = (250_000, 1_000_000, 2_400_000, 5_000_000, 10_000_000, 20_000_000)
FILTERS = {
    "passband_hz": 8_000.0,
    "stopband_hz": 12_000.0,
    "audio_passband_hz": 5_000.0,
    "audio_stopband_hz": 6_750.0,
    "attenuation_db": 85.0,
    "deviation_hz": 5_000.0,
    "deemphasis_hz": 300.0,
}
APPROACHES = ("fir", "fft", "pfb")
PLOT = Path(__file__).resolve().parents[1] / "docs" / "images" / "channels.png"

_CENTER_HZ = 162_500_000.0
_PEER_BUFFERS = (0, 262_144)
_WINDOW_S = 0.7
_WINDOWS = 2
_SEED = 4


@dataclass(frozen=True, slots=True)
class PeerCost:
    """What a receiver of GNU Radio's blocks took.

    Attributes
    ----------
    approach
        As in ``gnuradio_channels``.
    buffer
        Room behind the source; 0 where GNU Radio chose it. [samples]
    cost_ns
        Processor time. [ns per input sample]
    """

    approach: str
    buffer: int
    cost_ns: float


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this process and those that it starts on one core."""
    before = os.sched_getaffinity(0)
    _pin({max(before)})
    try:
        yield
    finally:
        _pin(before)


def _pin(cores: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)


def offsets_hz(n_channels: int, rate_hz: int) -> list[float]:
    """Centres of channels spread over the capture, on the raster and none at 0 Hz."""
    spacing_hz = max(int(0.9 * rate_hz / n_channels) // RASTER_HZ, 1) * RASTER_HZ
    return [float((i - n_channels // 2) * spacing_hz + RASTER_HZ) for i in range(n_channels)]


def make_band(mode: Mode, offsets: Sequence[float], rate_hz: int) -> NDArray[np.complex64]:
    """Carriers at `offsets`, each modulated by a tone of its own as `mode` has it, and noise 60 dB below full scale.

    Returns
    -------
    iq
        Shape (N_SAMPLES,), complex64, within full scale.
    """
    rng = np.random.default_rng(_SEED)
    iq = (1e-3 * rng.standard_normal(2 * N_SAMPLES, dtype=np.float32)).view(np.complex64)
    time_s = np.arange(N_SAMPLES) / rate_hz
    for number, offset_hz in enumerate(offsets):
        tone_hz = 400.0 + 40.0 * number
        tone = np.sin(2.0 * np.pi * tone_hz * time_s).astype(np.float32)
        turns = (offset_hz * time_s) % 1.0
        if mode == "wfm":
            pilot = 2.0 * np.pi * 19_000.0 * time_s
            multiplex = 0.45 * tone + 0.45 * tone * np.sin(2.0 * pilot) + 0.1 * np.sin(pilot)
            turns += np.cumsum(75_000.0 / rate_hz * multiplex)
        elif mode == "nfm":
            turns -= 3_000.0 / tone_hz / (2.0 * np.pi) * np.cos(2.0 * np.pi * tone_hz * time_s)
        elif mode in ("usb", "lsb"):
            turns += tone_hz * time_s * (1.0 if mode == "usb" else -1.0)
        envelope = 1.0 + 0.8 * tone if mode in ("am", "sam") else np.float32(1.0)
        iq += (0.4 / len(offsets)) * envelope * np.exp(2j * np.pi * turns).astype(np.complex64)
    return iq


def our_cost_ns(mode: Mode, n_channels: int, rate_hz: int = RATE_HZ) -> float:
    """Processor time of `ChannelBank` and of the conversion to 16 bits, the better of two windows. [ns per sample]"""
    offsets = offsets_hz(n_channels, rate_hz)
    iq = make_band(mode, offsets, rate_hz)
    bank = ChannelBank([_config(mode, offset_hz) for offset_hz in offsets])
    blocks = iq.reshape(-1, BLOCK_SAMPLES)
    first_sample = 0

    def push_all() -> None:
        nonlocal first_sample
        for block in blocks:
            iq_block = IqBlock(block, float(rate_hz), _CENTER_HZ, first_sample, first_sample / rate_hz, 1)
            for _, audio in bank.push(iq_block):
                to_int16(audio.pcm)
            first_sample += BLOCK_SAMPLES

    push_all()
    if bank.out_of_band:
        raise RuntimeError(f"channels {bank.out_of_band} are not in the capture, so the work is not the one asked for")
    return min(_cost_ns(push_all) for _ in range(_WINDOWS))


def _config(mode: Mode, offset_hz: float) -> ChannelConfig:
    settings = {"frequency_hz": _CENTER_HZ + offset_hz, "mode": mode, "audio_rate_hz": AUDIO_RATE_HZ}
    if mode == "wfm":
        settings["stereo"] = True
    return ChannelConfig.model_validate({"id": f"{offset_hz:.0f}", "receiver_id": "bench", **settings})


def _cost_ns(push_all: Callable[[], None]) -> float:
    begun_s = time.process_time()
    n_samples = 0
    while (spent_s := time.process_time() - begun_s) < _WINDOW_S:
        push_all()
        n_samples += N_SAMPLES
    return 1e9 * spent_s / n_samples


def peer_costs(offsets: list[float], approaches: Sequence[str]) -> list[PeerCost]:
    """Measure GNU Radio's receivers for channels at `offsets`, and say on standard error what they took."""
    with tempfile.TemporaryDirectory(prefix="herald-bench-") as folder:
        path = Path(folder, "band.npy")
        np.save(path, make_band(Mode.NFM, offsets, RATE_HZ))
        runs = [
            {"approach": approach, "offsets_hz": offsets, "buffer": buffer}
            for approach in approaches
            for buffer in _PEER_BUFFERS
        ]
        request = {"iq": str(path), "filters": FILTERS, "window_s": _WINDOW_S, "runs": runs}
        about, *answers = ask("gnuradio_channels", request)
    program = f"GNU Radio {about['version']} {'with' if about['is_volk_profiled'] else 'without'} a VOLK profile"
    costs = [PeerCost(each["approach"], each["buffer"], each["cost_ns"]) for each in answers]
    for cost in costs:
        run = f"{_channels(len(offsets))}, {cost.approach}, {'large' if cost.buffer else 'default'} buffers"
        print(f"{program}, {run}: {1e3 / cost.cost_ns:.1f} MS/s", file=sys.stderr)
    return costs


def memcpy_rate() -> float:
    """Copy the resident array. [MS/s of complex64]"""
    iq = np.ones(N_SAMPLES, np.complex64)
    copy = np.empty_like(iq)
    costs = []
    for _ in range(7):
        begun_s = time.process_time()
        for _ in range(20):
            np.copyto(copy, iq)
        costs.append((time.process_time() - begun_s) / (20 * N_SAMPLES))
    return 1e-6 / min(costs)


def _channels(n_channels: int) -> str:
    return "1 channel" if n_channels == 1 else f"{n_channels} channels"


def _beside(name: str, ours: float, peer: float | None = None) -> Figure:
    """A figure without a target."""
    return Figure(name, ours, peer, None if peer is None else ours / peer, "-", True)


def _against_peer(n_channels: int, target: float, has_peer: bool) -> Iterator[Figure]:
    title = f"NFM, {_channels(n_channels)}"
    # Before and after the peer, so that a machine that changes its speed meanwhile favours nobody.
    cost_ns = our_cost_ns(Mode.NFM, n_channels)
    if not has_peer:
        yield Figure(f"{title} [MS/s]", 1e3 / cost_ns, None, None, f">= {target:g}x", False)
        return
    costs = peer_costs(offsets_hz(n_channels, RATE_HZ), APPROACHES)
    ours = 1e3 / min(cost_ns, our_cost_ns(Mode.NFM, n_channels))
    best = min(costs, key=lambda cost: cost.cost_ns)
    yield at_least(f"{title} [MS/s], peer {best.approach}", ours, 1e3 / best.cost_ns, target)
    default = min((cost for cost in costs if cost.buffer == 0), key=lambda cost: cost.cost_ns)
    yield _beside(f"{title}, peer {default.approach} with default buffers", ours, 1e3 / default.cost_ns)
    for approach in APPROACHES:
        if approach != best.approach:
            least = min(cost.cost_ns for cost in costs if cost.approach == approach)
            yield _beside(f"{title}, peer {approach}", ours, 1e3 / least)


def _beside_peer() -> Iterator[Figure]:
    """Neighbouring channels, where GNU Radio may cut out a slice first, and GNU Radio's source alone."""
    neighbours = [100_000.0 + RASTER_HZ * (number - 3) for number in range(7)]
    costs = peer_costs(neighbours, ("slice", "source"))
    ours = 1e3 / our_cost_ns(Mode.NFM, 7)
    for approach, name in (("slice", "NFM, 7 neighbours [MS/s], peer slice"), ("source", "NFM, 7, peer source alone")):
        least = min(cost.cost_ns for cost in costs if cost.approach == approach)
        yield _beside(name, ours, 1e3 / least)


def _modes() -> Iterator[Figure]:
    """What a channel of each mode takes, alone and beside others."""
    for mode in Mode:
        try:
            alone = our_cost_ns(mode, 1) * 1e-9 * RATE_HZ
        except (ConfigError, ValidationError, ValueError) as error:
            print(f"{mode}: not measured: {error}", file=sys.stderr)
            continue
        more = (our_cost_ns(mode, 8) * 1e-9 * RATE_HZ - alone) / 7.0
        yield _beside(f"{mode}, one channel at 2.4 MS/s [% of a core]", 100.0 * alone)
        yield _beside(f"{mode}, each channel more [% of a core]", 100.0 * more)


def run() -> Iterator[Figure]:
    """Measure ours and the peers, then ours against number and rate, then the modes."""
    has_peer = has_gnuradio()
    with one_core():
        memcpy = memcpy_rate()
        for n_channels, target in TARGETS.items():
            for figure in _against_peer(n_channels, target, has_peer):
                yield figure
                if figure.target != "-":
                    share = f"NFM, {_channels(n_channels)} [MS/s], peer memcpy"
                    yield _beside(share, figure.ours, memcpy)
        if has_peer:
            yield from _beside_peer()
        for n_channels in COUNTS:
            cost = our_cost_ns(Mode.NFM, n_channels)
            yield _beside(f"NFM, {_channels(n_channels)} at 2.4 MS/s [ns per sample]", cost)
        for rate_hz in RATES_HZ:
            percent = 100.0 * our_cost_ns(Mode.NFM, 7, rate_hz) * 1e-9 * rate_hz
            yield _beside(f"NFM, 7 channels at {rate_hz / 1e6:g} MS/s [% of a core]", percent)
        yield from _modes()


def draw(path: Path) -> None:
    """Measure, and draw cost against the number of channels and against the rate into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet

    with one_core():
        by_count = [our_cost_ns(Mode.NFM, n_channels) for n_channels in COUNTS]
        by_rate = [100.0 * our_cost_ns(Mode.NFM, 7, rate_hz) * 1e-9 * rate_hz for rate_hz in RATES_HZ]
        peers = {n: peer_costs(offsets_hz(n, RATE_HZ), APPROACHES) for n in TARGETS} if has_gnuradio() else {}
    sheet = Sheet(figsize=(11.0, 4.6), layout="constrained")
    FigureCanvasAgg(sheet)
    left, right = sheet.subplots(1, 2)
    left.plot(COUNTS, by_count, "o-", linewidth=2.5, label="Herald")
    for approach, marker in zip(APPROACHES, "sd^", strict=True):
        costs = [min(cost.cost_ns for cost in peers[n] if cost.approach == approach) for n in peers]
        if costs:
            left.plot(list(peers), costs, marker + ":", label=f"GNU Radio, {approach}")
    left.set(title="NFM to 48 kHz audio at 2.4 MS/s", xlabel="channels", ylabel="processor time, ns per sample")
    left.set(xscale="log", yscale="log", xticks=COUNTS, xticklabels=[str(n) for n in COUNTS])
    left.legend()
    rates = [rate_hz / 1e6 for rate_hz in RATES_HZ]
    right.plot(rates, by_rate, "o-", linewidth=2.5)
    right.set(title="Seven channels", xlabel="rate of the capture, MS/s", ylabel="share of one core, %")
    right.set(xscale="log", yscale="log", xticks=rates, xticklabels=[f"{rate:g}" for rate in rates])
    for axes in (left, right):
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    sheet.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(PLOT)
