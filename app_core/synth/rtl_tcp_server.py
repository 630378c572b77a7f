"""The generated station as an RTL2832U dongle behind rtl_tcp.

To a client that connects it sends twelve bytes, ``RTL0``, the tuner type and the number of its gains, both big-endian
u32; then interleaved u8 I and Q for ever. The client sends commands of five bytes: a u8 and a big-endian u32. As with
the real one, there is one client at a time and the next waits; samples that a client does not read in time are dropped,
oldest first; and the air does not wait: the stream goes on with or without a client.

What differs: only the station's own sample rate exists, and a command for another is logged and ignored. A change of
frequency or gain is heard after about `LEAD_S`, which is what the USB buffers of a real one cost.

One thread renders, a little ahead of the sample clock, into a bounded queue; the thread that calls `serve` sends each
block when it is due.
"""

from __future__ import annotations

import logging
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable

from app_core.base.errors import ConfigError
from app_core.base.lifecycle import Worker
from app_core.synth.plan import StationPlan
from app_core.synth.quantise import to_cu8
from app_core.synth.renderer import StationRenderer

log = logging.getLogger(__name__)

TUNER_R820T = 5
TUNER_GAINS_TENTH_DB = (
    0, 9, 14, 27, 37, 77, 87, 125, 144, 157, 166, 197, 207, 229, 254, 280, 297, 328, 338, 364, 372, 386, 402, 421, 434,
    439, 445, 480, 496,
)  # fmt: skip
"""Gains of the R820T tuner. [0.1 dB]"""

REFERENCE_GAIN_TENTH_DB = 297
"""Tuner gain at which the samples have the levels of the plan. [0.1 dB]"""

COMMAND_BYTES = 5
LEAD_S = 0.25
"""How far rendering runs ahead of the clock, so that a new alert's encoding does not make samples late."""

QUEUE_S = 3.0
"""Samples that wait for a client at the most, the lead included."""

_BLOCK_S = 0.032
_LATE_S = 1.0
_POLL_S = 0.1
_SEND_BUFFER_BYTES = 131_072


class DongleControls:
    """The commands of a client, applied to the renderer.

    Parameters
    ----------
    renderer
        The station.
    """

    def __init__(self, renderer: StationRenderer) -> None:
        self._renderer = renderer
        self._received = bytearray()
        self._manual_gain = False
        self._agc = False
        self._gain_tenth_db = REFERENCE_GAIN_TENTH_DB
        self.apply_gain()

    def forget_partial(self) -> None:
        """Drop an unfinished command, as when its client is gone."""
        self._received.clear()

    def receive(self, piece: bytes) -> None:
        """Take bytes from the client and obey every command that is complete; unknown ones do nothing."""
        self._received += piece
        n_whole = len(self._received) // COMMAND_BYTES * COMMAND_BYTES
        for code, argument in struct.iter_unpack(">BI", self._received[:n_whole]):
            self._obey(code, argument)
        del self._received[:n_whole]

    def _obey(self, code: int, argument: int) -> None:
        if code == 0x01:
            self._renderer.tune(float(argument))
        elif code == 0x02:
            if argument != self._renderer.sample_rate_hz:
                rate_hz = self._renderer.sample_rate_hz
                log.warning("a client asks for %d S/s; the generated station has %.0f S/s only", argument, rate_hz)
        elif code == 0x05:
            self._renderer.set_correction_ppm(float(max(-1000, min(1000, _signed(argument)))))
        elif code in (0x03, 0x04, 0x08, 0x0D):
            self._obey_gain(code, argument)
        else:
            # Direct sampling, bias tee, IF gain and the rest have nothing here to act on.
            log.debug("rtl_tcp command 0x%02x (%d) has no effect", code, argument)

    def _obey_gain(self, code: int, argument: int) -> None:
        if code == 0x03:
            self._manual_gain = argument != 0
        elif code == 0x04:
            wanted = _signed(argument)
            self._gain_tenth_db = min(TUNER_GAINS_TENTH_DB, key=lambda gain: abs(gain - wanted))
        elif code == 0x08:
            self._agc = argument != 0
        elif argument < len(TUNER_GAINS_TENTH_DB):
            self._gain_tenth_db = TUNER_GAINS_TENTH_DB[argument]
        self.apply_gain()

    def apply_gain(self) -> None:
        """Set the gain that the present modes ask for."""
        if self._manual_gain and not self._agc:
            self._renderer.set_gain_db(0.1 * (self._gain_tenth_db - REFERENCE_GAIN_TENTH_DB))
        else:
            self._renderer.set_gain_db(self._renderer.automatic_gain_db())


def _signed(argument: int) -> int:
    return argument - (1 << 32) if argument >= 1 << 31 else argument


class _Air(Worker):
    """Renders the station in real time into a bounded queue of (due time, bytes)."""

    def __init__(self, renderer: StationRenderer) -> None:
        super().__init__("synth-air")
        self._renderer = renderer
        self._n_block = round(_BLOCK_S * renderer.sample_rate_hz)
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, bytes]] = deque(maxlen=round(QUEUE_S / _BLOCK_S))
        self.dropped_blocks = 0

    def run(self, stopping: threading.Event) -> None:
        """Render each block `LEAD_S` before it is due."""
        block_s = self._n_block / self._renderer.sample_rate_hz
        anchor, n_blocks = time.monotonic(), 0
        while not stopping.is_set():
            due = anchor + n_blocks * block_s
            now = time.monotonic()
            if due - LEAD_S > now:
                stopping.wait(due - LEAD_S - now)
                continue
            if now - due > _LATE_S:
                log.warning("the generated station is %.1f s late and goes on from here", now - due)
                anchor, n_blocks = now, 0
                continue
            block = to_cu8(self._renderer.read(self._n_block)).tobytes()
            with self._lock:
                self.dropped_blocks += len(self._waiting) == self._waiting.maxlen
                self._waiting.append((due, block))
            n_blocks += 1

    def take(self, now: float) -> tuple[bytes, float]:
        """Give the oldest block if it is due, else nothing; and the time until the next is. [s]"""
        with self._lock:
            if not self._waiting:
                return b"", _BLOCK_S
            if self._waiting[0][0] > now:
                return b"", self._waiting[0][0] - now
            return self._waiting.popleft()[1], 0.0

    def skip_to(self, now: float) -> None:
        """Forget what was due before `now`: a client hears from when it connects."""
        with self._lock:
            while self._waiting and self._waiting[0][0] < now:
                self._waiting.popleft()
            self.dropped_blocks = 0


def serve(
    station: StationPlan | StationRenderer,
    host: str,
    port: int,
    stopping: threading.Event,
    on_listening: Callable[[int], None],
) -> None:
    """Serve a station in real time until `stopping` is set.

    Parameters
    ----------
    station
        What is on the air; a renderer that is given belongs to the server from then on.
    host, port
        Where to listen; port 0 takes any free one.
    stopping
        Ends the server within some tenths of a second.
    on_listening
        Told the port when clients can connect.

    Raises
    ------
    ConfigError
        If the address cannot be listened on, or an alert of the schedule is impossible.
    """
    renderer = StationRenderer(station) if isinstance(station, StationPlan) else station
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error}; choose another host or port") from error
        listener.listen(1)
        controls = DongleControls(renderer)
        air = _Air(renderer)
        with air:
            on_listening(listener.getsockname()[1])
            while not stopping.is_set() and air.failure is None:
                if not select.select([listener], [], [], _POLL_S)[0]:
                    continue
                try:
                    client, address = listener.accept()
                except OSError as error:
                    log.debug("an rtl_tcp client was gone before it was accepted: %s", error)
                    continue
                log.info("rtl_tcp client %s:%s connected", *address[:2])
                with client:
                    _serve_client(client, air, controls, stopping)
                controls.forget_partial()
                log.info("rtl_tcp client %s:%s is gone", *address[:2])
    if air.failure is not None:
        raise air.failure


def _serve_client(client: socket.socket, air: _Air, controls: DongleControls, stopping: threading.Event) -> None:
    """Send to one client, and obey it, until it is gone."""
    client.setblocking(False)
    # What the kernel buffers cannot be dropped any more, and would reach a slow client late.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    air.skip_to(time.monotonic())
    unsent = memoryview(b"RTL0" + struct.pack(">II", TUNER_R820T, len(TUNER_GAINS_TENTH_DB)))
    reported = False
    while not stopping.is_set() and air.failure is None:
        wait_s = _POLL_S
        if not unsent:
            block, wait_s = air.take(time.monotonic())
            unsent = memoryview(block)
        readable, writable, _ = select.select([client], [client] if unsent else [], [], min(wait_s or _POLL_S, _POLL_S))
        try:
            if readable:
                piece = client.recv(4096)
                if not piece:
                    return
                controls.receive(piece)
            if writable:
                unsent = unsent[client.send(unsent) :]
        except BlockingIOError:
            continue
        except OSError as error:
            log.debug("rtl_tcp client: %s", error)
            return
        if air.dropped_blocks and not reported:
            log.warning("the rtl_tcp client does not keep up: samples are dropped")
            reported = True
