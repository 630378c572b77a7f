"""``herald decode``: audio decoded per CPU second, and start-up, against multimon-ng on the same audio."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from app_core.eas.encoder import encode_transmission
from app_core.synth.speech import imitate_speech
from benchmarks.report import Figure, ceiling, floor

CAVEATS = (
    "CPU seconds are user and system time of the whole process, start-up included, numba's cache warm.",
    "600 s at 22050 Hz: one alert a minute with imitated speech between, white noise 30 dB under full scale.",
    "multimon-ng prints every burst on its own; its headers are compared after doubles are dropped.",
)

RATE_HZ = 22050
DURATION_S = 600
SHORT_S = 8
_INTERVAL_S = 60
_LEAST_SPEED = 200.0
_MOST_START_UP_S = 1.5
_RUNS = 3
_PEER = "multimon-ng"
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


def run() -> Iterator[Figure]:
    """Measure speed on a long recording, and start-up on a short one."""
    herald = [sys.executable, "-m", "services.cli", "decode", "--raw"]
    multimon = shutil.which(_PEER)
    peer_argv = [multimon or _PEER, "-q", "-a", "EAS", "-t", "raw", "-"]
    with tempfile.TemporaryDirectory() as folder:
        long_wav, short_wav = Path(folder, "long.wav"), Path(folder, "short.wav")
        sent = make_audio(long_wav, DURATION_S)
        make_audio(short_wav, SHORT_S)
        measure([*herald, str(short_wav)], None)  # fills the caches
        ours = best([*herald, str(long_wav)])
        if list(ours.headers) != sent:
            raise RuntimeError(f"herald decoded {ours.headers}, not {sent}")
        ours_short = min(measure([*herald, str(short_wav)], None).wall_s for _ in range(_RUNS))
        peer_speed = peer_start_up_s = None
        if multimon is not None:
            long_raw, short_raw = _raw(long_wav), _raw(short_wav)
            peer = best(peer_argv, long_raw)
            if list(peer.headers) != sent:
                raise RuntimeError(f"{_PEER} decoded {peer.headers}, not {sent}: the two did not do the same work")
            peer_speed = DURATION_S / peer.cpu_s
            peer_start_up_s = min(measure(peer_argv, short_raw).wall_s for _ in range(_RUNS))
        yield floor("audio seconds per CPU second", DURATION_S / ours.cpu_s, _LEAST_SPEED, peer_speed)
        yield ceiling(f"start-up and {SHORT_S} s of audio, wall seconds", ours_short, _MOST_START_UP_S, peer_start_up_s)


def _raw(wav: Path) -> Path:
    """Write a WAV's samples beside it as raw s16le."""
    samples, _ = soundfile.read(wav, dtype="int16")
    path = wav.with_suffix(".raw")
    samples.astype("<i2").tofile(path)
    return path
