"""The decode job compiles before the stream opens: nothing is left to do in the first block."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services import decode_service
from services.settings import load

ROOT = Path(__file__).resolve().parents[3]

WATCHED = """
import pkgutil, importlib, sys
import numpy as np
from numba.core.dispatcher import Dispatcher
import app_core.dsp
from app_core.audio.alert_monitor import AlertMonitor
from app_core.base.blocks import IqBlock
from app_core.bridge.pcm_frame import encode_pcm
from app_core.demod.channel import ChannelBank, ChannelConfig
from services.warm_up import warm_channels

def compiled():
    modules = [m.name for m in pkgutil.iter_modules(app_core.dsp.__path__) if "kernels" in m.name]
    loaded = [importlib.import_module("app_core.dsp." + name) for name in modules]
    return {
        (module.__name__, name): len(value.signatures)
        for module in loaded
        for name, value in vars(module).items()
        if isinstance(value, Dispatcher)
    }

class Keeper:
    def end_channel(self, channel_id): pass
    def on_pcm(self, channel_id, block): pass
    def on_events(self, channel_id, receiver_id, events, to_utc): pass

rate_hz = float(sys.argv[1])
modes = [{}, {"squelch": {"mode": "snr"}}, {"mode": "am"}, {"mode": "usb"}]
configs = [
    ChannelConfig.model_validate({"id": str(n), "receiver_id": "rx", "frequency_hz": 162.45e6 + 25e3 * n} | mode)
    for n, mode in enumerate(modes[: int(sys.argv[2])])
]
table = {"id": "rx", "sample_rate_hz": rate_hz, "center_frequency_hz": 162_487_500}
warm_channels(configs, [table])
before = compiled()
bank = ChannelBank(configs, listen=True)
monitors = {config.id: AlertMonitor(config.id, "rx", Keeper(), None) for config in configs}
iq = np.random.default_rng(1).standard_normal((2, 32_768)).astype(np.float32)
iq = (iq[0] + 1j * iq[1]).astype(np.complex64)
for number in range(30):
    for channel_id, pcm in bank.push(IqBlock(iq, rate_hz, 162_487_500.0, number * 32_768, 0.0, 1)):
        monitors[channel_id].push(pcm)
        encode_pcm(pcm)
    bank.take_listening()
bank.levels()
assert sum(before.values()) > 5
late = {name: count - before[name] for name, count in compiled().items() if count != before[name]}
assert not late, late
"""


@pytest.mark.parametrize(("rate_hz", "n_channels"), [(250_000, 4), (2_400_000, 1)])
def test_what_the_first_blocks_need_is_compiled_before_they_come(rate_hz: int, n_channels: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(rate_hz), str(n_channels)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


STATION = """
[[receivers]]
id = "rx"
driver = "rtl_tcp"
sample_rate_hz = 250000
center_frequency_hz = 162487500
[[channels]]
id = "wx7"
receiver_id = "rx"
frequency_hz = 162550000
"""


def test_the_decode_job_compiles_for_its_own_channels_before_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERALD_DATA_DIR", str(tmp_path))
    station = tmp_path / "station.toml"
    station.write_text(STATION, encoding="utf-8")
    service = decode_service.DecodeService(load(station))
    begun: list[Any] = []
    monkeypatch.setattr(decode_service, "warm_channels", lambda *arguments: begun.append(arguments))
    monkeypatch.setattr(service._job, "start", lambda: begun.append("job"))
    service.start()
    service.stop()
    (channels, receivers), job = begun
    assert [channel.id for channel in channels] == ["wx7"]
    assert receivers[0]["sample_rate_hz"] == 250_000
    assert job == "job"
