"""multimon-ng, the peer: headers that it prints for a piece of sound.

It takes 16-bit samples at 22,050 Hz; other rates are resampled for it. It prints what each burst says. A text counts
from ``ZCZC`` to its last dash, so that what stands behind a complete header is not held against it.
"""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction

import numpy as np
from scipy import signal

from benchmarks.campaigns.transmissions import RATE_HZ, Pcm, Trial

PROGRAM = "multimon-ng"
INSTALL = "sudo apt-get install multimon-ng"
ARGUMENTS = (PROGRAM, "-q", "-a", "EAS", "-t", "raw", "-")
"""It decodes SAME from its standard input."""


def has_multimon() -> bool:
    """Whether it is installed."""
    return shutil.which(PROGRAM) is not None


def as_raw(pcm: Pcm, sample_rate_hz: int) -> bytes:
    """Give sound as it takes it."""
    if sample_rate_hz != RATE_HZ:
        ratio = Fraction(RATE_HZ, sample_rate_hz)
        pcm = np.asarray(signal.resample_poly(pcm, ratio.numerator, ratio.denominator), np.float32)
    raw: bytes = np.clip(np.rint(pcm * 32768.0), -32768, 32767).astype("<i2").tobytes()
    return raw


def printed_headers(trial: Trial) -> list[str]:
    """Give the headers that it prints for a trial, each once.

    Raises
    ------
    RuntimeError
        If it is missing, or fails.
    """
    try:
        done = subprocess.run(ARGUMENTS, input=as_raw(trial.pcm, trial.sample_rate_hz), capture_output=True, check=True)
    except FileNotFoundError as error:
        raise RuntimeError(f"{PROGRAM} is missing; type: {INSTALL}") from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{PROGRAM} ended with exit code {error.returncode}") from error
    texts = []
    for line in done.stdout.decode("latin-1").splitlines():
        at = line.find("ZCZC")
        if at >= 0:
            texts.append(line[at : line.rfind("-") + 1])
    return list(dict.fromkeys(texts))
