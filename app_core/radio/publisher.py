"""The thread behind the ring: ring to spectrum and samples, encoded, into the outbox.

It looks at samples without taking them until a whole message is full, so a message is encoded straight from the ring's
memory (`SampleEncoder`). The spectrum is of the whole band, also where a slice of it is published, and its rows come at
their own, faster pace. It never waits for Redis: the outbox does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.base.lifecycle import Worker
from app_core.bridge import keys
from app_core.bridge.messages import SpectrumMessage, plain_number
from app_core.dsp.measure import FLOOR_DBFS, channel_snr_db, clipping_share, mean_power, power_dbfs
from app_core.dsp.spectrum import DBFS_MAX, DBFS_MIN, SpectrumEstimator, normalize
from app_core.radio.health import LockJudge
from app_core.radio.reader import Reader
from app_core.radio.receiver import ReceiverSettings
from app_core.radio.ring_buffer import Anchor, RingBuffer
from app_core.radio.sample_encoder import Put, SampleEncoder, Tap

LOCK_BANDWIDTH_HZ = 12_500.0
"""Width over which the strongest signal is measured: a narrow FM channel."""

UNDERFLOW_AFTER_S = 1.0
"""Time without a new sample in the ring that counts as one underflow. [seconds]"""


class Publisher(Worker):
    """Publish what one reader captures.

    Parameters
    ----------
    settings
        The receiver's table.
    reader
        Where the samples come from.
    put
        Where the messages go.
    tap
        Told every block that is published, as it is published, before its samples are given up; it must not wait.
    channels_hz
        Frequencies that are listened to: the strongest of them is the receiver's signal. Where none lies in the band,
        the strongest signal of all is.

    Attributes
    ----------
    level_dbfs, clipping
        Level, and share of samples at full scale, of the last row's samples.
    snr_db
        The signal of the last row over the noise in its width. [dB]
    channel_snrs_db
        The same for each of `channels_hz` that lies in the band, by frequency. [dB]
    last_spectrum, last_spectrum_s
        The last row and when it was published; None before the first one. [monotonic seconds]
    """

    def __init__(
        self,
        settings: ReceiverSettings,
        reader: Reader,
        put: Put,
        tap: Tap | None = None,
        *,
        channels_hz: Sequence[float] = (),
    ) -> None:
        super().__init__(f"Publisher-{settings.id}", cpu_affinity=settings.cpu_affinity, nice=settings.publisher_nice)
        self._settings = settings
        self._reader = reader
        self._put = put
        self._encoder = SampleEncoder(settings, put, tap)
        self._spectrum = SpectrumEstimator(settings.fft_size)
        self._looked_at = 0
        self._row_samples = 0
        self._samples_in_row = 0
        self._row_power = 0.0
        self._row_clipped = 0.0
        self._row_began_s = 0.0
        self._row_has_gap = False
        self._ring: RingBuffer | None = None
        self._last_anchor: Anchor | None = None
        self.level_dbfs = FLOOR_DBFS
        self.clipping = 0.0
        self.snr_db = 0.0
        self._channels_hz = list(channels_hz)
        self.channel_snrs_db: dict[float, float] = {}
        self._lock = LockJudge(settings.locked_snr_db)
        self.last_spectrum: SpectrumMessage | None = None
        self.last_spectrum_s = 0.0

    @property
    def sequence(self) -> int:
        """Number of the next samples message of this stream."""
        return self._encoder.sequence

    @sequence.setter
    def sequence(self, number: int) -> None:
        self._encoder.sequence = number

    @property
    def last_published_s(self) -> float | None:
        """When the last samples message was handed on; None before the first. [monotonic seconds]"""
        return self._encoder.last_published_s

    def encoding(self) -> dict[str, Any]:
        """As `SampleEncoder.status`."""
        return self._encoder.status()

    @property
    def locked_since_s(self) -> float | None:
        """Since when the signal has stood above the threshold; None while there is none. [monotonic seconds]"""
        return self._lock.since_s

    def follow(self, reader: Reader) -> None:
        """Take samples from another reader from now on: the old one has died."""
        self._reader = reader

    def run(self, stopping: threading.Event) -> None:
        """Publish until stopped."""
        seen, grew_s = -1, time.monotonic()
        while not stopping.is_set():
            wait_s = self._work()
            ring, now_s = self._ring, time.monotonic()
            written = -1 if ring is None else ring.total_read + ring.readable
            if written != seen:
                seen, grew_s = written, now_s
            elif ring is not None and now_s - grew_s > UNDERFLOW_AFTER_S:
                ring.count_underflow()
                grew_s = now_s
            if wait_s > 0:
                stopping.wait(wait_s)

    def _work(self) -> float:
        """Do what can be done now. Give how long to wait for more. [seconds]"""
        ring = self._reader.ring
        if ring is None:
            return 0.05
        if ring is not self._ring:
            self._ring = ring
            self._looked_at = 0
        anchor = ring.anchor_at_read()
        if anchor is None:
            return 0.01
        if anchor is not self._last_anchor:
            self._begin_run(anchor)
        wanted = self._settings.samples_per_message
        ended = self._reader.ended  # before the view: then the view holds the recording's very last samples
        waiting = ring.read_view(wanted)
        if ring.anchor_at_read() is not anchor:
            # A new run began right here, between the two looks: what the view holds is of that one.
            return 0.0
        self._look_at(waiting, anchor)
        if len(waiting) == wanted or (len(waiting) and (ended or ring.run_is_closed(len(waiting)))):
            self._publish_samples(ring, anchor, waiting)
            return 0.0
        missing = wanted - len(waiting)
        to_row = self._row_samples - self._samples_in_row
        return min(max(min(missing, to_row) / anchor.sample_rate_hz, 0.002), 0.05)

    def _begin_run(self, anchor: Anchor) -> None:
        """Forget what must not be averaged across a loss of samples or a change of tuning."""
        last, self._last_anchor = self._last_anchor, anchor
        if last is not None and last.config_epoch == anchor.config_epoch:
            # The row goes on behind a loss; a frame of the transform does not.
            self._row_has_gap = True
            self._spectrum.cut()
            return
        self._lock.reset()
        self._row_samples = max(1, int(anchor.sample_rate_hz / self._settings.spectrum_rows_per_second))
        self._row_began_s = time.monotonic()
        self._row_has_gap = False
        self._samples_in_row = 0
        self._row_power = self._row_clipped = 0.0
        self._spectrum.reset()

    def _look_at(self, waiting: NDArray[np.complex64], anchor: Anchor) -> None:
        """Feed the spectrum with what it has not seen yet, and publish a row whenever one is full."""
        while self._looked_at < len(waiting):
            piece = waiting[self._looked_at : self._looked_at + self._row_samples - self._samples_in_row]
            self._spectrum.push(piece)
            self._looked_at += len(piece)
            self._samples_in_row += len(piece)
            self._row_power += mean_power(piece) * len(piece)
            self._row_clipped += clipping_share(piece) * len(piece)
            if self._samples_in_row >= self._row_samples or (self._row_has_gap and self._row_is_due()):
                self.level_dbfs = power_dbfs(self._row_power / self._samples_in_row)
                self.clipping = self._row_clipped / self._samples_in_row
                self._row_power = self._row_clipped = 0.0
                self._samples_in_row = 0
                self._row_began_s = time.monotonic()
                self._row_has_gap = False
                self._publish_spectrum(anchor)

    def _row_is_due(self) -> bool:
        """Whether a row that has lost samples has waited for its time: it is published with fewer."""
        return time.monotonic() - self._row_began_s >= 1.0 / self._settings.spectrum_rows_per_second

    def _publish_spectrum(self, anchor: Anchor) -> None:
        power_dbfs = self._spectrum.read()
        if power_dbfs is None:
            return
        self._note_lock(power_dbfs, anchor)
        identifier = self._settings.id
        ring = self._ring
        end = anchor.first_sample + (ring.total_read - anchor.position if ring else 0) + self._looked_at
        message = SpectrumMessage(
            identifier=identifier,
            spectrum=[round(value, 4) for value in normalize(power_dbfs).tolist()],
            fft_size=self._settings.fft_size,
            sample_rate=plain_number(anchor.sample_rate_hz),
            center_frequency=plain_number(anchor.center_frequency_hz),
            timestamp=self._reader.clock.timestamp_of(end),
            status="available",
            dbfs_min=DBFS_MIN,
            dbfs_max=DBFS_MAX,
        )
        self._put(keys.spectrum(identifier), message.to_json(), keys.SPECTRUM_TTL_S)
        self.last_spectrum_s = time.monotonic()
        self.last_spectrum = message

    def _note_lock(self, power_dbfs: NDArray[np.float32], anchor: Anchor) -> None:
        """Measure the channels that are listened to, else the strongest signal of the band."""
        rate_hz = anchor.sample_rate_hz
        furthest_hz = (rate_hz - LOCK_BANDWIDTH_HZ) / 2.0
        offsets_hz = {frequency_hz: frequency_hz - anchor.center_frequency_hz for frequency_hz in self._channels_hz}
        self.channel_snrs_db = {
            frequency_hz: channel_snr_db(power_dbfs, rate_hz, offset_hz, LOCK_BANDWIDTH_HZ)
            for frequency_hz, offset_hz in offsets_hz.items()
            if abs(offset_hz) <= furthest_hz
        }
        if self.channel_snrs_db:
            self.snr_db = max(self.channel_snrs_db.values())
        else:
            self.snr_db = _strongest_snr_db(power_dbfs, rate_hz)
        self._lock.note(self.snr_db, time.monotonic())

    def _publish_samples(self, ring: RingBuffer, anchor: Anchor, iq: NDArray[np.complex64]) -> None:
        first_sample = anchor.first_sample + ring.total_read - anchor.position
        block = IqBlock(
            iq=iq,
            sample_rate_hz=anchor.sample_rate_hz,
            center_frequency_hz=anchor.center_frequency_hz,
            first_sample=first_sample,
            timestamp=self._reader.clock.timestamp_of(first_sample),
            config_epoch=anchor.config_epoch,
            frequency_correction_ppm=anchor.frequency_correction_ppm,
        )
        # A receiver that waits keeps its ring full on purpose.
        self._encoder.take(block, 0.0 if self._reader.waits else ring.readable / ring.size)
        n_samples = len(iq)
        if self._reader.ended and n_samples == ring.readable:
            self._encoder.flush()
        ring.release(n_samples)
        self._looked_at -= n_samples


def _strongest_snr_db(power_dbfs: NDArray[np.float32], sample_rate_hz: float) -> float:
    """Give the ratio of signal to noise of the strongest signal that is not the front end's DC spike. [dB]"""
    n_bins = len(power_dbfs)
    searched = power_dbfs.copy()
    searched[n_bins // 2 - 4 : n_bins // 2 + 5] = FLOOR_DBFS
    offset_hz = (int(np.argmax(searched)) - n_bins // 2) * sample_rate_hz / n_bins
    return channel_snr_db(searched, sample_rate_hz, offset_hz, LOCK_BANDWIDTH_HZ)
