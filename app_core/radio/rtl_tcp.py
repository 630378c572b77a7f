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

import numpy as np
from numpy.typing import NDArray

from app_core.base.errors import DeviceError
from app_core.base.iq_file import convert_cu8
from app_core.radio.receiver import Reading, RtlTcpSettings, Tuning, read_size

SILENT_AFTER_S = 2.0
"""A connected server that sends nothing this long has hung. [seconds]"""

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
        self._heard_s = 0.0

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
            self._command(_SET_PPM, settings.frequency_correction_ppm & 0xFFFFFFFF)
            self._command(_SET_FREQUENCY, settings.center_frequency_hz)
            self._command(_SET_GAIN_MODE, 0 if settings.gain_db is None else 1)
            self._command(_SET_AGC, 1 if settings.gain_db is None else 0)
            if settings.gain_db is not None:
                self._command(_SET_GAIN, round(settings.gain_db * 10))
            self._socket.setblocking(False)
        except (OSError, UnicodeError) as error:  # a host's name that no resolver takes is a UnicodeError
            self.close()
            raise DeviceError(f"{where} cannot be reached: {error}") from error
        except DeviceError:
            self.close()
            raise
        self._filled = 0
        self._heard_s = time.monotonic()
        return Tuning(float(settings.sample_rate_hz), float(settings.center_frequency_hz))

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
        return Reading(n_samples, time.time() - n_samples / self._settings.sample_rate_hz)

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _command(self, number: int, argument: int) -> None:
        if self._socket is not None:
            self._socket.sendall(_COMMAND.pack(number, argument))

    def _receive_exactly(self, n_bytes: int) -> bytes:
        received = b""
        while self._socket is not None and len(received) < n_bytes:
            part = self._socket.recv(n_bytes - len(received))
            if not part:
                raise DeviceError("the rtl_tcp server closed the connection before its greeting")
            received += part
        return received
