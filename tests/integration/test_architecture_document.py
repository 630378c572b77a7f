"""Every runnable command of the architecture document answers, on a real station, what the page says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.live_station import LiveStation, live_station
from tests.support.runnable_page import (
    ROOT,
    differences,
    examples_of,
    expect_answer,
    expect_symptoms,
    put_programs_at_hand,
)
from tests.support.soapy_module import IqFileDevices

PAGE = ROOT / "docs" / "architecture" / "SDR_SERVICE_ARCHITECTURE.md"
EXAMPLES = examples_of(PAGE)

SYMPTOMS_OF_THE_SEED = (
    "SDR service not starting",
    "Ring buffer overflow",
    "No spectrum data",
    "Heartbeat",
    "Ring buffer statistics",
)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStation]:
    with live_station(tmp_path_factory.mktemp("station"), with_audio=True) as running:
        put_programs_at_hand(running)
        # A dongle for SoapySDR to find, beside the station's own antenna.
        devices = IqFileDevices(running.folder)
        devices.plug_in("00000001", model="rtl")
        running.environment.update(devices.environment())
        yield running


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["commands"].splitlines()[0][:60])
def test_a_command_of_the_page_answers_what_the_page_says(station: LiveStation, example: dict[str, str]) -> None:
    expect_answer(station, example)


def test_the_page_shows_every_symptom_of_the_seed_with_a_command_that_is_tried() -> None:
    assert len(EXAMPLES) >= 12
    expect_symptoms(PAGE, SYMPTOMS_OF_THE_SEED)


@pytest.mark.parametrize(
    ("kind", "example", "output", "agrees"),
    [
        ("json", '{"a": {"b": 1.5}}', '{"a": {"b": 2}, "c": 3}', True),
        ("json", '{"a": {"b": 1.5}}', '{"a": {}}', False),
        ("json", '{"a": true}', '{"a": false}', False),
        ("json", '{"a": 1}', '{"a": "1"}', False),
        ("json", "{}", "(nil)", False),
        ("text", "10|9\n", "9\n", True),
        ("text", "PONG", "", False),
        ("text", "LOCKED …noaa", "  LOCKED     noaa-1", True),
        ("text", '"locked":true', '"locked":false', False),
    ],
)
def test_the_comparison_tells_right_from_wrong(kind: str, example: str, output: str, agrees: bool) -> None:
    assert (differences(kind, example, output) == []) is agrees
