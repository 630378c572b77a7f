"""Audio decoded per CPU second, memory, and start-up of ``herald decode``, against multimon-ng on the same audio.

The decoder itself is measured in a process of its own on one core, fed with blocks of 0.1 s as a station feeds it: on
sound without any header, on sound that is half bursts, and on preambles with garbage behind them, its worst case.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from app_core.eas.encoder import encode_transmission
from app_core.eas.waveform import BAUD, PREAMBLE, afsk
from app_core.synth.speech import imitate_speech
from benchmarks.campaigns.impairments import white_noise
from benchmarks.campaigns.quiet_sounds import garbage, music, noise, talk
from benchmarks.campaigns.transmissions import RATE_HZ, Pcm, message, random_header
from benchmarks.decoding.cost import measure as cost_of
from benchmarks.decoding.multimon import ARGUMENTS, as_raw
from benchmarks.decoding.multimon import PROGRAM as _PEER
from benchmarks.report import Figure, ceiling, floor

CAVEATS = (
    "the decoder: processor time of its calls alone, on one core, everything compiled; multimon-ng: its whole process.",
    "memory: most that was ever resident (VmHWM), less that of Python with numpy, SciPy and numba imported; the most of"
    " it is what numba loads with its first kernel.",
    "herald decode: user and system time of the whole process, start-up included, numba's cache warm; 600 s at 22050"
    " Hz: one alert a minute with imitated speech between, white noise 30 dB under full scale.",
    "multimon-ng prints every burst on its own; its headers are compared after doubles are dropped.",
)

DURATION_S = 600
SHORT_S = 8
QUIET_S = 1800
SHORT_QUIET_S = 60
BURSTS_S = 240
GARBAGE_S = 120
_LEAST_QUIET = 1500.0
_LEAST_BURSTS = 250.0
_LEAST_GARBAGE = 150.0
_MOST_MEMORY_MIB = 50.0
_MOST_GROWTH_MIB = 2.0
_MINUTE_S = 60
_INTERVAL_S = 60
_LEAST_SPEED = 200.0
_MOST_START_UP_S = 1.5
_RUNS = 3
_TEXT = "The National Weather Service in Kansas City has issued a tornado warning for the following counties. "


@dataclass(frozen=True, slots=True)
class _Run:
    cpu_s: float
    wall_s: float
    headers: tuple[str, ...]


def headers() -> list[str]:
    """Headers of the test audio, all different, of one to ten locations."""
    events = ("TOR", "SVR", "FFW", "RWT", "TOA", "SVA", "FLW", "WSW", "HWW", "RMT")
    return [
        f"ZCZC-WXR-{event}-{'-'.join(f'0290{95 - county:02d}' for county in range(number + 1))}"
        f"+0045-12312{number:02d}-KEAX/NWS-"
        for number, event in enumerate(events)
    ]


def make_audio(path: Path, duration_s: int) -> list[str]:
    """Write a WAV of the first `duration_s` seconds of the test audio, and give its headers."""
    rng = np.random.default_rng(11)
    n_minute = _INTERVAL_S * RATE_HZ
    sent = []
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, subtype="PCM_16") as wav:
        for number, header in enumerate(headers()):
            if number * _INTERVAL_S >= duration_s:
                break
            voice = imitate_speech(_TEXT * 4, f"voice {number}")
            places = np.arange(0.0, len(voice), 8000.0 / RATE_HZ)
            voice = np.interp(places, np.arange(len(voice)), voice).astype(np.float32)[: 25 * RATE_HZ]
            pcm = encode_transmission(header, RATE_HZ, voice_pcm=voice).pcm
            minute = (10 ** (-30 / 20) * rng.standard_normal(n_minute)).astype(np.float32)
            minute[: len(pcm)] += pcm[:n_minute]
            wav.write(minute[: (duration_s - number * _INTERVAL_S) * RATE_HZ])
            sent.append(header)
    return sent


def measure(argv: Sequence[str], stdin: Path | None) -> _Run:
    """Run a decoder once."""
    with tempfile.TemporaryFile() as output:
        source = None if stdin is None else stdin.open("rb")
        started_s = time.perf_counter()
        child = subprocess.Popen(
            list(argv), stdin=source or subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - started_s
        child.returncode = os.waitstatus_to_exitcode(status)
        if source is not None:
            source.close()
        if child.returncode != 0:
            raise RuntimeError(f"{argv[0]} ended with exit code {child.returncode}")
        output.seek(0)
        lines = output.read().decode("ascii", "replace").splitlines()
    found = dict.fromkeys(line[line.index("ZCZC-") :] for line in lines if "ZCZC-" in line)
    return _Run(_cpu_s(usage), wall_s, tuple(found))


def _cpu_s(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def best(argv: Sequence[str], stdin: Path | None = None) -> _Run:
    """Run a decoder a few times, and give the run that was disturbed least."""
    return min((measure(argv, stdin) for _ in range(_RUNS)), key=lambda run: run.cpu_s)


def quiet_minutes(duration_s: int) -> Iterator[Pcm]:
    """Give minutes of noise, speech and music, in turn."""
    kinds = (noise, talk, music)
    for minute in range(duration_s // _MINUTE_S):
        rng = np.random.default_rng((31, minute))
        yield 0.1 * kinds[minute % len(kinds)](rng)


def half_bursts(duration_s: int, lowest_db: float, highest_db: float) -> Iterator[Pcm]:
    """Give messages in noise of any Eb/N0 between two, with pauses that make bursts half of the time."""
    rng = np.random.default_rng(32)
    seconds = 0.0
    while seconds < duration_s:
        header = random_header(rng)
        # Pauses as long as the bursts make half, but none is longer than a second: the rest comes behind the message.
        pause_s = min(1.0, len(PREAMBLE + header.encode("ascii")) * 8 / BAUD)
        aired = message(header, lead_s=0.0, tail_s=0.0, pause_s=pause_s, end=False)
        n_burst = sum(end - start for start, end in aired.bursts)
        lacking = max(0, 2 * n_burst - len(aired.pcm))
        pcm = np.concatenate([aired.pcm, np.zeros(lacking, np.float32)])
        seconds += len(pcm) / RATE_HZ
        yield 0.2 * white_noise(pcm, rng.uniform(lowest_db, highest_db), rng, RATE_HZ)


def garbage_minutes(duration_s: int) -> Iterator[Pcm]:
    """Give minutes of preambles with anything behind them, and of one preamble without an end, in turn."""
    for minute in range(duration_s // _MINUTE_S):
        rng = np.random.default_rng((33, minute))
        endless = afsk(PREAMBLE * math.ceil(_MINUTE_S * BAUD / (8 * len(PREAMBLE))), float(RATE_HZ))
        yield 0.3 * (garbage(rng) if minute % 2 == 0 else white_noise(endless, 15.0, rng, RATE_HZ))


def write_raw(path: Path, pieces: Iterable[Pcm]) -> float:
    """Write raw 16-bit samples, and give how long they last. [seconds]"""
    n_samples = 0
    with path.open("wb") as file:
        for pcm in pieces:
            file.write(as_raw(pcm, RATE_HZ))
            n_samples += len(pcm)
    return n_samples / RATE_HZ


def _decoder(folder: Path) -> Iterator[Figure]:
    """Speed and memory of the decoder itself."""
    kinds: tuple[tuple[str, Iterable[Pcm], float | None], ...] = (
        ("nothing on the air", quiet_minutes(QUIET_S), _LEAST_QUIET),
        ("half bursts, 7 to 24 dB", half_bursts(BURSTS_S, 7.0, 24.0), _LEAST_BURSTS),
        ("half bursts, 7 dB: the cliff", half_bursts(BURSTS_S, 7.0, 7.0), None),
        ("preambles with garbage", garbage_minutes(GARBAGE_S), _LEAST_GARBAGE),
    )
    most_mib = 0.0
    peaks_mib: list[float] = []
    for name, pieces, least in kinds:
        path = folder / "sound.raw"
        audio_s = write_raw(path, pieces)
        cost = max((cost_of(path, RATE_HZ) for _ in range(_RUNS)), key=lambda each: each.speed)
        peer = None if shutil.which(_PEER) is None else audio_s / best(ARGUMENTS, path).cpu_s
        most_mib = max(most_mib, cost.peak_mib - cost.libraries_mib)
        peaks_mib.append(cost.peak_mib)
        name = f"decoder, audio s per CPU s, {name}"
        ratio = None if peer is None else cost.speed / peer
        yield (
            Figure(name, cost.speed, peer, ratio, "-", True) if least is None else floor(name, cost.speed, least, peer)
        )
    write_raw(path, quiet_minutes(SHORT_QUIET_S))
    yield ceiling("memory above the libraries [MiB]", most_mib, _MOST_MEMORY_MIB)
    growth_mib = peaks_mib[0] - cost_of(path, RATE_HZ).peak_mib
    yield ceiling(f"more of it for {QUIET_S} s than for {SHORT_QUIET_S} s [MiB]", growth_mib, _MOST_GROWTH_MIB)


def run() -> Iterator[Figure]:
    """Measure the decoder, then the program: speed on a long recording, and start-up on a short one."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _decoder(Path(folder))
        yield from _program(Path(folder))


def _program(folder: Path) -> Iterator[Figure]:
    herald = [sys.executable, "-m", "services.cli", "decode", "--raw"]
    has_peer = shutil.which(_PEER) is not None
    long_wav, short_wav = folder / "long.wav", folder / "short.wav"
    sent = make_audio(long_wav, DURATION_S)
    make_audio(short_wav, SHORT_S)
    measure([*herald, str(short_wav)], None)  # fills the caches
    ours = best([*herald, str(long_wav)])
    if list(ours.headers) != sent:
        raise RuntimeError(f"herald decoded {ours.headers}, not {sent}")
    ours_short = min(measure([*herald, str(short_wav)], None).wall_s for _ in range(_RUNS))
    peer_speed = peer_start_up_s = None
    if has_peer:
        long_raw, short_raw = _raw(long_wav), _raw(short_wav)
        peer = best(ARGUMENTS, long_raw)
        if list(peer.headers) != sent:
            raise RuntimeError(f"{_PEER} decoded {peer.headers}, not {sent}: the two did not do the same work")
        peer_speed = DURATION_S / peer.cpu_s
        peer_start_up_s = min(measure(ARGUMENTS, short_raw).wall_s for _ in range(_RUNS))
    yield floor("herald decode, audio s per CPU s", DURATION_S / ours.cpu_s, _LEAST_SPEED, peer_speed)
    start_up = f"herald decode, start-up and {SHORT_S} s, wall [s]"
    yield ceiling(start_up, ours_short, _MOST_START_UP_S, peer_start_up_s)


def _raw(wav: Path) -> Path:
    """Write a WAV's samples beside it as raw s16le."""
    samples, _ = soundfile.read(wav, dtype="int16")
    path = wav.with_suffix(".raw")
    samples.astype("<i2").tofile(path)
    return path
