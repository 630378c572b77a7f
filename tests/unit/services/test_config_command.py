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


SECOND = CHANNEL.replace('"c"', '"d"')


def icecast(folder: Path, *lines: str, mode: int = 0o600) -> str:
    path = folder / "password"
    path.write_text("three words here", encoding="utf-8")
    path.chmod(mode)
    return "\n".join(["[icecast]", f'password_file = "{path}"', *lines]) + "\n"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (['host = "127.0.0.1:8000"'], "a port stands in port, not here"),
        (['host = "a..b"'], "is no name and no address"),
        (['mount = "/live"'], "the mount /live.mp3 is that of c and of d"),
        (
            [f'[[icecast.mounts]]\nchannel = "{channel}"\nmount = "/live"' for channel in ("d", "later")],
            "the mount /live.mp3 is that of d and of later",
        ),
        (['admin_password_file = "/nowhere"'], "icecast.admin_password_file: /nowhere cannot be read by the user "),
    ],
)
def test_mounts_that_could_never_stand_are_refused(
    lines: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(RECEIVER + CHANNEL + SECOND + icecast(tmp_path, *lines), tmp_path) == 78
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/nowhere", "No such file"), ("/", "Is a directory"), ("/dev/null", "holds nothing")],
)
def test_a_password_that_cannot_be_had_is_refused(
    path: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(RECEIVER + CHANNEL + f'[icecast]\npassword_file = "{path}"\n', tmp_path) == 78
    assert reason in capsys.readouterr().err


def test_slips_in_the_streams_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = '[[sources]]\nid = "s"\ntype = "stream"\nurl = "http://192.0.2.1/x"\nusername = "me"\n'
    text = (
        RECEIVER
        + CHANNEL
        + f'{stream}password_file = "/nowhere"\n[[sources]]\nid = "f"\ntype = "file"\npath = "/nothing.wav"\n'
        + icecast(tmp_path, '[[icecast.mounts]]\nchannel = "q1"', mode=0o644)
        + '[loudspeaker]\nchannel = "q2"\n[dead_air]\nignore = ["c", "q3"]\n'
    )
    assert check(text, tmp_path) == 0
    output = capsys.readouterr()
    assert orjson.loads(output.out)["icecast"]["port"] == 8000
    warnings = [line for line in output.err.splitlines() if line.startswith("warning: ")]
    told = (
        "icecast.mounts.channel names 'q1'",
        "loudspeaker.channel names 'q2'",
        "dead_air.ignore names 'q3'",
        f"icecast.password_file: every user of this machine can open {tmp_path}/password",
        "source 's': password_file: /nowhere is no file that",
        "source 'f': path: /nothing.wav is no file that",
    )
    assert len(warnings) == len(told)
    for warning, words in zip(warnings, told, strict=True):
        assert words in warning
    assert f"chmod 600 {tmp_path}/password" in warnings[3]


def test_streams_without_a_slip_are_not_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(RECEIVER + CHANNEL + SECOND + icecast(tmp_path, 'host = "::1"', mode=0o640), tmp_path) == 0
    assert capsys.readouterr().err == ""


def test_a_dotenv_line_without_a_value_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dotenv = tmp_path / "station.env"
    dotenv.write_text("REDIS_HOST=somewhere\nREDIS_PORT\n", encoding="utf-8")
    monkeypatch.setenv("CONFIG_PATH", str(dotenv))
    assert check(RECEIVER + CHANNEL, tmp_path) == 78
    assert "'REDIS_PORT' has no value" in capsys.readouterr().err
