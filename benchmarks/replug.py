"""A device unplugged twenty times while it is read: time from its return to the first sample.

The whole of the receiver is at work: thread, ring, SoapySDR's enumeration, opening, settings, stream. The device is the
driver of the tests, at 2.4 MS/s in real time. It is away from 1 s to 9 s, so that the growing waits between attempts
are in the figure, and after every return it is read for half a second.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app_core.radio.reader import Reader
from app_core.radio.receiver import SoapySettings
from app_core.radio.soapy_receiver import SoapyReceiver
from benchmarks.report import Figure, ceiling
from tests.support.soapy_module import IqFileDevices

UNPLUGS = 20
RUNS_S = 0.5
SERIAL = "REPLUG01"

CAVEATS = (
    "a driver in C++ stands for the hardware: the time that a USB bus and a kernel take to find a device is not in it",
    "one receiver, nothing published",
    "every third unplugging is seen as silence and not as an error, as with drivers that time out for ever",
)


def _away_s(number: int) -> float:
    """Time for which the device is away, the same at every run: 1 s to 9 s in steps of 0.4 s, mixed."""
    return 1.0 + 0.4 * (number * 7 % UNPLUGS)


def _wait_for_samples(reader: Reader, after_s: float, timeout_s: float = 60.0) -> float:
    """Give the time from `after_s`, of the monotonic clock, to the first samples after it. [seconds]"""
    while (last_s := reader.last_sample_s) is None or last_s <= after_s or reader.tuning is None:
        if time.monotonic() - after_s > timeout_s:
            raise TimeoutError(f"no sample within {timeout_s:.0f} s: {reader.last_error}")
        time.sleep(0.002)
    return last_s - after_s


def _take_everything(reader: Reader) -> None:
    if reader.ring is not None:
        reader.ring.release(reader.ring.readable)


def run() -> Iterator[Figure]:
    """Unplug and plug in again."""
    with tempfile.TemporaryDirectory() as name:
        devices = IqFileDevices(Path(name))
        os.environ.update(devices.environment())
        devices.plug_in(SERIAL, model="rtl")
        table = {
            "id": "rx",
            "driver": "soapy",
            "args": "driver=iqfile",
            "serial": SERIAL,
            "sample_rate_hz": 2.4e6,
        }
        settings = SoapySettings.model_validate(table)
        times_s = []
        with Reader(settings, SoapyReceiver(settings, lock_folder=Path(name))) as reader:
            _wait_for_samples(reader, time.monotonic())
            for number in range(UNPLUGS):
                until_s = time.monotonic() + RUNS_S
                while time.monotonic() < until_s:
                    _take_everything(reader)
                    time.sleep(0.05)
                devices.unplug(SERIAL, gone="timeout" if number % 3 == 2 else "error")
                time.sleep(_away_s(number))
                returned_s = time.monotonic()
                devices.plug_in(SERIAL)
                times_s.append(_wait_for_samples(reader, returned_s))
                _take_everything(reader)
    yield ceiling(f"return to first sample, median of {UNPLUGS} [s]", statistics.median(times_s), 5.0)
    yield ceiling(f"return to first sample, maximum of {UNPLUGS} [s]", max(times_s), 10.0)
