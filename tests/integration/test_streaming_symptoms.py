"""Every runnable command of the page about audio answers, on a station that streams, what the page says.

The station has a radio, a stream by HTTP that is its own radio's mount, an Icecast, and the web audio.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app_core.bridge.local_redis import free_port
from tests.support.icecast_server import SOURCE_PASSWORD, running_icecast
from tests.support.live_station import LiveStation, live_station
from tests.support.programs import eventually, require_program
from tests.support.runnable_page import (
    ROOT,
    differences,
    examples_of,
    expect_answer,
    expect_symptoms,
    put_programs_at_hand,
    run_block,
)

PAGE = ROOT / "docs" / "audio" / "AUDIO_MONITORING.md"
EXAMPLES = examples_of(PAGE)

SYMPTOMS_OF_THE_SEED = ("Stalling after 5-6 seconds", "Incorrect resampling", "Buffer overflow warnings")

_TABLES = """
[[sources]]
id = "mirror"
type = "stream"
url = "http://127.0.0.1:{icecast_port}/wx7.mp3"
protocol = "http"

[icecast]
port = {icecast_port}
password_file = "{password_file}"

[web_audio]
port = {web_port}

[dead_air]
"""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStation]:
    for program in ("ffmpeg", "curl"):
        require_program(program)
    folder = tmp_path_factory.mktemp("station")
    password_file = folder / "icecast-password"
    password_file.write_text(SOURCE_PASSWORD + "\n", encoding="utf-8")
    web_port = free_port()
    with running_icecast(folder) as icecast:
        tables = _TABLES.format(icecast_port=icecast.port, password_file=password_file, web_port=web_port)
        environment = {
            "HERALD_LOG_FILE": str(folder / "herald.log"),
            "WEB_AUDIO": f"http://127.0.0.1:{web_port}",
        }
        with live_station(folder, with_audio=True, tables=tables, environment=environment) as running:
            put_programs_at_hand(running)
            eventually(lambda: {"/wx7.mp3", "/mirror.mp3"} <= set(icecast.mounts()), "both mounts", 60.0)
            yield running


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["commands"].splitlines()[0][:60])
def test_a_command_of_the_page_answers_what_the_page_says(station: LiveStation, example: dict[str, str]) -> None:
    expect_answer(station, example)


def test_the_page_shows_every_symptom_of_the_seed_with_a_command_that_is_tried() -> None:
    assert len(EXAMPLES) >= 12
    expect_symptoms(PAGE, SYMPTOMS_OF_THE_SEED)


def test_an_acknowledged_fault_is_shown_as_such(station: LiveStation) -> None:
    """The generated antenna never falls silent, so here the key is all that can be looked at."""
    run_block(station, "redis-cli SET audio:dead_air_ack:wx7 1 EX 60")
    assert station.redis.cli("EXISTS", "audio:dead_air_ack:wx7") == "1"
    assert '"acknowledged":false' in station.redis.cli("GET", "audio:streams"), "there is no fault to acknowledge"


def test_the_rule_of_re_is_in_the_log_for_every_ffmpeg(station: LiveStation) -> None:
    log = Path(station.environment["HERALD_LOG_FILE"]).read_text(encoding="utf-8")
    chosen = [line for line in log.splitlines() if "-re flag for" in line]
    radio = [line for line in chosen if "RedisSDRSourceAdapter" in line]
    stream = [line for line in chosen if "HTTPIngestSource" in line]
    assert radio
    assert all("NOT using -re flag for RedisSDRSourceAdapter (live hardware)" in line for line in radio)
    # The FFmpeg that decodes it is the decode job's, the one that encodes it the stream job's.
    assert len(stream) >= 2
    assert all("Using -re flag for HTTPIngestSource (network stream)" in line for line in stream)


def test_a_command_that_answers_otherwise_is_told() -> None:
    answer = '{"mounts": {"wx7": {"connected": true}}}'
    assert differences("json", answer, '{"mounts": {"wx7": {"connected": false}}}') != []
    assert differences("json", answer, '{"mounts": {}}') != []
    assert differences("text", '"connected":true', '1 "connected":false') != []
