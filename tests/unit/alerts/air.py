"""Headers, events and audio as a decode loop would give them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np

from app_core.alerts.alert import Alert
from app_core.alerts.tracker import AlertTracker
from app_core.base.blocks import PcmBlock
from app_core.eas.events import EndOfMessage, HeaderDecoded
from app_core.eas.header import parse_header

NOW = datetime(2026, 5, 20, 23, 0, 30, tzinfo=UTC)
RATE_HZ = 8000.0


def issue_text(time: datetime) -> str:
    return f"{time:%j%H%M}"


def header_text(
    event: str = "TOR",
    locations: str = "029095-020091",
    purge: str = "0045",
    issued: str = issue_text(NOW),
    callsign: str = "KEAX/NWS",
    originator: str = "WXR",
) -> str:
    return f"ZCZC-{originator}-{event}-{locations}+{purge}-{issued}-{callsign}-"


def decoded(
    text: str, start_sample: int = 0, end_sample: int = 8000, bursts: int = 3, error_probability: float = 1e-6
) -> HeaderDecoded:
    return HeaderDecoded(parse_header(text), start_sample, end_sample, bursts, error_probability, snr_db=20.0)


def make_alert(text: str | None = None, heard_at: datetime = NOW, channel_id: str = "kc1") -> Alert:
    event = decoded(header_text() if text is None else text)
    tracker = AlertTracker(zone=UTC)
    return tracker.hear(event, channel_id=channel_id, receiver_id="rx1", heard_at=heard_at, monotonic_s=0.0).alert


class Channel:
    """A channel on the air: gives blocks and events on one time line, and keeps what was sent."""

    def __init__(self, start: datetime = NOW, rate_hz: float = RATE_HZ, seed: int = 1) -> None:
        self.rate_hz = rate_hz
        self.epoch = int(start.timestamp()) * 10**9
        self.start_s = start.timestamp()
        self.at = 0
        self._random = np.random.default_rng(seed)

    def to_utc(self, sample: int) -> float:
        return self.start_s + sample / self.rate_hz

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.to_utc(self.at), UTC)

    def audio(self, seconds: float, send: Callable[[PcmBlock], None], block_s: float = 0.1) -> np.ndarray:
        """Send noise in blocks and return it."""
        pcm = self._random.uniform(-0.5, 0.5, round(seconds * self.rate_hz)).astype(np.float32)
        step = round(block_s * self.rate_hz)
        for begin in range(0, len(pcm), step):
            block = pcm[begin : begin + step]
            send(PcmBlock(block, self.rate_hz, self.at, self.to_utc(self.at), self.epoch))
            self.at += len(block)
        return pcm

    def lose(self, seconds: float) -> None:
        self.at += round(seconds * self.rate_hz)

    def header(self, text: str | None = None, seconds: float = 6.0) -> HeaderDecoded:
        """A header whose bursts took the last seconds."""
        if text is None:
            text = header_text(issued=issue_text(self.now - timedelta(seconds=seconds)))
        return decoded(text, self.at - round(seconds * self.rate_hz), self.at)

    def end(self, seconds: float = 0.3) -> EndOfMessage:
        return EndOfMessage(self.at - round(seconds * self.rate_hz), self.at)
