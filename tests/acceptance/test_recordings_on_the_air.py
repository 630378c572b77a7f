"""Recordings and messages, put on the air by the generator, through Redis, out of the audio service."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app_core.alerts.alert import Alert
from app_core.bridge import keys
from app_core.bridge.alert_stream import AlertTail
from app_core.bridge.connection import RedisLink
from app_core.bridge.local_redis import LocalRedis, free_port
from app_core.eas.attention import Attention
from app_core.synth.plan import NWR_FREQUENCIES_HZ, ChannelPlan, Impairments, Recording, ScheduledAlert, StationPlan
from app_core.synth.sigmf_output import write_sigmf
from tests.support.station import Program, herald

pytestmark = pytest.mark.timeout(180)

CN_DB = (30.0, 24.0, 36.0, 20.0)


def station_text(recording: Path) -> str:
    lines = [f'[[receivers]]\nid = "air"\ndriver = "replay"\npath = "{recording}"\nloop = false']
    for number, frequency_hz in enumerate(NWR_FREQUENCIES_HZ, start=1):
        lines.append(f'[[channels]]\nid = "wx{number}"\nreceiver_id = "air"\nfrequency_hz = {frequency_hz:.0f}')
    return "\n".join(lines)


def subscribers(link: RedisLink) -> int:
    return int(link.call(lambda client: client.pubsub_numsub(keys.samples("air")))[0][1])


def wait_for_subscriber(link: RedisLink, audio: Program) -> None:
    from app_core.base.child import wait_until

    assert wait_until(lambda: subscribers(link) > 0 or audio.process.poll() is not None, 30)
    assert audio.process.poll() is None


def alerts_heard(recording: Path, folder: Path) -> list[Alert]:
    """Play a capture through both services and a real Redis, to its end, and give what is in ``eas:alerts``."""
    station = folder / "station.toml"
    station.write_text(station_text(recording), encoding="utf-8")
    redis = LocalRedis(free_port())
    redis.start()
    try:
        redis.wait_ready()
        link = RedisLink(redis.settings, blocking_s=1.0)
        where = {"REDIS_PORT": str(redis.settings.port)}
        with herald("audio", "--config", str(station), folder=folder, **where) as audio:
            wait_for_subscriber(link, audio)
            with herald("sdr", "--config", str(station), folder=folder, **where) as sdr:
                assert sdr.process.wait(90) == 0
            audio.process.terminate()
            assert audio.process.wait(30) == 0
        alerts = [Alert.from_json(payload) for payload in AlertTail(link).read(0.1)]
        link.close()
    finally:
        redis.stop()
        redis.close()
    return alerts


@pytest.mark.skipif("HERALD_CORPUS" not in os.environ, reason="HERALD_CORPUS names no folder of recordings")
def test_every_recording_is_decoded_exactly(tmp_path: Path) -> None:
    corpus = Path(os.environ["HERALD_CORPUS"])
    manifest = json.loads((corpus / "manifest.json").read_text(encoding="utf-8"))
    expected = {header for entry in manifest for header in entry["expected"]}
    channels = tuple(
        ChannelPlan(NWR_FREQUENCIES_HZ[2 * index], cn_db, Recording(corpus / entry["file"], 1.0, looped=False))
        for index, (entry, cn_db) in enumerate(zip(manifest, CN_DB, strict=True))
    )
    impairments = Impairments(frequency_error_ppm=2.0, dc_dbfs=-30.0, iq_gain_db=0.2, iq_phase_deg=1.0)
    duration_s = 3.0 + max(float(entry["seconds"]) for entry in manifest)
    recording, _ = write_sigmf(tmp_path / "air", StationPlan(channels, impairments=impairments), duration_s)
    alerts = alerts_heard(recording, tmp_path)
    assert {alert.header for alert in alerts} == expected
    assert len({alert.alert_id for alert in alerts}) == len(expected)
    for alert in alerts:
        if alert.state == "ended" and alert.recording is not None:
            assert (tmp_path / "alerts" / alert.recording).is_file()


def test_seven_channels_at_once_each_decode_their_own_message(tmp_path: Path) -> None:
    headers = [
        f"ZCZC-WXR-{event}-02909{number}+0030-{datetime.now(UTC):%j%H%M}-KEAX/NWS-"
        for number, event in enumerate(("TOR", "SVR", "FFW", "TOA", "SVA", "FLW", "WSW"), start=1)
    ]
    # The strongest stands beside the weakest, 25 kHz away.
    channels = tuple(
        ChannelPlan(frequency_hz, cn_db)
        for frequency_hz, cn_db in zip(NWR_FREQUENCIES_HZ, (36.0, 14.0, 40.0, 16.0, 40.0, 14.0, 30.0), strict=True)
    )
    alerts = tuple(
        ScheduledAlert(frequency_hz, 1.0, header, attention=Attention.NONE)
        for frequency_hz, header in zip(NWR_FREQUENCIES_HZ, headers, strict=True)
    )
    recording, _ = write_sigmf(tmp_path / "air", StationPlan(channels, alerts), 16.0)
    heard = alerts_heard(recording, tmp_path)
    assert {alert.header for alert in heard} == set(headers)
    assert len({alert.alert_id for alert in heard}) == 7
    assert {alert.header: alert.channels for alert in heard} == {
        header: (f"wx{number}",) for number, header in enumerate(headers, start=1)
    }
