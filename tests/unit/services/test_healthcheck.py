"""What the health check says of a station, read from a Redis."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app_core.bridge import keys
from app_core.bridge.messages import AudioMetricsMessage
from services.healthcheck import main
from tests.support.redis_server import RedisServer

UNHEARD = {"out_of_band": True, "misfit": "118.3000 MHz lies outside", "last_pcm_age_s": None}


@pytest.mark.parametrize("is_other_heard", [True, False])
def test_a_channel_that_no_capture_holds_is_a_warning_while_another_is_heard(
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    is_other_heard: bool,
) -> None:
    monkeypatch.setenv("REDIS_HOST", redis_server.settings.host)
    monkeypatch.setenv("REDIS_PORT", str(redis_server.settings.port))
    for name in ("CONFIG_PATH", "REDIS_URL", "REDIS_DB", "HERALD_STATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(logging, "disable", lambda _: None)
    channels = {"far": UNHEARD} | ({"wx7": {"last_pcm_age_s": 0.1}} if is_other_heard else {})
    message = AudioMetricsMessage(timestamp=1.0, pid=1, receivers={}, channels=channels)
    link = redis_server.link()
    link.client.set(keys.AUDIO_METRICS, message.to_json(), ex=keys.METRICS_TTL_S)
    link.close()
    code, words = main(["audio"]), capsys.readouterr().out
    if is_other_heard:
        assert code == 0
        assert "warning: channel far is not heard: 118.3000 MHz lies outside\n" in words
    else:
        assert code == 1
        assert words.startswith("unhealthy: channel: far: 118.3000 MHz lies outside\n")


def test_a_stream_job_that_is_down_is_a_warning(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_HOST", redis_server.settings.host)
    monkeypatch.setenv("REDIS_PORT", str(redis_server.settings.port))
    for name in ("CONFIG_PATH", "REDIS_URL", "REDIS_DB", "HERALD_STATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(logging, "disable", lambda _: None)
    station = tmp_path / "station.toml"
    station.write_text("[web_audio]\n", encoding="utf-8")
    message = AudioMetricsMessage(timestamp=1.0, pid=1, receivers={}, channels={"wx7": {"last_pcm_age_s": 0.1}})
    link = redis_server.link()
    link.client.set(keys.AUDIO_METRICS, message.to_json(), ex=keys.METRICS_TTL_S)
    link.close()
    assert main(["audio", "--config", str(station)]) == 0
    assert "warning: stream job: no audio:streams" in capsys.readouterr().out
