"""The slice of a capture that is published: shifted, filtered, decimated, and cut into messages again.

Convention: sample ``n`` of the slice stands at the time of input ``n * sample_rate / publish_rate`` of the stream,
within half a published sample; its timestamp is exact. A loss or a new tuning ends one run of the slice and begins
another; each run is filtered as if zeros had come before and behind it.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.base.errors import ConfigError
from app_core.dsp.channelizer import MAX_BANDWIDTH_SHARE, Channelizer, ChannelSpec
from app_core.dsp.frame_plan import exact_rate

log = logging.getLogger(__name__)

MAX_DECIMATION = 4096
"""Largest decimation to a slice: its filter has some 54 taps for each step of it, and memory grows with the filter."""


def lowest_publish_rate_hz(sample_rate_hz: float) -> float:
    """Give the lowest rate of a slice of a capture of `sample_rate_hz`. [samples per second]"""
    return math.ceil(sample_rate_hz / MAX_DECIMATION)


class Decimator:
    """Cut one slice out of a capture, as a stream.

    What is not within `MAX_BANDWIDTH_SHARE` of the published rate is attenuated on its way to half of it; from there on
    nothing comes through that is less than `channel_stack.ATTENUATION_DB` down, so nothing folds into the slice.

    Parameters
    ----------
    publish_rate_hz
        Rate of the slice; a capture that is slower is published as it is.
    center_frequency_hz
        Centre of the slice; None, or one with which the slice reaches beyond the capture, for the capture's own.
    samples_per_message
        Samples in each block that comes out, unless its run ends.
    """

    def __init__(self, publish_rate_hz: float, center_frequency_hz: float | None, samples_per_message: int) -> None:
        self._publish_rate = exact_rate(publish_rate_hz)
        self._wanted_center_hz = center_frequency_hz
        self._message = np.empty(samples_per_message, dtype=np.complex64)
        self._filled = 0
        self._channelizer: Channelizer | None = None
        self._ratio = Fraction(1)
        # The run: its first input, where the next one is expected, and how far the slice has come.
        self._run: IqBlock | None = None
        self._expected = 0
        self._n_out = 0

    def push(self, block: IqBlock) -> list[IqBlock]:
        """Filter the next block of the capture.

        Parameters
        ----------
        block
            The next samples; finite ones, as a receiver's are.

        Returns
        -------
        messages
            Blocks of the slice that are full, or that end a run.

        Raises
        ------
        ConfigError
            If the slice's rate is below `lowest_publish_rate_hz` of this capture.
        """
        messages: list[IqBlock] = []
        run = self._run
        if run is None or block.config_epoch != run.config_epoch or block.first_sample != self._expected:
            messages += self.flush()
            run = self._begin(block)
        self._expected = block.first_sample + len(block.iq)
        iq = block.iq if self._channelizer is None else self._channelizer.push(block.iq)[0]
        return messages + self._cut(run, iq)

    def flush(self) -> list[IqBlock]:
        """End the run, for the end of the stream or a gap: give what is in the filter."""
        run, self._run = self._run, None
        if run is None:
            return []
        due = self._index_of(self._expected) - self._index_of(run.first_sample) - self._n_out - self._filled
        rest = self._message[:0] if self._channelizer is None else self._channelizer.flush()[0]
        messages = self._cut(run, rest[: max(due, 0)])
        if self._filled:
            messages.append(self._take_message(run))
        return messages

    def _begin(self, block: IqBlock) -> IqBlock:
        """Start a run with `block`; the filter is made anew where the capture is another one."""
        rate = exact_rate(block.sample_rate_hz)
        center_hz = block.center_frequency_hz
        if rate <= self._publish_rate:
            self._channelizer, self._ratio = None, Fraction(1)
        else:
            _check_rate(float(self._publish_rate), block.sample_rate_hz)
            self._ratio = self._publish_rate / rate
            bandwidth_hz = MAX_BANDWIDTH_SHARE * float(self._publish_rate)
            if self._wanted_center_hz is not None:
                reach_hz = abs(self._wanted_center_hz - center_hz) + bandwidth_hz / 2.0
                if reach_hz <= block.sample_rate_hz / 2.0:
                    center_hz = self._wanted_center_hz
                else:
                    log.warning("%.4f MHz is not in the capture; its centre is published", self._wanted_center_hz / 1e6)
            spec = ChannelSpec(center_hz - block.center_frequency_hz, bandwidth_hz, float(self._publish_rate))
            self._channelizer = Channelizer(block.sample_rate_hz, [spec])
        self._run = replace(block, iq=block.iq[:0], center_frequency_hz=center_hz)
        self._n_out = self._filled = 0
        return self._run

    def _index_of(self, sample: int) -> int:
        return round(sample * self._ratio)

    def _cut(self, run: IqBlock, iq: NDArray[np.complex64]) -> list[IqBlock]:
        messages = []
        while len(iq):
            part = iq[: len(self._message) - self._filled]
            self._message[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            iq = iq[len(part) :]
            if self._filled == len(self._message):
                messages.append(self._take_message(run))
        return messages

    def _take_message(self, run: IqBlock) -> IqBlock:
        after = self._n_out / self._ratio / exact_rate(run.sample_rate_hz)
        message = IqBlock(
            iq=self._message[: self._filled].copy(),
            sample_rate_hz=run.sample_rate_hz if self._channelizer is None else float(self._publish_rate),
            center_frequency_hz=run.center_frequency_hz,
            first_sample=self._index_of(run.first_sample) + self._n_out,
            timestamp=run.timestamp + float(after),
            config_epoch=run.config_epoch,
            frequency_correction_ppm=run.frequency_correction_ppm,
        )
        self._n_out += self._filled
        self._filled = 0
        return message


def _check_rate(publish_rate_hz: float, sample_rate_hz: float) -> None:
    lowest_hz = lowest_publish_rate_hz(sample_rate_hz)
    if publish_rate_hz < lowest_hz:
        raise ConfigError(
            f"publish_sample_rate_hz = {publish_rate_hz:.10g} is too low for a capture of {sample_rate_hz:.10g} S/s: "
            f"the lowest is {lowest_hz:.10g}"
        )
