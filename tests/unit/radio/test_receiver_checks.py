"""The checks of configured receivers, with the devices of a driver that does what a test says."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from app_core.base.finding import Finding, Verdict
from app_core.bridge.local_redis import free_port
from app_core.radio import soapy
from app_core.radio.device_lock import holder_of
from app_core.radio.receiver import AnyReceiverSettings, SoapySettings
from app_core.radio.receiver_checks import check_receiver, check_soapy, receiver_findings
from app_core.radio.soapy_receiver import SoapyReceiver
from tests.support.soapy_module import IqFileDevices, use_devices


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IqFileDevices:
    plugged = IqFileDevices(tmp_path)
    use_devices(plugged, monkeypatch)
    monkeypatch.setattr("app_core.radio.device_lock.lock_folder", lambda: tmp_path)
    return plugged


def settings(driver: str = "soapy", **words: object) -> AnyReceiverSettings:
    table = {"id": "rx", "driver": driver, **({"args": "driver=iqfile"} if driver == "soapy" else {}), **words}
    made: AnyReceiverSettings = TypeAdapter[AnyReceiverSettings](AnyReceiverSettings).validate_python(table)
    return made


def check(**words: object) -> Finding:
    return check_receiver(settings(**words))  # type: ignore[arg-type]


def test_a_free_device_is_asked_for_its_rates(devices: IqFileDevices) -> None:
    devices.plug_in("D-A1", model="airspy_r2")
    finding = check(sample_rate_hz=2.5e6, center_frequency_hz=162.5e6)
    assert finding.verdict is Verdict.OK
    assert finding.seen == "iqfile D-A1 takes 2500000 S/s; legal are 2500000, 10000000"
    assert devices.calls()[-1] == "unmake D-A1"
    assert holder_of("iqfile D-A1") is None


def test_a_rate_that_the_device_has_not_is_a_failure_with_the_list(devices: IqFileDevices) -> None:
    devices.plug_in("D-A2", model="airspy_r2")
    finding = check(sample_rate_hz=2.4e6)
    assert finding.verdict is Verdict.FAILURE
    assert "legal are 2500000, 10000000" in finding.seen
    assert "herald config check" in finding.remedy


def test_a_device_in_use_is_left_alone(devices: IqFileDevices) -> None:
    devices.plug_in("D-C3")
    made = settings()
    assert isinstance(made, SoapySettings)
    receiver = SoapyReceiver(made)
    receiver.open()
    try:
        finding = check_receiver(made)
    finally:
        receiver.close()
    assert finding.verdict is Verdict.OK
    assert f"is in use by process {os.getpid()}" in finding.seen
    assert devices.calls().count("make D-C3") == 1


def test_a_device_that_cannot_be_opened_or_is_not_there_is_a_failure(devices: IqFileDevices) -> None:
    assert check().verdict is Verdict.FAILURE
    devices.plug_in("D-B2", open="busy")
    assert "usb_claim_interface" in check().seen
    finding = check(serial="OTHER")
    assert finding.seen == "no iqfile device with serial OTHER is there; there is: D-B2"
    assert finding.verdict is Verdict.FAILURE


def test_a_serial_is_the_same_with_0x_in_front(devices: IqFileDevices) -> None:
    devices.plug_in("644064DC2F4B", model="airspy_r2")
    assert check(serial="0x644064dc2f4b").verdict is Verdict.OK


def test_the_drivers_of_soapysdr_are_listed(devices: IqFileDevices) -> None:
    assert "iqfile" in check_soapy([settings()]).seen
    finding = check_soapy([settings(args="driver=hackrf")])
    if "hackrf" not in finding.seen.partition("; ")[0]:
        assert (finding.verdict, finding.remedy) == (Verdict.FAILURE, "sudo apt-get install soapysdr-module-hackrf")
    assert check_receiver(settings(args="driver=nothing")).remedy == "sudo apt-get install soapysdr-module-all"


def test_without_soapysdr_only_its_receivers_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> object:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(soapy.importlib, "import_module", refuse)  # type: ignore[attr-defined]
    assert check_soapy([]).verdict is Verdict.NOT_APPLICABLE
    findings = receiver_findings([settings(args="driver=rtlsdr")])
    assert {finding.verdict for finding in findings} == {Verdict.FAILURE}
    assert {finding.remedy for finding in findings} == {"sudo apt-get install python3-soapysdr soapysdr-module-rtlsdr"}


def test_an_rtl_tcp_is_knocked_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert check(driver="rtl_tcp", port=port).verdict is Verdict.OK
    port = free_port()
    finding = check(driver="rtl_tcp", port=port)
    assert finding.verdict is Verdict.FAILURE
    assert finding.remedy == f"rtl_tcp -a 127.0.0.1 -p {port} -s 250000 -f 162487500 &"


def test_a_recording_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "night.sigmf-meta"
    assert check(driver="replay", path=path).verdict is Verdict.FAILURE
    path.touch()
    assert check(driver="replay", path=path).verdict is Verdict.OK


def test_no_receiver_is_no_fault() -> None:
    assert receiver_findings([])[-1].verdict is Verdict.NOT_APPLICABLE
