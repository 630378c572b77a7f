"""A SoapySDR device in the hands of the reader and of the SDR program: faults, and what becomes of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from app_core.base.errors import ConfigError
from app_core.radio.device_lock import lock_path
from app_core.radio.reader import Reader
from app_core.radio.receiver import SoapySettings
from app_core.radio.ring_buffer import Anchor
from app_core.radio.soapy_receiver import SoapyReceiver
from app_core.radio.station import make_receiver
from services.sdr_service import with_sdr_args
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer
from tests.support.soapy_module import IqFileDevices, numbers_of, use_devices
from tests.support.station import herald

RATE_HZ = 2.4e6
REDIS_WAIT_S = 30.0


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IqFileDevices:
    plugged = IqFileDevices(tmp_path)
    use_devices(plugged, monkeypatch)
    return plugged


@pytest.fixture
def start(tmp_path: Path, devices: IqFileDevices) -> Iterator[Callable[..., Reader]]:
    """Start readers that are stopped at the end."""
    with ExitStack() as stack:

        def start_one(serial: str, args: str = "time=1", **changes: object) -> Reader:
            table = {"id": serial, "driver": "soapy", "args": f"driver=iqfile,{args}", "serial": serial}
            settings = SoapySettings.model_validate({**table, "sample_rate_hz": RATE_HZ, **changes})
            receiver = SoapyReceiver(settings, silent_after_s=0.3, lock_folder=tmp_path)
            return stack.enter_context(Reader(settings, receiver))

        yield start_one


class Follower:
    """Takes what a reader's ring holds, and checks that each sample is the one that its anchor says.

    The counter begins anew whenever the device is opened, so it is held to the first sample after each new epoch.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._offset = 0
        self._position = 0
        self._anchor: Anchor | None = None
        self.epochs: list[int] = []
        self.n_samples = 0

    def take(self) -> None:
        """Take everything that is there."""
        ring = self._reader.ring
        while ring is not None and ring.readable:
            anchor = ring.anchor_at_read()
            assert anchor is not None
            iq = ring.read_view(1_000_000)
            numbers = numbers_of(iq, "CF32")
            if anchor is not self._anchor:
                if self._anchor is None or anchor.config_epoch != self._anchor.config_epoch:
                    self.epochs.append(anchor.config_epoch)
                    self._offset = int(numbers[0]) - anchor.first_sample
                self._position, self._anchor = anchor.first_sample, anchor
            wanted = (self._position + self._offset + np.arange(len(iq))) % (1 << 30)
            np.testing.assert_array_equal(numbers, wanted)
            self._position += len(iq)
            self.n_samples += len(iq)
            ring.release(len(iq))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Take until `condition` holds."""

        def taken() -> bool:
            self.take()
            return condition()

        eventually(taken, what)


def test_no_sample_is_lost_or_doubled_in_real_time(devices: IqFileDevices, start: Callable[..., Reader]) -> None:
    devices.plug_in("A1")
    reader = start("A1")
    follower = Follower(reader)
    follower.until(lambda: follower.n_samples > 0, "samples")
    begun_s, before = time.monotonic(), follower.n_samples
    follower.until(lambda: follower.n_samples > 1.5 * RATE_HZ, "a second and a half of samples")
    elapsed_s = time.monotonic() - begun_s
    assert (follower.n_samples - before) / elapsed_s == pytest.approx(RATE_HZ, rel=0.15)
    assert (reader.lost_samples, reader.timeout_count, reader.reopen_count) == (0, 0, 0)


def test_overflow_is_a_gap_and_no_restart(devices: IqFileDevices, start: Callable[..., Reader]) -> None:
    devices.plug_in("A1")
    reader = start("A1")
    follower = Follower(reader)
    follower.until(lambda: follower.n_samples > RATE_HZ / 2, "samples")
    devices.inject("A1", "OVERFLOW", 54_321)
    follower.until(lambda: reader.lost_samples > 0, "the loss")
    before = follower.n_samples
    follower.until(lambda: follower.n_samples > before + RATE_HZ / 10, "samples after the loss")
    assert (reader.lost_samples, reader.reopen_count, len(follower.epochs)) == (54_321, 0, 1)
    assert (reader.gap_count, reader.stream_errors.get("OVERFLOW")) == (1, 1)
    assert [call.split()[0] for call in devices.calls()].count("setupStream") == 1


@pytest.mark.parametrize("gone", ["error", "timeout", "unsupported"])
def test_unplugged_device_is_found_again_with_its_settings(
    devices: IqFileDevices, start: Callable[..., Reader], gone: str
) -> None:
    devices.plug_in("A1")
    devices.plug_in("B2")
    reader = start("A1", gain_db=11, center_frequency_hz=162.4e6)
    follower = Follower(reader)
    follower.until(lambda: follower.n_samples > 0, "samples")
    devices.unplug("A1", gone=gone)
    follower.until(lambda: "serial A1; there are: B2" in reader.last_error, "the reader misses the device")
    before = len(devices.calls())
    devices.plug_in("A1")
    follower.until(lambda: len(follower.epochs) == 2, "samples of the device that came back")
    assert devices.calls()[before:][0] == "make A1"
    assert "setGain LNA 11.000000" in devices.calls()[before:]
    assert "setFrequency 162400000.000000" in devices.calls()[before:]
    assert reader.lost_samples > 0
    assert reader.last_error == ""
    assert follower.epochs[1] > follower.epochs[0]


@pytest.mark.parametrize("kind", ["STREAM_ERROR", "CORRUPTION", "NOT_SUPPORTED"])
def test_failed_stream_is_opened_again(devices: IqFileDevices, start: Callable[..., Reader], kind: str) -> None:
    devices.plug_in("A1")
    reader = start("A1")
    follower = Follower(reader)
    follower.until(lambda: follower.n_samples > 0, "samples")
    devices.inject("A1", kind)
    follower.until(lambda: len(follower.epochs) == 2, "samples after the failure")
    names = [call.split()[0] for call in devices.calls()]
    assert names.count("setupStream") == 2
    assert names.count("closeStream") == names.count("unmake") == 1


def test_receiver_that_cannot_find_its_device_leaves_the_others_alone(
    devices: IqFileDevices, start: Callable[..., Reader]
) -> None:
    devices.plug_in("A1")
    devices.plug_in("B2")
    failing, healthy = start("A1"), start("B2")
    follower = Follower(healthy)
    follower.until(lambda: failing.tuning is not None and follower.n_samples > 0, "both run")
    devices.unplug("A1")
    devices.enumeration("400")
    before = follower.n_samples
    follower.until(lambda: failing.reopen_count >= 2, "attempts that take long")
    devices.enumeration("throw")
    follower.until(lambda: failing.reopen_count >= 4, "attempts that fail")
    assert follower.n_samples > before
    assert (healthy.lost_samples, healthy.reopen_count) == (0, 0)


def test_device_that_was_busy_is_opened_when_it_is_free(devices: IqFileDevices, start: Callable[..., Reader]) -> None:
    devices.plug_in("A1", open="busy")
    reader = start("A1")
    eventually(lambda: "busy" in reader.last_error, "the reader says that the device is busy")
    devices.change("A1", open="ok")
    eventually(lambda: reader.last_sample_s is not None, "samples")


def test_station_makes_the_receiver_of_its_table() -> None:
    settings = SoapySettings.model_validate({"id": "rx", "driver": "soapy", "args": "driver=rtlsdr"})
    assert isinstance(make_receiver(settings), SoapyReceiver)


@pytest.mark.parametrize(
    ("tables", "sdr_args", "expected"),
    [
        ([], "driver=airspy", [{"id": "sdr0", "driver": "soapy", "args": "driver=airspy"}]),
        (
            [{"id": "a", "driver": "rtl_tcp"}],
            "driver=x",
            [{"id": "a", "driver": "rtl_tcp"}, {"id": "sdr0", "driver": "soapy", "args": "driver=x"}],
        ),
        (
            [{"id": "a", "driver": "soapy", "args": "driver=rtlsdr", "serial": "1", "gain_db": 3}],
            "driver=rtlsdr,serial=2",
            [{"id": "a", "driver": "soapy", "args": "driver=rtlsdr,serial=2", "gain_db": 3}],
        ),
        (
            [{"id": "a", "driver": "soapy", "args": "driver=rtlsdr", "serial": "1"}],
            "driver=rtlsdr,direct_samp=2",
            [{"id": "a", "driver": "soapy", "args": "driver=rtlsdr,direct_samp=2", "serial": "1"}],
        ),
    ],
)
def test_sdr_args_is_a_receiver_or_changes_the_one_there_is(
    tables: list[dict[str, Any]], sdr_args: str, expected: list[dict[str, Any]]
) -> None:
    assert with_sdr_args(tables, sdr_args) == expected


def test_sdr_args_that_says_nothing_or_too_little_is_refused() -> None:
    soapy = {"driver": "soapy", "args": "driver=rtlsdr"}
    with pytest.raises(ConfigError, match="SDR_ARGS=airspy: 'airspy' is not NAME=VALUE"):
        with_sdr_args([], "airspy")
    with pytest.raises(ConfigError, match="any of 2 SoapySDR receivers"):
        with_sdr_args([{"id": "a", **soapy}, {"id": "b", **soapy}], "driver=airspy")


def test_sdr_program_runs_the_device_of_the_environment_and_finds_it_again(
    devices: IqFileDevices, redis_server: RedisServer, tmp_path: Path
) -> None:
    serial = f"SVC{os.getpid()}"
    devices.plug_in(serial, model="rtl")

    def receiver() -> dict[str, Any]:
        metrics = redis_server.cli("GET", "sdr:metrics")
        found: dict[str, Any] = orjson.loads(metrics)["receivers"]["sdr0"] if metrics else {}
        return found

    def wait(condition: Callable[[dict[str, Any]], bool], what: str) -> None:
        eventually(lambda: condition(receiver()), what, REDIS_WAIT_S)

    environment = {"SDR_ARGS": "driver=iqfile", "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(redis_server.port)}
    with herald("sdr", folder=tmp_path, **environment, **devices.environment()) as program:
        wait(lambda found: bool(found.get("running")), "the receiver runs")
        assert receiver()["sample_rate"] == 250_000
        assert receiver()["driver"] == "soapy"
        devices.unplug(serial)
        wait(lambda found: not found["running"] and "is it plugged in" in found["error"], "the loss is said")
        devices.plug_in(serial)
        wait(lambda found: bool(found["running"]), "the receiver runs again")
        assert receiver()["lost_samples"] > 0
        assert program.interrupt() == 0
    assert devices.calls()[-1] == f"unmake {serial}"
    lock_path(f"iqfile {serial}").unlink()


def test_reader_gives_up_on_an_illegal_rate_and_names_the_legal_ones(
    devices: IqFileDevices, start: Callable[..., Reader]
) -> None:
    devices.plug_in("A1", model="airspy_r2")
    reader = start("A1", sample_rate_hz=2.4e6)
    eventually(lambda: reader.failure is not None, "the reader gives up")
    assert "legal are 2500000, 10000000" in str(reader.failure)
