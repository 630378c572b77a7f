"""``herald devices``, with the devices of a driver that does what a test says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app_core.radio.receiver import SoapySettings
from app_core.radio.soapy_receiver import SoapyReceiver
from services.devices_command import main as devices_main
from tests.support.soapy_module import IqFileDevices, use_devices


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IqFileDevices:
    plugged = IqFileDevices(tmp_path)
    use_devices(plugged, monkeypatch)
    monkeypatch.setattr("app_core.radio.device_lock.lock_folder", lambda: tmp_path)
    return plugged


def test_devices_command_lists_what_each_can_do(devices: IqFileDevices, capsys: pytest.CaptureFixture[str]) -> None:
    devices.plug_in("T-A1", model="airspy_r2")
    devices.plug_in("T-B2", open="busy")
    assert devices_main(["--driver", "iqfile"]) == 0
    text = capsys.readouterr().out
    assert 'args = "driver=iqfile,serial=T-A1"' in text
    assert "2500000, 10000000" in text
    assert "LNA 0 to 15; MIX 0 to 15; VGA 0 to 15" in text
    assert "usb_claim_interface" in text


def test_devices_command_leaves_a_device_in_use_alone(
    devices: IqFileDevices, capsys: pytest.CaptureFixture[str]
) -> None:
    devices.plug_in("T-C3")
    table = {"id": "rx", "driver": "soapy", "args": "driver=iqfile"}
    receiver = SoapyReceiver(SoapySettings.model_validate(table))
    receiver.open()
    try:
        assert devices_main(["--json"]) == 0
    finally:
        receiver.close()
    assert f'"in_use_by": "process {os.getpid()} (' in capsys.readouterr().out
    assert devices.calls().count("make T-C3") == 1


def test_devices_command_says_when_there_is_none_or_no_driver(
    devices: IqFileDevices, capsys: pytest.CaptureFixture[str]
) -> None:
    assert devices_main([]) == 0
    assert "no SoapySDR device is there" in capsys.readouterr().out
    assert devices_main(["--driver", "rtlsdr"]) == 78
    assert "apt-get install soapysdr-module-rtlsdr" in capsys.readouterr().err
