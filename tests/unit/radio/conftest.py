"""Fixtures of the tests of receivers: SoapySDR devices that are plugged in, and receivers for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app_core.radio.receiver import SoapySettings
from app_core.radio.soapy_receiver import SoapyReceiver
from tests.support.soapy_module import IqFileDevices, use_devices


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IqFileDevices:
    plugged = IqFileDevices(tmp_path)
    use_devices(plugged, monkeypatch)
    return plugged


@pytest.fixture
def make(tmp_path: Path, devices: IqFileDevices, request: pytest.FixtureRequest) -> Any:
    """Make receivers that are closed at the end; unpaced, unless `args` says otherwise."""

    def make_one(args: str = "pace=0", *, silent_after_s: float = 2.0, **changes: object) -> SoapyReceiver:
        table = {"id": "rx", "driver": "soapy", "args": f"driver=iqfile,{args}", **changes}
        receiver = SoapyReceiver(
            SoapySettings.model_validate(table), silent_after_s=silent_after_s, lock_folder=tmp_path
        )
        request.addfinalizer(receiver.close)
        return receiver

    return make_one
