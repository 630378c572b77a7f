"""Samples of SoapySDR devices, and what becomes of a stream that fails, through a driver that fails at will."""

from __future__ import annotations

import contextlib
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.base.errors import ConfigError, DeviceError
from app_core.radio.receiver import GainControl, Reading, Tunable
from app_core.radio.soapy import StreamCode
from app_core.radio.soapy_receiver import SoapyReceiver
from tests.support.programs import eventually
from tests.support.soapy_module import IqFileDevices, numbers_of

RATE_HZ = 1e6
READ = 50_000


def read(
    receiver: SoapyReceiver, n_samples: int = READ, timeout_s: float = 0.5
) -> tuple[Reading, NDArray[np.complex64]]:
    iq = np.zeros(n_samples, dtype=np.complex64)
    reading = receiver.read_into(iq, timeout_s)
    return reading, iq[: reading.n_samples]


def follow(receiver: SoapyReceiver, n_reads: int, native: str, expected: int, modulus: int) -> tuple[int, int]:
    """Read, and check that every sample is the one that count and losses say. Give the next number, and the losses."""
    lost = 0
    for _ in range(n_reads):
        reading, iq = read(receiver)
        lost += reading.lost_samples
        expected += reading.lost_samples
        wanted = (expected + np.arange(len(iq))) % modulus
        np.testing.assert_array_equal(numbers_of(iq, native), wanted)
        expected += len(iq)
    return expected, lost


@pytest.mark.parametrize(
    ("model", "native", "stream_format", "iq_format", "modulus"),
    [
        ("rtl", "CU8", "auto", "cs16", 1 << 16),
        ("rtl", "CU8", "CU8", "cu8", 1 << 16),
        ("airspy_r2", "CS16", "auto", "cs16", 1 << 32),
        ("airspy_r2", "CS16", "CS16", "cs16", 1 << 32),
        ("generic", "CF32", "CF32", "cf32", 1 << 30),
    ],
)
def test_every_sample_arrives_once_in_every_format(
    devices: IqFileDevices, make: Any, model: str, native: str, stream_format: str, iq_format: str, modulus: int
) -> None:
    devices.plug_in("A1", model=model)
    receiver = make(stream_format=stream_format)
    assert receiver.open().iq_format == iq_format
    assert follow(receiver, 5, native, 0, modulus)[1] == 0
    assert not receiver.counts


def test_a_file_is_played_as_it_is(devices: IqFileDevices, make: Any, tmp_path: Path) -> None:
    devices.plug_in("A1", model="rtl")
    stored = np.random.default_rng(1).integers(0, 256, 2 * 30_000, dtype=np.uint8)
    (tmp_path / "air.cu8").write_bytes(stored.tobytes())
    receiver = make(f"pace=0,path={tmp_path / 'air.cu8'}", stream_format="CU8")
    receiver.open()
    _, iq = read(receiver, 12_500)
    expected = ((stored[: 2 * len(iq)].astype(np.float32) - 127.5) / 127.5).view(np.complex64)
    np.testing.assert_array_equal(iq, expected)


@pytest.mark.parametrize("stream_format", ["auto", "CU8"])
def test_overflow_is_counted_and_its_gap_is_exact_and_nothing_restarts(
    devices: IqFileDevices, make: Any, stream_format: str
) -> None:
    devices.plug_in("A1", model="rtl")
    receiver = make(sample_rate_hz=RATE_HZ, stream_format=stream_format)
    receiver.open()
    expected, _ = follow(receiver, 3, "CU8", 0, 1 << 16)
    devices.inject("A1", "OVERFLOW", 12_345)
    _, lost = follow(receiver, 6, "CU8", expected, 1 << 16)
    assert (lost, receiver.overflow_count) == (12_345, 1)
    assert devices.calls().count("activateStream") == 1


def test_loss_inside_a_read_ends_the_reading_there(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    receiver = make("time=1", sample_rate_hz=RATE_HZ)
    receiver.open()
    follow(receiver, 4, "CF32", 0, 1 << 30)
    position, iq = 4 * READ, np.zeros(READ, dtype=np.complex64)
    # The device gives 16384 or 20480 samples at once, so that this loss falls between two of its buffers.
    inner = receiver._device.readStream
    calls = 0

    def lose_at_second(*args: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            devices.inject("A1", "SKIP", 777)
        return inner(*args, **keywords)

    receiver._device.readStream = lose_at_second
    first = receiver.read_into(iq, 0.5)
    assert 0 < first.n_samples < READ
    assert first.lost_samples == 0
    np.testing.assert_array_equal(numbers_of(iq[: first.n_samples], "CF32"), position + np.arange(first.n_samples))
    position += first.n_samples + 777
    held = receiver.read_into(iq[:100], 0.5)
    assert (held.n_samples, held.lost_samples) == (100, 777)
    np.testing.assert_array_equal(numbers_of(iq[:100], "CF32"), position + np.arange(100))
    assert follow(receiver, 4, "CF32", position + 100, 1 << 30)[1] == 0


def test_overflow_without_a_devices_time_is_estimated_by_ours(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    receiver = make("time=0", sample_rate_hz=RATE_HZ)
    receiver.open()
    for _ in range(2):
        read(receiver)
    devices.inject("A1", "OVERFLOW", 100_000)
    lost = sum(read(receiver)[0].lost_samples for _ in range(3))
    # The buffers are 20 ms: that is what the estimate may be off by, and a busy machine makes it larger.
    assert 70_000 < lost < 400_000
    assert receiver.overflow_count == 1


def test_a_late_reader_loses_exactly_what_the_driver_could_not_keep(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1", model="airspy_r2")
    receiver = make("pace=1", sample_rate_hz=10e6)
    receiver.open()
    expected, _ = follow(receiver, 2, "CS16", 0, 1 << 32)
    devices.change("A1", read_delay_ms=200)
    expected, lost = follow(receiver, 1, "CS16", expected, 1 << 32)
    devices.change("A1", read_delay_ms=0)
    _, later = follow(receiver, 5, "CS16", expected, 1 << 32)
    # The driver imitated keeps 0.105 s.
    assert lost + later > 0.09 * 10e6
    assert receiver.overflow_count >= 1


def test_timeout_is_counted_and_harmless(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    receiver = make()
    receiver.open()
    devices.inject("A1", "TIMEOUT")
    assert read(receiver, timeout_s=0.02)[0].n_samples == 0
    assert follow(receiver, 2, "CF32", 0, 1 << 30)[1] == 0
    assert receiver.counts == {"TIMEOUT": 1}


@pytest.mark.parametrize("kind", ["TIME_ERROR", "UNDERFLOW"])
def test_codes_that_lose_nothing_are_counted(devices: IqFileDevices, make: Any, kind: str) -> None:
    devices.plug_in("A1")
    receiver = make()
    receiver.open()
    devices.inject("A1", kind)
    assert follow(receiver, 3, "CF32", 0, 1 << 30)[1] == 0
    assert receiver.counts == {kind: 1}


def test_a_device_whose_time_is_set_has_lost_nothing(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    receiver = make("time=1", sample_rate_hz=RATE_HZ)
    receiver.open()
    expected, _ = follow(receiver, 4, "CF32", 0, 1 << 30)
    inner, step_ns = receiver._device.readStream, 0

    def read_with_other_time(*args: Any, **keywords: Any) -> Any:
        nonlocal step_ns
        result = inner(*args, **keywords)
        if result.ret == StreamCode.TIME_ERROR:
            step_ns = 5_000_000_000
        return SimpleNamespace(ret=result.ret, flags=result.flags, timeNs=result.timeNs + step_ns)

    receiver._device.readStream = read_with_other_time
    devices.inject("A1", "TIME_ERROR")
    expected, lost = follow(receiver, 4, "CF32", expected, 1 << 30)
    assert (lost, receiver.counts) == (0, {"TIME_ERROR": 1})
    # From then on its own time is trusted again, as soon as it has proved exact.
    follow(receiver, 4, "CF32", expected, 1 << 30)
    devices.inject("A1", "SKIP", 777)
    assert sum(read(receiver)[0].lost_samples for _ in range(4)) == 777


@pytest.mark.parametrize("kind", ["STREAM_ERROR", "CORRUPTION", "NOT_SUPPORTED"])
def test_codes_that_end_a_stream_are_named(devices: IqFileDevices, make: Any, kind: str) -> None:
    devices.plug_in("A1")
    receiver = make()
    receiver.open()
    devices.inject("A1", kind)
    with pytest.raises(DeviceError, match=f"iqfile A1: the stream failed: {kind}"):
        read(receiver)
    receiver.close()
    receiver.open()
    assert follow(receiver, 2, "CF32", 0, 1 << 30)[1] == 0


@pytest.mark.parametrize(
    ("gone", "words"), [("error", "STREAM_ERROR"), ("unsupported", "NOT_SUPPORTED"), ("timeout", "silent for")]
)
def test_unplugged_device_fails_in_every_manner_of_drivers(
    devices: IqFileDevices, make: Any, gone: str, words: str
) -> None:
    devices.plug_in("A1")
    receiver = make(silent_after_s=0.05)
    receiver.open()
    read(receiver)
    devices.unplug("A1", gone=gone)

    def failed() -> bool:
        try:
            read(receiver, timeout_s=0.02)
        except DeviceError as error:
            return words in str(error)
        return False

    eventually(failed, "the device fails")
    receiver.close()
    with pytest.raises(DeviceError, match="is it plugged in"):
        receiver.open()


def test_streams_and_devices_are_closed_as_often_as_they_are_opened(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    receiver = make()
    for kind in ("STREAM_ERROR", "CORRUPTION", "OVERFLOW"):
        receiver.open()
        devices.inject("A1", kind, 5)
        with contextlib.suppress(DeviceError):
            read(receiver)
        receiver.close()
        receiver.close()
    with pytest.raises(ConfigError):
        make(gain_db=99).open()
    names = [call.split()[0] for call in devices.calls()]
    assert names.count("make") == names.count("unmake") == 4
    assert names.count("setupStream") == names.count("closeStream") == 3
    assert names.count("activateStream") == names.count("deactivateStream") == 3


def test_tuning_gives_no_sample_from_before(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    receiver: SoapyReceiver = make("time=1", sample_rate_hz=RATE_HZ)
    tunable, gain_control = isinstance(receiver, Tunable), isinstance(receiver, GainControl)
    assert tunable
    assert gain_control
    receiver.open()
    expected, _ = follow(receiver, 2, "CF32", 0, 1 << 30)
    assert receiver.tune(98.1e6).center_frequency_hz == 98.1e6
    assert "setFrequency 98100000.000000" in devices.calls()
    _, lost = follow(receiver, 2, "CF32", expected, 1 << 30)
    assert lost > 0
    with pytest.raises(ConfigError, match="1100000000 Hz is out of the range"):
        receiver.tune(1.1e9)
    with pytest.raises(ConfigError, match="0 to 50 dB"):
        receiver.set_gain(60)
    receiver.set_gain("auto")
    assert devices.calls()[-1] == "setGainMode 1"
    devices.unplug("A1")
    with pytest.raises(DeviceError, match="cannot be tuned"):
        receiver.tune(98.1e6)
    receiver.close()
    with pytest.raises(DeviceError, match="not open"):
        receiver.set_gain(1)


def test_driver_keeps_half_a_second_in_buffers_of_twenty_milliseconds(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1", model="rtl")
    make(sample_rate_hz=2.4e6).open()
    assert "setupStream CF32 buffers=26, bufflen=98304" in devices.calls()


@pytest.mark.parametrize(("model", "args"), [("airspy_r2", ""), ("rtl", "buffers=refuse")])
def test_driver_that_takes_no_buffer_arguments_is_opened_without(
    devices: IqFileDevices, make: Any, model: str, args: str
) -> None:
    devices.plug_in("A1", model=model)
    receiver = make(f"pace=0,{args}")
    receiver.open()
    assert read(receiver)[0].n_samples > 0
    assert [call.strip() for call in devices.calls() if call.startswith("setupStream")] == ["setupStream CF32"]


@pytest.mark.parametrize(("model", "stream_format"), [("generic", "CF32"), ("rtl", "CU8"), ("airspy_r2", "CS16")])
def test_reading_keeps_no_memory(devices: IqFileDevices, make: Any, model: str, stream_format: str) -> None:
    devices.plug_in("A1", model=model)
    receiver = make(stream_format=stream_format)
    receiver.open()
    iq = np.zeros(12_500, dtype=np.complex64)
    for _ in range(5):
        receiver.read_into(iq, 0.5)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(200):
            receiver.read_into(iq, 0.5)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # numpy's buffered cast of CU8 takes a piece of a fixed size; samples of one read would be 100 kB.
    assert peak - before < 50_000
    assert after - before < 4_000


def test_reading_a_closed_device_is_a_device_error(make: Any) -> None:
    with pytest.raises(DeviceError, match="not open"):
        read(make())
