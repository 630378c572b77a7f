"""`herald config check` refuses what would never work, and says why."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from services.config_command import main

RECEIVER = '[[receivers]]\nid = "r"\ndriver = "rtl_tcp"\nsample_rate_hz = 250000\ncenter_frequency_hz = 162487500\n'
CHANNEL = '[[channels]]\nid = "c"\nreceiver_id = "r"\nfrequency_hz = 162550000\n'


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CONFIG_PATH", "REDIS_URL", "REDIS_PORT", "REDIS_DB", "HERALD_STATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HERALD_DATA_DIR", str(tmp_path))


def check(text: str, folder: Path) -> int:
    station = folder / "station.toml"
    station.write_text(text, encoding="utf-8")
    return main(["check", "--config", str(station)])


def test_a_good_station_is_printed_as_it_will_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(RECEIVER + CHANNEL, tmp_path) == 0
    effective = orjson.loads(capsys.readouterr().out)
    assert effective["receivers"][0]["port"] == 1234
    assert effective["channels"][0]["audio_rate_hz"] == 24000
    assert effective["data_directory"] == str(tmp_path)
    assert effective["web_audio"] is None


def test_what_the_outputs_will_use_is_printed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(RECEIVER + CHANNEL + "[web_audio]\nmax_clients = 3\n", tmp_path) == 0
    assert orjson.loads(capsys.readouterr().out)["web_audio"]["max_clients"] == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CHANNEL, "no receiver is configured"),
        (RECEIVER, "no channel is configured"),
        (RECEIVER + RECEIVER + CHANNEL, "two receivers have the id 'r'"),
        (RECEIVER + CHANNEL + CHANNEL, "two channels have the id 'c'"),
        (RECEIVER + CHANNEL.replace('"r"', '"q"'), "receiver 'q'; there are: r"),
        (RECEIVER + CHANNEL.replace("162550000", "162.55"), "162.55 MHz is 162550000"),
        (
            RECEIVER + CHANNEL.replace("162550000", "163000000"),
            "channel 'c' of receiver 'r': 163.0000 MHz lies outside the received band, 162.3625 to 162.6125 MHz",
        ),
        (RECEIVER + CHANNEL.replace("162550000", "162610000"), "a part of it lies outside the received band"),
        (
            RECEIVER + CHANNEL + 'preset = "fm_broadcast"\n',
            "need 256000 samples a second, not 250000, wherever the receiver is tuned to",
        ),
        (
            RECEIVER.replace("250000", "2400000") + "publish_sample_rate_hz = 250000\n" + CHANNEL.replace("550", "750"),
            "162.7500 MHz lies outside the received band, 162.3625 to 162.6125 MHz",
        ),
        (RECEIVER + CHANNEL.replace('"c"', '"Kansas City"'), "not an id"),
        (RECEIVER + CHANNEL + "colour = 1\n", "channels.0.colour: no such setting"),
        (RECEIVER + CHANNEL + '[redis]\nurl = "http://x"\n', "the URL is malformed"),
        (RECEIVER + CHANNEL + '[redis]\nurl = "redis://h:abc"\n', "the URL is malformed"),
        (RECEIVER + CHANNEL + '[redis]\npassword_file = "/nowhere"\n', "/nowhere cannot be read"),
        (RECEIVER + CHANNEL + "[web_audio]\nport = 70000\n", "web_audio.port"),
        (RECEIVER + CHANNEL + "[loudspeaker]\nloud = true\n", "loudspeaker.loud: no such setting"),
        (RECEIVER + CHANNEL + "[dead_air]\nsilence_s = -1\n", "dead_air.silence_s"),
    ],
)
def test_what_would_never_work_is_refused_with_its_reason(
    text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(text, tmp_path) == 78
    assert reason in capsys.readouterr().err


def test_a_dotenv_line_without_a_value_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dotenv = tmp_path / "station.env"
    dotenv.write_text("REDIS_HOST=somewhere\nREDIS_PORT\n", encoding="utf-8")
    monkeypatch.setenv("CONFIG_PATH", str(dotenv))
    assert check(RECEIVER + CHANNEL, tmp_path) == 78
    assert "'REDIS_PORT' has no value" in capsys.readouterr().err
