"""The tables of the outputs, and that the demo is heard on this machine alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from app_core.base.errors import ConfigError
from services.settings import load
from services.stream_outputs import outputs_of

STATION = '[station]\ndemo = {demo}\n[[sources]]\nid = "a"\ntype = "file"\npath = "/x"\n'


def _outputs(folder: Path, tables: str, demo: str = "false") -> set[str]:
    path = folder / "station.toml"
    path.write_text(STATION.format(demo=demo) + tables, encoding="utf-8")
    return set(outputs_of(load(path)))


def test_each_table_makes_its_output(tmp_path: Path) -> None:
    assert _outputs(tmp_path, "") == set()
    assert _outputs(tmp_path, '[web_audio]\n[dead_air]\n[loudspeaker]\nchannel = "a"\n') == {
        "web_audio",
        "dead_air",
        "loudspeaker",
    }


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("[web_audio]\nports = 1\n", "web_audio.ports: no such setting"),
        ("[loudspeaker]\n", "needs either channel"),
        ("[dead_air]\nsilence_s = 1\n", "dead_air.silence_s"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, table: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _outputs(tmp_path, table)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org"])  # noqa: S104
def test_the_demo_is_heard_on_this_machine_alone(tmp_path: Path, host: str) -> None:
    table = f'[web_audio]\nhost = "{host}"\n'
    assert _outputs(tmp_path, table) == {"web_audio"}
    with pytest.raises(ConfigError, match="demo's audio never leaves this machine"):
        _outputs(tmp_path, table, demo="true")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_the_demo_may_be_heard_on_the_loopback(tmp_path: Path, host: str) -> None:
    assert _outputs(tmp_path, f'[web_audio]\nhost = "{host}"\n', demo="true") == {"web_audio"}
