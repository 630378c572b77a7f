"""A receiver for any device that SoapySDR has a driver for.

Samples come as CF32 by default: each driver converts them straight into the ring's memory, which costs no more than the
cheapest conversion of our own (both about 0.6 % of a 2.5 GHz core at 10 MS/s). CS16 and CU8 are converted here, by the
exact rules of `app_core.base.iq_file`: then a capture holds the converter's own numbers. The binding cannot tell a
driver's full scale, so CS16 is taken to fill 16 bits; a device that gives 12 bits in 16 wants CF32.

An error code of a read is treated by its name: OVERFLOW, TIMEOUT, TIME_ERROR and UNDERFLOW are counted and reading goes
on; any other ends the stream, and so does silence, since some drivers time out for ever when their device is unplugged.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app_core.base.errors import DeviceError
from app_core.base.iq_file import convert_cu8
from app_core.radio import soapy_setup as setup
from app_core.radio.device_lock import DeviceLock, holder_of
from app_core.radio.receiver import Reading, Receiver, SoapySettings, Tuning, parse_device_args, read_size
from app_core.radio.sample_gap import GapFinder
from app_core.radio.soapy import (
    CHANNEL,
    HARMLESS,
    HAS_TIME,
    RX,
    StreamCode,
    code_name,
    describe,
    enumerate_devices,
    lock_name,
    open_device,
)
from app_core.radio.soapy_limits import DeviceLimits, buffer_arguments

log = logging.getLogger(__name__)

SILENT_AFTER_S = 2.0
"""A device that gave samples and gives none for so long is gone. [seconds]"""

FIRST_SAMPLES_S = 4.0
"""Longest wait for the first samples after the opening. [seconds]"""

_FLUSH_S = 0.1
"""Longest time for which samples from before a retuning are thrown away. [seconds]"""

_BYTES_PER_SAMPLE = 8


def same_serial(one: str, other: str) -> bool:
    """Whether two ways to write a serial number mean one device: some drivers put 0x in front, some do not."""
    return one.lower().removeprefix("0x") == other.lower().removeprefix("0x")


class SoapyReceiver:
    """Receive from a SoapySDR device. All calls come from the thread that reads.

    Parameters
    ----------
    settings
        Which device, and how it is set.
    silent_after_s
        Silence after which it is taken for gone. [seconds]
    lock_folder
        Where the lock file of the device is; None for the machine's folder.

    Attributes
    ----------
    counts
        How often a read gave each of SoapySDR's error codes, by name.
    limits
        What the device can do; None before it was ever opened.
    """

    waits = False

    def __init__(
        self, settings: SoapySettings, *, silent_after_s: float = SILENT_AFTER_S, lock_folder: Path | None = None
    ) -> None:
        self._settings = settings
        self._args = parse_device_args(settings.args)
        if settings.serial is not None:
            self._args["serial"] = settings.serial
        self._silent_after_s = silent_after_s
        self._lock_folder = lock_folder
        # The serial of the device that was open before: another one shall not take its place in silence.
        self._serial = self._args.get("serial", "")
        self._center_frequency_hz = settings.center_frequency_hz
        self._gain_db = settings.gain_db
        self._correction_ppm: float | None = None
        self.counts: Counter[str] = Counter()
        self.limits: DeviceLimits | None = None
        self._lock: DeviceLock | None = None
        self._device: Any = None
        self._stream: Any = None
        self._is_active = False
        self._tuning = Tuning(1.0, 0.0)
        self._format = "CF32"
        self._spare = np.empty(0, dtype=np.complex64)
        self._native: NDArray[Any] = np.empty(0, dtype=np.int16)
        self._gaps = GapFinder(1.0)
        self._overflowed = False
        self._lost = 0
        self._held = slice(0, 0)
        self._failure = ""
        self._heard_s = 0.0
        self._patience_s = 0.0

    @property
    def overflow_count(self) -> int:
        """Overflows that the driver reported."""
        return self.counts["OVERFLOW"]

    # Opening ----------------------------------------------------------------------------------------------------------

    def open(self) -> Tuning:
        """Find the device, lock it, open it, set it and start its stream.

        The first opening takes the first free device that matches; every later one looks for the same serial number,
        and sets the frequency and gain that were last asked for.

        Raises
        ------
        DeviceError
            If it is not there, is in use, or fails.
        ConfigError
            If the binding or the driver is not installed, or the device cannot do what a setting asks for.
        """
        self.close()
        try:
            entry, only_one = self._find_and_lock()
            self._device = open_device(entry, self._args, only_one=only_one)
            limits = describe(entry, self._device)
            rate_hz = setup.apply_settings(self._device, limits, self._settings)
            if self._correction_ppm is not None:
                setup.set_frequency_correction(self._device, limits, self._correction_ppm)
            actual_hz = setup.set_frequency(self._device, limits, self._center_frequency_hz)
            setup.set_gains(self._device, limits, self._gain_db, self._settings.gains_db)
            self._format = setup.choose_format(limits, self._settings.stream_format)
            self._tuning = Tuning(
                rate_hz, actual_hz, setup.iq_format_of(limits, self._format), self._correction_of(limits)
            )
            self._start_stream(limits)
        except RuntimeError as error:
            self.close()
            raise DeviceError(f"{self._args['driver']} {self._serial}: {error}") from error
        except BaseException:
            self.close()
            raise
        self.limits = limits
        self._serial = self._serial or entry.get("serial", "")
        log.info(
            "%s: %.10g S/s, %.10g Hz, %s, gain %s",
            limits.name,
            self._tuning.sample_rate_hz,
            self._tuning.center_frequency_hz,
            self._format,
            self._gain_db if self._gain_db is not None else self._settings.gains_db or "by the device",
        )
        return self._tuning

    def _find_and_lock(self) -> tuple[dict[str, str], bool]:
        """Give the entry of a device that is ours now, and whether it is the only one."""
        driver = self._args["driver"]
        # Serial numbers are compared here: a driver may ignore or refuse the argument.
        found = enumerate_devices({key: value for key, value in self._args.items() if key != "serial"})
        wanted = self._serial
        if wanted:
            matching = [entry for entry in found if same_serial(entry.get("serial", ""), wanted)]
            if not matching and len(found) == 1 and not found[0].get("serial"):
                matching = found
        else:
            matching = found
        if not matching:
            raise DeviceError(self._not_there(driver, wanted, found))
        busy: DeviceError | None = None
        for entry in matching:
            try:
                self._lock = DeviceLock(lock_name(entry), folder=self._lock_folder)
            except DeviceError as error:
                busy = busy or error
            else:
                return entry, len(found) == 1
        raise busy or DeviceError(f"no {driver} device can be locked")

    def _not_there(self, driver: str, wanted: str, found: list[dict[str, str]]) -> str:
        which = f"{driver} device" + (f" with serial {wanted}" if wanted else "")
        if found:
            there = ", ".join(entry.get("serial") or entry.get("label", "?") for entry in found)
            return f"no {which}; there are: {there}"
        # Some drivers do not list what is open elsewhere.
        holder = holder_of(lock_name({"driver": driver, "serial": wanted}), folder=self._lock_folder)
        if holder is not None:
            return f"no {which} is free; it is in use by {holder}"
        return f"no {which} is there; is it plugged in? (herald devices --driver {driver} lists what is)"

    # Stream -----------------------------------------------------------------------------------------------------------

    def _start_stream(self, limits: DeviceLimits) -> None:
        rate_hz = self._tuning.sample_rate_hz
        arguments = buffer_arguments(limits, rate_hz, setup.native_size(limits))
        try:
            self._stream = self._device.setupStream(RX, self._format, [CHANNEL], arguments)
        except RuntimeError as error:
            if not arguments:
                raise
            log.warning("%s refuses the stream arguments %s (%s); it keeps its own", limits.name, arguments, error)
            self._stream = self._device.setupStream(RX, self._format, [CHANNEL])
        n_samples = read_size(rate_hz)
        self._spare = np.empty(n_samples, dtype=np.complex64)
        if self._format != "CF32":
            self._native = np.empty(2 * n_samples, dtype=np.uint8 if self._format == "CU8" else np.int16)
        self._gaps = GapFinder(rate_hz)
        self._overflowed, self._lost, self._held, self._failure = False, 0, slice(0, 0), ""
        self._heard_s, self._patience_s = time.monotonic(), max(FIRST_SAMPLES_S, self._silent_after_s)
        code = self._device.activateStream(self._stream)
        if code < 0:
            raise DeviceError(f"{limits.name}: the stream cannot be started: {code_name(code)}")
        self._is_active = True

    def read_into(self, iq: NDArray[np.complex64], timeout_s: float) -> Reading:
        """Fill `iq` with what comes, up to the next loss, waiting until it is full or `timeout_s` is over.

        Raises
        ------
        DeviceError
            If the stream failed, or was silent for `silent_after_s`.
        """
        if self._stream is None:
            raise DeviceError("the SoapySDR device is not open")
        if self._failure:
            raise DeviceError(self._failure)
        if self._held.stop > self._held.start:
            return self._give_held(iq)
        deadline_s = time.monotonic() + timeout_s
        wanted, filled, lost = min(len(iq), len(self._spare)), 0, 0
        address = iq.__array_interface__["data"][0]
        # A driver gives what it has at once, often less than is asked for.
        while filled < wanted and not self._failure:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0.0:
                break
            n_samples = self._read(iq[filled:wanted], address + filled * _BYTES_PER_SAMPLE, left_s)
            if n_samples and not filled:
                lost, self._lost = self._lost, 0
            elif n_samples and self._lost:
                # A reading has no gap in it: what came after the loss is the next one.
                self._spare[:n_samples] = iq[filled : filled + n_samples]
                self._held = slice(0, n_samples)
                break
            filled += n_samples
        if filled == 0:
            if self._failure:
                raise DeviceError(self._failure)
            return Reading(0, time.time())
        return Reading(filled, time.time() - filled / self._tuning.sample_rate_hz, lost)

    def _read(self, room: NDArray[np.complex64], address: int, timeout_s: float) -> int:
        """Read once into `room`, which begins at `address`; give the samples, and note what was lost before them."""
        n_room = len(room)
        if self._format != "CF32":
            address = self._native.__array_interface__["data"][0]
        try:
            result = self._device.readStream(self._stream, [address], n_room, timeoutUs=max(1000, int(timeout_s * 1e6)))
        except RuntimeError as error:
            self._failure = f"{self._name}: reading failed: {error}"
            return 0
        now_s, n_samples = time.monotonic(), int(result.ret)
        if n_samples <= 0:
            self._note_code(n_samples, now_s)
            return 0
        self._heard_s, self._patience_s = now_s, self._silent_after_s
        if self._format == "CS16":
            scaled = room[:n_samples].view(np.float32)
            np.copyto(scaled, self._native[: 2 * n_samples], casting="unsafe")
            np.multiply(scaled, np.float32(1 / 32768), out=scaled)
        elif self._format == "CU8":
            convert_cu8(self._native[: 2 * n_samples], room[:n_samples].view(np.float32))
        time_ns = result.timeNs if result.flags & HAS_TIME else None
        self._lost += self._gaps.lost_before(n_samples, time_ns, now_s, overflowed=self._overflowed)
        self._overflowed = False
        return n_samples

    def _note_code(self, code: int, now_s: float) -> None:
        if code < 0:
            self.counts[code_name(code)] += 1
        if code == StreamCode.OVERFLOW:
            self._overflowed = True
        if code == StreamCode.TIME_ERROR:
            self._gaps.restart()
        if code < 0 and code not in HARMLESS:
            self._failure = f"{self._name}: the stream failed: {code_name(code)}"
        elif now_s - self._heard_s > self._patience_s:
            self._failure = f"{self._name} has been silent for {now_s - self._heard_s:.1f} s"

    def _give_held(self, iq: NDArray[np.complex64]) -> Reading:
        """Give what came after a loss, when the last reading ended there."""
        begin = self._held.start
        n_samples = min(len(iq), self._held.stop - begin)
        iq[:n_samples] = self._spare[begin : begin + n_samples]
        waiting = self._held.stop - begin
        self._held = slice(begin + n_samples, self._held.stop) if n_samples < waiting else slice(0, 0)
        lost, self._lost = self._lost, 0
        return Reading(n_samples, time.time() - waiting / self._tuning.sample_rate_hz, lost)

    @property
    def _name(self) -> str:
        return f"{self._args['driver']} {self._serial}".strip() if self.limits is None else self.limits.name

    # While it is open -------------------------------------------------------------------------------------------------

    def tune(self, frequency_hz: float) -> Tuning:
        """Change the centre frequency; between two reads, by the thread that reads.

        Samples that the driver had already are thrown away, and count as lost before the next reading: none that it
        gives is of the old frequency, but those on their way from the device. A reopened device gets this frequency.

        Raises
        ------
        ConfigError
            If it is out of the device's range.
        DeviceError
            If the device failed, or is not open.
        """
        limits = self._limits_of_open()
        try:
            actual_hz = setup.set_frequency(self._device, limits, frequency_hz)
        except RuntimeError as error:
            raise DeviceError(f"{limits.name} cannot be tuned to {frequency_hz:.10g} Hz: {error}") from error
        self._center_frequency_hz = frequency_hz
        self._tuning = replace(
            self._tuning, center_frequency_hz=actual_hz, frequency_correction_ppm=self._correction_of(limits)
        )
        self._flush()
        return self._tuning

    def set_gain(self, gain_db: float | Literal["auto"]) -> float | Literal["auto"]:
        """Change the gain; between two reads, by the thread that reads. A reopened device gets this gain.

        Returns
        -------
        taken
            What the device made of it. [dB]

        Raises
        ------
        ConfigError
            If the device has no such gain, or no automatic one.
        DeviceError
            If the device failed, or is not open.
        """
        limits = self._limits_of_open()
        try:
            setup.set_gain(self._device, limits, gain_db)
        except RuntimeError as error:
            raise DeviceError(f"{limits.name}: the gain cannot be set to {gain_db}: {error}") from error
        self._gain_db = gain_db
        return gain_db if gain_db == "auto" else float(self._device.getGain(RX, CHANNEL))

    def tune_as(self, other: Receiver) -> None:
        """Take over what was asked of another one by command, its device's serial, and its counts."""
        if isinstance(other, SoapyReceiver):
            self._center_frequency_hz = other._center_frequency_hz
            self._gain_db = other._gain_db
            self._correction_ppm = other._correction_ppm
            self._serial = other._serial
            self.counts = other.counts

    def set_frequency_correction(self, correction_ppm: float) -> float:
        """Change the correction; between two reads, by the thread that reads. A reopened device gets it, too.

        Raises
        ------
        ConfigError
            If the device has none.
        DeviceError
            If the device failed, or is not open.
        """
        limits = self._limits_of_open()
        try:
            setup.set_frequency_correction(self._device, limits, correction_ppm)
        except RuntimeError as error:
            raise DeviceError(f"{limits.name}: the correction cannot be set to {correction_ppm:g}: {error}") from error
        self._correction_ppm = correction_ppm
        return correction_ppm

    def _correction_of(self, limits: DeviceLimits) -> float | None:
        """Give the correction in force: the last that was asked for, else that of the settings."""
        if not limits.has_frequency_correction:
            return None
        return self._settings.frequency_correction_ppm if self._correction_ppm is None else self._correction_ppm

    def _limits_of_open(self) -> DeviceLimits:
        if self._device is None or self.limits is None:
            raise DeviceError(f"{self._name} is not open")
        return self.limits

    def _flush(self) -> None:
        """Throw away what the driver has, counting it as lost; what it gives without end is bounded by the clock."""
        self._lost += self._held.stop - self._held.start
        self._held = slice(0, 0)
        until_s = time.monotonic() + _FLUSH_S
        target: NDArray[Any] = self._spare if self._format == "CF32" else self._native
        address = target.__array_interface__["data"][0]
        while time.monotonic() < until_s:
            try:
                result = self._device.readStream(self._stream, [address], len(self._spare), timeoutUs=0)
            except RuntimeError as error:
                self._failure = f"{self._name}: reading failed: {error}"
                return
            if result.ret == StreamCode.OVERFLOW:
                self._note_code(result.ret, time.monotonic())
                continue
            if result.ret <= 0:
                return
            time_ns = result.timeNs if result.flags & HAS_TIME else None
            now_s = time.monotonic()
            self._lost += self._gaps.lost_before(result.ret, time_ns, now_s, overflowed=self._overflowed) + result.ret
            self._overflowed = False

    def close(self) -> None:
        """Stop and close the stream, close the device, and let it go; harmless when it is not open."""
        device, stream, was_active = self._device, self._stream, self._is_active
        self._device = self._stream = None
        self._is_active = False
        # A device that is gone may refuse every one of these; the next ones are tried all the same.
        if stream is not None:
            with contextlib.suppress(RuntimeError):
                if was_active:
                    device.deactivateStream(stream)
            with contextlib.suppress(RuntimeError):
                device.closeStream(stream)
        if device is not None:
            with contextlib.suppress(RuntimeError):
                device.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
