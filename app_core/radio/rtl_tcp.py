"""A dongle behind an ``rtl_tcp`` server.

The server greets with 12 bytes (``RTL0``, tuner type, number of gains, big-endian) and then sends interleaved unsigned
8-bit IQ for ever; a command is five bytes, its number and a big-endian argument. The stream carries no counter, so
samples that the server drops cannot be seen here; a connection that is silent is taken for dead after
`SILENT_AFTER_S`.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app_core.base.errors import ConfigError, DeviceError
from app_core.base.iq_file import convert_cu8
from app_core.radio.receiver import Reading, Receiver, RtlTcpSettings, Tuning, read_size

SILENT_AFTER_S = 2.0
"""A connected server that sends nothing this long has hung. [seconds]"""

MAX_DRAINED_BYTES = 8 * 1024 * 1024
"""Most bytes that are thrown away after a retune, so that a fast server cannot keep us at it."""

_GREETING = struct.Struct(">4sII")
_COMMAND = struct.Struct(">BI")
_SET_FREQUENCY, _SET_SAMPLE_RATE, _SET_GAIN_MODE, _SET_GAIN, _SET_PPM, _SET_AGC = 1, 2, 3, 4, 5, 8


class RtlTcpReceiver:
    """Receive from an ``rtl_tcp`` server.

    Parameters
    ----------
    settings
        Address and tuning.
    silent_after_s
        Silence after which the server is taken for dead. [seconds]
    """

    waits = False

    def __init__(self, settings: RtlTcpSettings, *, silent_after_s: float = SILENT_AFTER_S) -> None:
        self._settings = settings
        self._silent_after_s = silent_after_s
        self._socket: socket.socket | None = None
        # 4 reads' worth, filled by the kernel in place: one conversion a read, no allocation.
        self._bytes = np.empty(2 * read_size(settings.sample_rate_hz) * 4, dtype=np.uint8)
        self._filled = 0
        self._drained_samples = 0
        self._heard_s = 0.0
        # Kept over a reopening, so that a server that comes back is tuned as it was.
        self._center_frequency_hz = settings.center_frequency_hz
        self._gain_db = settings.gain_db
        self._correction_ppm = settings.frequency_correction_ppm

    def open(self) -> Tuning:
        """Connect and tune.

        Raises
        ------
        DeviceError
            If nobody listens, or what listens is not an ``rtl_tcp`` server.
        """
        settings = self._settings
        where = f"rtl_tcp server {settings.host}:{settings.port}"
        try:
            self._socket = socket.create_connection((settings.host, settings.port), timeout=self._silent_after_s)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            greeting = self._receive_exactly(_GREETING.size)
            if _GREETING.unpack(greeting)[0] != b"RTL0":
                raise DeviceError(f"{where} does not speak rtl_tcp; is another program on that port?")
            self._command(_SET_SAMPLE_RATE, settings.sample_rate_hz)
            self._command(_SET_PPM, self._correction_ppm & 0xFFFFFFFF)
            self._command(_SET_FREQUENCY, self._center_frequency_hz)
            self._send_gain()
            self._socket.setblocking(False)
        except (OSError, UnicodeError) as error:  # a host's name that no resolver takes is a UnicodeError
            self.close()
            raise DeviceError(f"{where} cannot be reached: {error}") from error
        except DeviceError:
            self.close()
            raise
        self._filled = self._drained_samples = 0
        self._heard_s = time.monotonic()
        return self._tuning()

    def read_into(self, iq: NDArray[np.complex64], timeout_s: float) -> Reading:
        """Fill `iq` with what has come, waiting until it is full or `timeout_s` is over.

        Raises
        ------
        DeviceError
            If the server closed the connection, or was silent for `SILENT_AFTER_S`.
        """
        if self._socket is None:
            raise DeviceError("rtl_tcp receiver is not open")
        wanted = min(2 * len(iq), len(self._bytes) // 2 * 2)
        deadline_s = time.monotonic() + timeout_s
        room = self._bytes.data
        while self._filled < wanted:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([self._socket], [], [], left_s)[0]:
                break
            try:
                received = self._socket.recv_into(room[self._filled : wanted])
            except BlockingIOError:  # select may be wrong; it asks again
                continue
            except OSError as error:
                raise DeviceError(f"the connection to rtl_tcp failed: {error}") from error
            if received == 0:
                raise DeviceError("the rtl_tcp server closed the connection")
            self._filled += received
            self._heard_s = time.monotonic()
        if time.monotonic() - self._heard_s > self._silent_after_s:
            raise DeviceError(f"the rtl_tcp server is connected and has been silent for {self._silent_after_s:.3g} s")
        n_samples = self._filled // 2
        target = iq[:n_samples].view(np.float32)
        convert_cu8(self._bytes[: 2 * n_samples], target)
        odd = self._filled - 2 * n_samples
        if odd:
            self._bytes[0] = self._bytes[2 * n_samples]
        self._filled = odd
        lost_samples, self._drained_samples = self._drained_samples, 0
        timestamp = time.time() - n_samples / self._settings.sample_rate_hz
        return Reading(n_samples, timestamp, lost_samples=lost_samples)

    def tune(self, frequency_hz: float) -> Tuning:
        """Change the frequency, and throw away what was received before: it shows as lost samples of the next read.

        What the server and the dongle hold at this moment, some tens of milliseconds, still comes from the old
        frequency: the protocol does not say where the new one begins.

        Raises
        ------
        ConfigError
            If the protocol cannot carry the frequency.
        DeviceError
            If the connection failed.
        """
        wanted = round(frequency_hz)
        if not 0 <= wanted < 2**32:
            raise ConfigError(f"rtl_tcp tunes to 0 to {2**32 - 1} Hz, not to {frequency_hz:.0f} Hz")
        try:
            self._command(_SET_FREQUENCY, wanted)
            self._center_frequency_hz = wanted
            self._drain()
        except OSError as error:
            raise DeviceError(f"the connection to rtl_tcp failed: {error}") from error
        return self._tuning()

    def set_gain(self, gain_db: float | Literal["auto"]) -> None:
        """Set the tuner's gain, of which the server takes the nearest it has, or leave it to the tuner (``"auto"``).

        Raises
        ------
        ConfigError
            If the gain is below 0 or above 100 dB.
        DeviceError
            If the connection failed.
        """
        if gain_db != "auto" and not 0.0 <= gain_db <= 100.0:
            raise ConfigError(f"rtl_tcp takes a gain of 0 to 100 dB, not {gain_db:.1f} dB")
        self._gain_db = None if gain_db == "auto" else gain_db
        try:
            self._send_gain()
        except OSError as error:
            raise DeviceError(f"the connection to rtl_tcp failed: {error}") from error

    def tune_as(self, other: Receiver) -> None:
        """Take over what was asked of another one by command."""
        if isinstance(other, RtlTcpReceiver):
            self._center_frequency_hz = other._center_frequency_hz
            self._gain_db = other._gain_db
            self._correction_ppm = other._correction_ppm

    def set_frequency_correction(self, correction_ppm: float) -> float:
        """Set the correction of the dongle's crystal, of which the protocol takes whole numbers.

        Raises
        ------
        ConfigError
            If it is beyond 1000 ppm.
        DeviceError
            If the connection failed.
        """
        if not -1000.0 <= correction_ppm <= 1000.0:
            raise ConfigError(f"rtl_tcp takes a correction of -1000 to 1000 ppm, not {correction_ppm:g}")
        self._correction_ppm = round(correction_ppm)
        try:
            self._command(_SET_PPM, self._correction_ppm & 0xFFFFFFFF)
        except OSError as error:
            raise DeviceError(f"the connection to rtl_tcp failed: {error}") from error
        return float(self._correction_ppm)

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tuning(self) -> Tuning:
        return Tuning(
            float(self._settings.sample_rate_hz),
            float(self._center_frequency_hz),
            "cu8",
            float(self._correction_ppm),
        )

    def _send_gain(self) -> None:
        self._command(_SET_GAIN_MODE, 0 if self._gain_db is None else 1)
        self._command(_SET_AGC, 1 if self._gain_db is None else 0)
        if self._gain_db is not None:
            self._command(_SET_GAIN, round(self._gain_db * 10))

    def _drain(self) -> None:
        """Throw away what stands in the socket, and keep I and Q apart: a pair is lost whole or not at all."""
        n_bytes, self._filled = self._filled, 0
        while self._socket is not None and n_bytes < MAX_DRAINED_BYTES:
            try:
                received = self._socket.recv_into(self._bytes.data)
            except BlockingIOError:
                break
            if received == 0:
                break  # the next read says that the server is gone
            n_bytes += received
            self._bytes[0] = self._bytes[received - 1]
        self._filled = n_bytes % 2
        self._drained_samples += n_bytes // 2

    def _command(self, number: int, argument: int) -> None:
        if self._socket is not None:
            self._socket.sendall(_COMMAND.pack(number, argument))

    def _receive_exactly(self, n_bytes: int) -> bytes:
        received = b""
        deadline_s = time.monotonic() + self._silent_after_s
        while self._socket is not None and len(received) < n_bytes:
            # One deadline for the whole greeting: a server that drips a byte a second is none.
            self._socket.settimeout(max(0.001, deadline_s - time.monotonic()))
            part = self._socket.recv(n_bytes - len(received))
            if not part:
                raise DeviceError("the rtl_tcp server closed the connection before its greeting")
            received += part
        return received
