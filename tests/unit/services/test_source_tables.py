"""The ``[[sources]]`` of ``station.toml``: read, and refused where two have one id."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from app_core.base.errors import ConfigError
from services.config_command import main
from services.settings import load
from services.source_tables import sources_of

STREAM = '[[sources]]\nid = "mirror"\ntype = "stream"\nurl = "https://radio.example/wx.mp3"\n'
CARD = '[[sources]]\nid = "card"\ntype = "alsa"\ndevice = "hw:1,0"\n'
RECEIVER = '[[receivers]]\nid = "r"\ndriver = "rtl_tcp"\nsample_rate_hz = 250000\ncenter_frequency_hz = 162487500\n'
CHANNEL = '[[channels]]\nid = "mirror"\nreceiver_id = "r"\nfrequency_hz = 162550000\n'


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CONFIG_PATH", "REDIS_URL", "REDIS_PORT", "REDIS_DB", "HERALD_STATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HERALD_DATA_DIR", str(tmp_path))


def station(folder: Path, text: str) -> Path:
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_sources_are_read_in_their_order(tmp_path: Path) -> None:
    sources = sources_of(load(station(tmp_path, STREAM + CARD)))
    assert [(source.id, source.type) for source in sources] == [("mirror", "stream"), ("card", "alsa")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (STREAM + STREAM, "source 'mirror' has the id of another source"),
        (STREAM + "loudness = 3\n", "sources.0.stream.loudness: no such setting"),
        (STREAM.replace("https", "file"), "sources.0.stream.url: not an address of http or https"),
        (CARD.replace('"alsa"', '"oss"'), "sources.0: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        sources_of(load(station(tmp_path, text)))


def test_a_station_of_sources_alone_is_whole_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(station(tmp_path, STREAM + CARD))]) == 0
    effective = orjson.loads(capsys.readouterr().out)
    assert [source["id"] for source in effective["sources"]] == ["mirror", "card"]
    assert effective["sources"][0]["sample_rate_hz"] == 24_000


def test_a_source_and_a_channel_of_one_id_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(station(tmp_path, RECEIVER + CHANNEL + STREAM))]) == 78
    assert "source 'mirror' has the id of a channel" in capsys.readouterr().err


def test_a_channel_without_a_receiver_stays_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    channel = CHANNEL.replace("mirror", "c")
    assert main(["check", "--config", str(station(tmp_path, channel + STREAM))]) == 78
    assert "no receiver is configured" in capsys.readouterr().err
