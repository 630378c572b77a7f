"""SoapySDR devices found, opened and set, through the real library and a driver that does what a test says."""

from __future__ import annotations

import atexit
import gc
import importlib
import logging
import os
import sys
import threading
import time
from typing import Any

import pytest

from app_core.base.errors import ConfigError, DeviceError
from app_core.radio import soapy
from app_core.radio.receiver import SoapySettings, parse_device_args
from app_core.radio.soapy import StreamCode, enumerate_devices
from tests.support.soapy_module import IqFileDevices


def test_error_codes_are_the_librarys(devices: IqFileDevices) -> None:
    binding = importlib.import_module("SoapySDR")
    names = ["TIMEOUT", "STREAM_ERROR", "CORRUPTION", "OVERFLOW", "NOT_SUPPORTED", "TIME_ERROR", "UNDERFLOW"]
    assert [code.name for code in StreamCode] == names
    for code in StreamCode:
        assert int(code) == getattr(binding, f"SOAPY_SDR_{code.name}")
        assert soapy.code_name(code) == binding.errToStr(int(code))
    assert (binding.SOAPY_SDR_RX, binding.SOAPY_SDR_HAS_TIME) == (soapy.RX, soapy.HAS_TIME)
    assert soapy.code_name(-99) == "error -99"


def test_missing_binding_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SoapySDR", None)
    with pytest.raises(ConfigError, match="apt-get install python3-soapysdr soapysdr-module-airspy"):
        enumerate_devices({"driver": "airspy"})


class _Binding:
    """What matters of the binding: freeing a handler puts the default back, whatever was registered since."""

    def __init__(self) -> None:
        self._SoapySDR_globalLogHandlers: list[object] = [None]
        self.registered_count = 0
        self.is_default = True

    def registerLogHandler(self, callback: object) -> None:  # noqa: N802 - the binding's name
        handler = None if callback is None else _Handler(self)
        if handler is not None:
            self.registered_count += 1
            self.is_default = False
            time.sleep(0.02)  # the library works, and other threads run
        self._SoapySDR_globalLogHandlers[0] = handler


class _Handler:
    def __init__(self, binding: _Binding) -> None:
        self._binding = binding

    def __del__(self) -> None:
        self._binding.is_default = True


def test_two_readers_that_begin_at_once_keep_the_drivers_log(monkeypatch: pytest.MonkeyPatch) -> None:
    binding, at_exit = _Binding(), []
    monkeypatch.setitem(sys.modules, "SoapySDR", binding)
    monkeypatch.setattr(soapy, "_log_handlers", [])
    monkeypatch.setattr(atexit, "register", lambda *call: at_exit.append(call))
    begin = threading.Barrier(8)

    def load() -> None:
        begin.wait()
        soapy.load_binding()

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (binding.registered_count, binding.is_default, len(at_exit)) == (1, False, 1)
    # Ours lives whatever becomes of the binding's own reference, and goes when the program ends.
    binding._SoapySDR_globalLogHandlers[0] = None
    gc.collect()
    assert not binding.is_default
    function, *arguments = at_exit[0]
    function(*arguments)
    gc.collect()
    assert binding.is_default


def test_missing_driver_is_no_missing_device(devices: IqFileDevices) -> None:
    with pytest.raises(
        ConfigError, match=r"no driver 'rtlsdr'; it has .*iqfile.*apt-get install soapysdr-module-rtlsdr"
    ):
        enumerate_devices({"driver": "rtlsdr"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("airspy", "NAME=VALUE"),
        ("serial=1", "driver is missing"),
        ("driver=a,driver=b", "twice"),
        ("", "driver is missing"),
    ],
)
def test_malformed_args_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_device_args(text)


def test_settings_that_say_two_things_are_refused() -> None:
    table = {"id": "rx", "driver": "soapy", "args": "driver=rtlsdr,serial=1"}
    with pytest.raises(ValueError, match="serial"):
        SoapySettings.model_validate({**table, "serial": "2"})
    with pytest.raises(ValueError, match="exclude"):
        SoapySettings.model_validate({**table, "gain_db": 1, "gains_db": {"LNA": 2}})


def test_opens_by_serial_in_whatever_case(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("a1")
    devices.plug_in("b2")
    receiver = make(serial="0xB2")
    receiver.open()
    assert receiver.limits.serial == "b2"
    assert "make b2" in devices.calls()


def test_absent_serial_names_those_that_are_there(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    with pytest.raises(DeviceError, match="no iqfile device with serial B2; there are: A1"):
        make(serial="B2").open()


def test_absent_device_is_a_device_error(make: Any) -> None:
    with pytest.raises(DeviceError, match="no iqfile device is there; is it plugged in"):
        make().open()


def test_device_that_refuses_its_serial_is_opened_without_with_a_warning(
    devices: IqFileDevices, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    devices.plug_in("A1", serial_hidden=1)
    make(serial="A1").open()
    assert "cannot be opened by its serial number" in caplog.text
    assert "make A1" in devices.calls()


def test_serial_is_not_ignored_when_there_are_several_devices(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1", serial_hidden=1)
    devices.plug_in("B2", serial_hidden=1)
    with pytest.raises(DeviceError, match="no iqfile device with serial B2"):
        make(serial="B2").open()


def test_enumeration_that_throws_is_a_device_error_in_our_log(
    devices: IqFileDevices, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    devices.plug_in("A1")
    devices.enumeration("throw")
    with pytest.raises(DeviceError, match="no iqfile device"):
        make().open()
    assert ("SoapySDR", logging.ERROR) in [(record.name, record.levelno) for record in caplog.records]


def test_busy_device_is_a_device_error(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1", open="busy")
    receiver = make()
    with pytest.raises(DeviceError, match=r"A1 cannot be opened: .*busy"):
        receiver.open()
    devices.change("A1", open="ok")
    receiver.open()


@pytest.mark.parametrize(
    ("model", "rate_hz", "legal"),
    [
        ("airspy_r2", 2.4e6, "2500000, 10000000"),
        ("airspy_mini", 2.5e6, "3000000, 6000000"),
        ("rtl", 500e3, "225001 to 300000, 900001 to 3200000"),
        ("generic", 2.0e6, "250000, 1000000, 2400000, 2500000, 10000000"),
    ],
)
@pytest.mark.parametrize("manner", ["throw", "snap"])
def test_illegal_rate_is_refused_with_the_legal_ones(
    devices: IqFileDevices, make: Any, model: str, rate_hz: float, legal: str, manner: str
) -> None:
    devices.plug_in("A1", model=model)
    with pytest.raises(ConfigError, match=f"not a rate of iqfile A1; legal are {legal}"):
        make(f"rates={manner}", sample_rate_hz=rate_hz).open()
    assert not [call for call in devices.calls() if call.startswith("setSampleRate")]


def test_rate_that_the_device_does_not_keep_is_refused(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    with pytest.raises(ConfigError, match="took 900000 S/s instead of sample_rate_hz = 1000000"):
        make("rates=off", sample_rate_hz=1e6).open()


@pytest.mark.parametrize(("model", "rate_hz"), [("generic", 250e3), ("rtl", 250e3), ("airspy_r2", 2.5e6)])
def test_without_a_rate_the_lowest_that_holds_the_band_is_taken(
    devices: IqFileDevices, make: Any, model: str, rate_hz: float
) -> None:
    devices.plug_in("A1", model=model)
    assert make().open().sample_rate_hz == rate_hz


@pytest.mark.parametrize(
    ("model", "changes", "problem"),
    [
        ("plain", {}, "lists no sample rates: set sample_rate_hz"),
        ("plain", {"sample_rate_hz": 1e6, "gain_db": "auto"}, "no automatic gain; set gain_db: 0 to 50 dB"),
        ("plain", {"sample_rate_hz": 1e6, "frequency_correction_ppm": 1}, "no frequency correction"),
        ("plain", {"sample_rate_hz": 1e6, "bias_tee": True}, "no bias tee"),
        ("generic", {"gain_db": 51.0}, "out of the range of iqfile A1: 0 to 50 dB"),
        ("generic", {"gains_db": {"IF": 1.0}}, r"gains_db.IF is none of iqfile A1; legal are LNA, VGA"),
        ("generic", {"gains_db": {"LNA": 31.0}}, r"gains_db.LNA = 31 is out of the range of iqfile A1: 0 to 30 dB"),
        ("generic", {"antenna": "RX3"}, "legal are RX1, RX2"),
        ("generic", {"bandwidth_hz": 3e6}, "legal are 200000, 1500000, 8000000"),
        ("generic", {"center_frequency_hz": 1.1e9}, "100000 to 1000000000, 1200000000 to 6000000000 Hz"),
        ("generic", {"device_settings": {"bias": 1}}, "device_settings.bias is none of iqfile A1; legal are biastee"),
        ("rtl", {"stream_format": "CS16"}, "legal are auto, CF32, CU8"),
        ("rtl", {"bandwidth_hz": 3e6}, "legal are none"),
    ],
)
def test_what_the_device_cannot_do_is_refused_with_what_it_can(
    devices: IqFileDevices, make: Any, model: str, changes: dict[str, object], problem: str
) -> None:
    devices.plug_in("A1", model=model)
    receiver = make(**changes)
    with pytest.raises(ConfigError, match=problem):
        receiver.open()
    assert devices.calls()[-1] == "unmake A1"


def test_every_setting_reaches_the_device(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    receiver = make(
        sample_rate_hz=2.4e6,
        center_frequency_hz=162.4e6,
        gains_db={"VGA": 7},
        antenna="RX2",
        bandwidth_hz=1.5e6,
        frequency_correction_ppm=-2.5,
        bias_tee=True,
        device_settings={"notch": True, "bitpack": 3},
    )
    tuning = receiver.open()
    assert (tuning.sample_rate_hz, tuning.center_frequency_hz) == (2.4e6, 162.4e6)
    assert set(devices.calls()) >= {
        "setSampleRate 2400000.000000",
        "setFrequency 162400000.000000",
        "setGainMode 0",
        "setGain VGA 7.000000",
        "setAntenna RX2",
        "setBandwidth 1500000.000000",
        "setFrequencyCorrection -2.500000",
        "writeSetting biastee true",
        "writeSetting notch true",
        "writeSetting bitpack 3",
    }


@pytest.mark.parametrize(
    ("gain", "calls"), [(None, ["setGainMode 1"]), ("auto", ["setGainMode 1"]), (12, ["setGainMode 0"])]
)
def test_gain_mode_follows_the_gain(devices: IqFileDevices, make: Any, gain: object, calls: list[str]) -> None:
    devices.plug_in("A1", model="rtl")
    make(gain_db=gain).open()
    assert [call for call in devices.calls() if call.startswith("setGainMode")] == calls
    assert ("setGain TUNER 12.000000" in devices.calls()) == (gain == 12)


def test_bias_tee_is_switched_off_where_there_is_one_and_left_alone_unasked(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    devices.plug_in("B2", model="plain")
    make(serial="A1", bias_tee=False).open()
    make(serial="B2", sample_rate_hz=1e6, bias_tee=False).open()
    assert [call for call in devices.calls() if "biastee" in call] == ["writeSetting biastee false"]


def test_reopening_looks_for_the_same_device_with_the_same_settings(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    receiver = make(center_frequency_hz=150e6)
    receiver.open()
    receiver.tune(160e6)
    receiver.set_gain(17)
    devices.unplug("A1")
    devices.plug_in("B2")
    receiver.close()
    with pytest.raises(DeviceError, match="serial A1; there are: B2"):
        receiver.open()
    devices.plug_in("A1")
    before = len(devices.calls())
    assert receiver.open().center_frequency_hz == 160e6
    assert "make A1" in devices.calls()[before:]
    assert "setGain LNA 17.000000" in devices.calls()[before:]


def test_a_second_owner_is_told_who_holds_the_device(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    first, second = make(), make()
    first.open()
    with pytest.raises(DeviceError, match=rf"iqfile A1 is in use by process {os.getpid()} \("):
        second.open()
    devices.unplug("A1")
    with pytest.raises(DeviceError, match="no iqfile device"):
        second.open()
    devices.plug_in("A1")
    first.close()
    second.open()


def test_a_device_that_drivers_hide_while_it_is_open_elsewhere_is_said_to_be_in_use(
    devices: IqFileDevices, make: Any
) -> None:
    devices.plug_in("A1")
    make().open()
    devices.unplug("A1")
    with pytest.raises(DeviceError, match=f"is free; it is in use by process {os.getpid()}"):
        make(serial="A1").open()


def test_two_receivers_without_serial_take_a_device_each(devices: IqFileDevices, make: Any) -> None:
    devices.plug_in("A1")
    devices.plug_in("B2")
    first, second = make(), make()
    first.open()
    second.open()
    assert {first.limits.serial, second.limits.serial} == {"A1", "B2"}
