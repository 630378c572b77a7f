"""What every demodulator is, and the one that belongs to each mode."""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from app_core.demod.agc import Agc
from app_core.demod.am import AmDemodulator, SynchronousAmDemodulator
from app_core.demod.channel_config import AgcConfig, ChannelConfig, Mode
from app_core.demod.fm import FmDemodulator, FmStack
from app_core.demod.ssb import SsbDemodulator
from app_core.demod.wfm import WfmDemodulator

__all__ = ["Demodulator", "DemodulatorStack", "Mode", "make_demodulator", "make_stack"]


class Demodulator(Protocol):
    """IQ of one channel to audio, as a stream.

    There is one audio sample for each IQ sample, unless the demodulator has an attribute `decimation` that says how
    many IQ samples there are for one.

    Attributes
    ----------
    n_audio
        1 for mono, 2 for stereo; constant.
    delay_s
        How late the audio is; constant. [seconds]
    frequency_error_hz
        Mean frequency of the carrier in the last `push` that was not empty, relative to the centre of the channel.
    deviation_hz
        Peak deviation of a tone with the power of the modulation that was heard in that `push`; 0 for modes without.
    """

    n_audio: int
    delay_s: float
    frequency_error_hz: float
    deviation_hz: float

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Demodulate the next part of the stream: (n,) at full scale 1 to (n,), ±1, or (n, 2) for stereo."""

    def readings(self) -> dict[str, float | bool | None]:
        """What the mode measures besides, by name; None where there is nothing to measure."""

    def reset(self) -> None:
        """Forget the past, for a gap in the stream."""


class DemodulatorStack(Protocol):
    """Channels that are demodulated side by side.

    Attributes
    ----------
    n_audio, delay_s, decimation
        As of `Demodulator`.
    """

    n_audio: int
    delay_s: float
    decimation: int

    @property
    def frequency_error_hz(self) -> NDArray[np.float64]:
        """As of `Demodulator`, shape (n_channels,)."""

    @property
    def deviation_hz(self) -> NDArray[np.float64]:
        """As of `Demodulator`, shape (n_channels,)."""

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Demodulate the next part of the streams: (n_channels, n) to (n_channels, n), or (n_channels, n, 2)."""

    def readings(self, row: int) -> dict[str, float | bool | None]:
        """As of `Demodulator`, of one channel."""

    def reset(self) -> None:
        """Forget the past, for a gap in the stream."""

    def take(self, rows: list[int]) -> Self:
        """Make a stack that goes on with some of the channels, where this one stands."""


class _SingleStack:
    """One channel of a mode that knows no stacks."""

    def __init__(self, demodulator: Demodulator) -> None:
        self._demodulator = demodulator
        self.n_audio = demodulator.n_audio
        self.delay_s = demodulator.delay_s
        self.decimation = int(getattr(demodulator, "decimation", 1))

    @property
    def frequency_error_hz(self) -> NDArray[np.float64]:
        return np.array([self._demodulator.frequency_error_hz])

    @property
    def deviation_hz(self) -> NDArray[np.float64]:
        return np.array([self._demodulator.deviation_hz])

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        return self._demodulator.push(iq[0])[None]

    def readings(self, row: int) -> dict[str, float | bool | None]:
        return self._demodulator.readings()

    def reset(self) -> None:
        self._demodulator.reset()

    def take(self, rows: list[int]) -> Self:
        return self


def make_demodulator(config: ChannelConfig, sample_rate_hz: float) -> Demodulator:
    """Make the demodulator of a channel.

    Parameters
    ----------
    config
        The channel.
    sample_rate_hz
        Rate of its IQ.

    Raises
    ------
    ValueError
        As the mode's own class does.
    """
    agc = AgcConfig() if config.agc is None else config.agc
    match config.mode:
        case Mode.NFM:
            return FmDemodulator(sample_rate_hz, config.deviation_hz, config.deemphasis_hz)
        case Mode.WFM:
            return WfmDemodulator(sample_rate_hz, config.deviation_hz, config.deemphasis_us, config.stereo)
        case Mode.AM:
            return AmDemodulator(sample_rate_hz)
        case Mode.SAM:
            return SynchronousAmDemodulator(sample_rate_hz)
        case Mode.USB | Mode.LSB:
            gain = Agc(sample_rate_hz, agc.attack_s, agc.hang_s, agc.decay_s)
            return SsbDemodulator(
                sample_rate_hz, "usb" if config.mode is Mode.USB else "lsb", config.bandwidth_hz, gain
            )


def make_stack(config: ChannelConfig, sample_rate_hz: float, n_channels: int) -> DemodulatorStack:
    """Make the demodulator of channels that differ in nothing but their frequencies and names.

    Raises
    ------
    ValueError
        As the mode's own class does, and if there is more than one channel of a mode other than narrow FM.
    """
    if config.mode is Mode.NFM:
        return FmStack(sample_rate_hz, n_channels, config.deviation_hz, config.deemphasis_hz)
    if n_channels != 1:
        raise ValueError(f"channels of {config.mode.value} are demodulated one by one, not {n_channels} at a time")
    return _SingleStack(make_demodulator(config, sample_rate_hz))
