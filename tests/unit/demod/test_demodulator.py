from typing import Any

import numpy as np
import pytest

from app_core.demod.agc import Agc
from app_core.demod.am import AmDemodulator, SynchronousAmDemodulator
from app_core.demod.channel_config import AgcConfig, ChannelConfig, Mode
from app_core.demod.demodulator import make_demodulator, make_stack
from app_core.demod.fm import FmDemodulator, FmStack
from app_core.demod.ssb import SsbDemodulator
from app_core.demod.wfm import WfmDemodulator
from tests.support.signals import audio_tone, complex_noise, fm_modulate, tone_amplitude

CLASSES: dict[Mode, type] = {
    Mode.NFM: FmDemodulator,
    Mode.WFM: WfmDemodulator,
    Mode.AM: AmDemodulator,
    Mode.SAM: SynchronousAmDemodulator,
    Mode.USB: SsbDemodulator,
    Mode.LSB: SsbDemodulator,
}


def config(mode: Mode = Mode.NFM, **settings: Any) -> ChannelConfig:
    return ChannelConfig(id="one", receiver_id="r", frequency_hz=1e8, mode=mode, **settings)


def rate_of(mode: Mode) -> float:
    return 256_000.0 if mode is Mode.WFM else 24_000.0


@pytest.mark.parametrize("mode", Mode)
def test_every_mode_has_its_demodulator(mode: Mode) -> None:
    demodulator = make_demodulator(config(mode), rate_of(mode))
    assert isinstance(demodulator, CLASSES[mode])
    audio = demodulator.push(complex_noise(9600, 0.1, seed=1))
    decimation = getattr(demodulator, "decimation", 1)
    assert audio.dtype == np.float32
    assert audio.shape[0] == 9600 // decimation
    assert demodulator.n_audio == 1
    assert demodulator.delay_s >= 0.0
    assert all(value is None or np.isfinite(value) for value in demodulator.readings().values())


def test_stereo_gives_both_sides() -> None:
    demodulator = make_demodulator(config(Mode.WFM, stereo=True), 256_000.0)
    assert demodulator.n_audio == 2
    assert demodulator.push(complex_noise(9600, 0.1, seed=1)).shape[1:] == (2,)


def test_the_settings_of_fm_are_heard() -> None:
    iq = fm_modulate(audio_tone(1000.0, 240_000, 240_000, 0.5), 240_000, 5000.0)[::10].copy()

    def amplitude(frequency_hz: float = 1000.0, **settings: Any) -> float:
        pcm = make_demodulator(config(**settings), 24_000.0).push(iq)[2400:]
        return tone_amplitude(pcm, frequency_hz, 24_000.0)

    assert amplitude() == pytest.approx(0.5, rel=0.005)
    assert amplitude(deviation_hz=2500.0) == pytest.approx(1.0, rel=0.005)
    high = fm_modulate(audio_tone(3000.0, 240_000, 240_000, 0.2), 240_000, 5000.0)[::10].copy()
    flat = make_demodulator(config(deemphasis_us=0.0), 24_000.0).push(high)[2400:]
    falling = make_demodulator(config(), 24_000.0).push(high)[2400:]
    assert tone_amplitude(flat, 3000.0, 24_000.0) == pytest.approx(0.2, rel=0.03)
    assert tone_amplitude(falling, 3000.0, 24_000.0) == pytest.approx(0.2 * 1044.0 / 3015.0, rel=0.03)


def test_the_sideband_is_that_of_the_mode() -> None:
    tone = np.exp(2j * np.pi * 1000.0 / 24_000.0 * np.arange(24_000)).astype(np.complex64)
    upper = make_demodulator(config(Mode.USB), 24_000.0).push(tone)[12_000:]
    lower = make_demodulator(config(Mode.LSB), 24_000.0).push(tone)[12_000:]
    assert np.abs(upper).max() > 100.0 * np.abs(lower).max()


@pytest.mark.parametrize("changed", [{"attack_s": 0.05}, {"hang_s": 0.02}, {"decay_s": 0.05}])
def test_the_settings_of_the_gain_control_are_heard(changed: dict[str, float]) -> None:
    times = {"attack_s": 0.002, "hang_s": 0.3, "decay_s": 0.5}
    iq = complex_noise(24_000, 1e-6, seed=3)
    iq[6_000:12_000] *= np.float32(100.0)
    wanted = SsbDemodulator(24_000.0, "usb", 2_800.0, Agc(24_000.0, **(times | changed))).push(iq)
    got = make_demodulator(config(Mode.USB, agc=AgcConfig(**changed)), 24_000.0).push(iq)
    np.testing.assert_array_equal(got, wanted)
    assert np.abs(got - make_demodulator(config(Mode.USB), 24_000.0).push(iq)).max() > 0.005


def test_channels_of_narrow_fm_are_stacked_and_others_are_not() -> None:
    assert isinstance(make_stack(config(), 24_000.0, 5), FmStack)
    with pytest.raises(ValueError, match="one by one"):
        make_stack(config(Mode.AM), 24_000.0, 2)


@pytest.mark.parametrize("mode", [Mode.WFM, Mode.AM, Mode.USB])
def test_a_stack_of_one_is_the_demodulator_itself(mode: Mode) -> None:
    iq = complex_noise(9600, 0.1, seed=2)
    stack = make_stack(config(mode), rate_of(mode), 1)
    demodulator = make_demodulator(config(mode), rate_of(mode))
    np.testing.assert_array_equal(stack.push(iq[None])[0], demodulator.push(iq))
    assert stack.decimation == getattr(demodulator, "decimation", 1)
    assert (stack.n_audio, stack.delay_s) == (demodulator.n_audio, demodulator.delay_s)
    assert stack.frequency_error_hz.tolist() == [demodulator.frequency_error_hz]
    assert stack.deviation_hz.tolist() == [demodulator.deviation_hz]
    assert stack.readings(0) == demodulator.readings()
    assert stack.take([0]) is stack
    stack.reset()
    np.testing.assert_array_equal(stack.push(iq[None])[0], make_demodulator(config(mode), rate_of(mode)).push(iq))
