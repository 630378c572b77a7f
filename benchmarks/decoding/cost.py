"""What decoding costs: ``python -m benchmarks.decoding.cost FILE`` decodes raw 16-bit samples, and says so in JSON.

It is a process of its own, on one core, so that its processor time and its peak of memory are the decoder's. The peak
is `VmHWM` of Linux: what the process has ever had resident. It is read when the libraries are imported, when everything
is loaded and compiled, and at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 2205
_WARM_UP_S = 5.0
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Cost:
    """What decoding a file took.

    Attributes
    ----------
    audio_s, cpu_s
        Length of the sound, and processor time of its decoding, start-up not included.
    libraries_mib, loaded_mib, peak_mib
        Most memory that was resident up to: libraries imported; everything loaded and compiled; the end. [MiB]
    headers
        Headers that were given.
    """

    audio_s: float
    cpu_s: float
    libraries_mib: float
    loaded_mib: float
    peak_mib: float
    headers: int

    @property
    def speed(self) -> float:
        """Seconds of sound per second of processor time."""
        return self.audio_s / self.cpu_s


def peak_mib() -> float:
    """Most memory that this process ever had resident. [MiB]"""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024.0
    raise RuntimeError("this system has no VmHWM")


def decode(path: Path, sample_rate_hz: float) -> Cost:
    """Decode a file of raw 16-bit samples in blocks of 0.1 s (at 22,050 Hz), in this process."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import numba  # noqa: F401 - what it takes is not the decoder's
    import numpy as np
    import scipy.signal  # noqa: F401

    libraries_mib = peak_mib()
    from app_core.eas.encoder import encode_transmission
    from app_core.eas.events import HeaderDecoded
    from app_core.eas.listener import SameListener

    warm = SameListener(sample_rate_hz)
    sound = encode_transmission("ZCZC-WXR-RWT-029095+0015-1231200-KEAX/NWS-", int(sample_rate_hz)).pcm
    for first in range(0, len(sound), _BLOCK):
        warm.push(sound[first : first + _BLOCK])
    warm.push(np.zeros(int(_WARM_UP_S * sample_rate_hz), np.float32))
    warm.finish()
    loaded_mib = peak_mib()

    listener = SameListener(sample_rate_hz)
    n_samples = headers = 0
    cpu_s = 0.0
    with path.open("rb") as file:
        while raw := file.read(2 * _BLOCK):
            pcm = np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(32768.0)
            n_samples += len(pcm)
            began = time.process_time()
            headers += sum(isinstance(event, HeaderDecoded) for event in listener.push(pcm))
            cpu_s += time.process_time() - began
    headers += sum(isinstance(event, HeaderDecoded) for event in listener.finish())
    return Cost(n_samples / sample_rate_hz, cpu_s, libraries_mib, loaded_mib, peak_mib(), headers)


def measure(path: Path, sample_rate_hz: float) -> Cost:
    """Decode a file in a process of its own.

    Raises
    ------
    RuntimeError
        If that process fails; its last words are in the message.
    """
    argv = [sys.executable, "-m", "benchmarks.decoding.cost", str(path), str(sample_rate_hz)]
    child = subprocess.run(argv, capture_output=True, check=False, cwd=_ROOT, text=True)
    if child.returncode != 0:
        raise RuntimeError(f"decoding ended with exit code {child.returncode}: {child.stderr.strip()[-600:]}")
    return Cost(**json.loads(child.stdout))


if __name__ == "__main__":
    cost = decode(Path(sys.argv[1]), float(sys.argv[2]))
    print(json.dumps({name: getattr(cost, name) for name in Cost.__slots__}))
