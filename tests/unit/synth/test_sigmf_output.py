"""A generated recording, opened with the library that others use."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
import sigmf

from app_core.base.errors import ConfigError
from app_core.synth.plan import ChannelPlan, Impairments, ScheduledAlert, StationPlan, Tone
from app_core.synth.renderer import StationRenderer
from app_core.synth.sigmf_output import write_sigmf

HEADER = "ZCZC-WXR-SVR-029095+0045-3241845-KEAX/NWS-"
PLAN = StationPlan(
    (ChannelPlan(162_550e3, 40.0, Tone(700.0)), ChannelPlan(162_400e3, 40.0)),
    (
        ScheduledAlert(162_400e3, 0.25, HEADER, attention_s=0.0),
        ScheduledAlert(162_550e3, 0.5, HEADER.replace("SVR", "TOR"), attention_s=0.0),
        ScheduledAlert(162_550e3, 100.0, HEADER.replace("SVR", "FFW")),
    ),
    impairments=Impairments(noise_dbfs=-70.0),
)


@pytest.mark.parametrize(("datatype", "tolerance"), [("cu8", 0.006), ("ci16_le", 4e-5), ("cf32_le", 0.0)])
def test_the_recording_holds_the_rendered_samples(tmp_path: Path, datatype: str, tolerance: float) -> None:
    write_sigmf(tmp_path / "station", PLAN, 0.3, datatype)
    recording = sigmf.sigmffile.fromfile(str(tmp_path / "station"))
    expected = StationRenderer(PLAN).read(75_000)
    assert recording.sample_count == 75_000
    assert recording.get_global_info()["core:datatype"] == datatype
    assert recording.get_global_info()["core:sample_rate"] == 250_000.0
    assert recording.get_captures()[0]["core:frequency"] == 162_487_500.0
    read = recording.read_samples()
    # The library takes 128 for zero in eight bits, half a code beside the RTL's convention.
    assert np.abs((read - expected).view(np.float32)).max() <= tolerance * 1.5


def test_every_alert_that_begins_is_annotated_with_its_header(tmp_path: Path) -> None:
    data_path, meta_path = write_sigmf(tmp_path / "station.sigmf-data", PLAN, 10.0)
    assert (data_path.name, meta_path.name) == ("station.sigmf-data", "station.sigmf-meta")
    assert data_path.stat().st_size == 2 * 2_500_000
    annotations = sigmf.sigmffile.fromfile(str(meta_path)).get_annotations()
    assert [(a["core:sample_start"], a["core:label"], a["core:comment"]) for a in annotations] == [
        (62_500, "SAME SVR", HEADER),
        (125_000, "SAME TOR", HEADER.replace("SVR", "TOR")),
    ]
    burst_s = (16 + len(HEADER)) * 8 * 1.92e-3
    end_s = 20 * 8 * 1.92e-3
    assert annotations[0]["core:sample_count"] / 250_000 == pytest.approx(3 * burst_s + 3 * end_s + 5.0, abs=1e-3)
    assert annotations[1]["core:freq_lower_edge"] == 162_537_500.0
    assert annotations[1]["core:freq_upper_edge"] == 162_562_500.0


def test_an_alert_that_the_end_cuts_is_annotated_to_the_end(tmp_path: Path) -> None:
    _, meta_path = write_sigmf(tmp_path / "station", PLAN, 0.4)
    (annotation,) = sigmf.sigmffile.fromfile(str(meta_path)).get_annotations()
    assert annotation["core:sample_start"] + annotation["core:sample_count"] == 100_000


def test_an_alert_that_would_begin_at_the_very_end_is_not_annotated(tmp_path: Path) -> None:
    _, meta_path = write_sigmf(tmp_path / "station", PLAN, 0.25)
    assert sigmf.sigmffile.fromfile(str(meta_path)).get_annotations() == []


def test_progress_is_told_and_the_start_is_written(tmp_path: Path) -> None:
    told: list[float] = []
    started = datetime.datetime(2026, 11, 20, 12, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=-6)))
    _, meta_path = write_sigmf(tmp_path / "s", PLAN, 1.2, started=started, on_progress=told.append)
    assert told == pytest.approx([0.5 / 1.2, 1.0 / 1.2, 1.0])
    capture = sigmf.sigmffile.fromfile(str(meta_path)).get_captures()[0]
    assert capture["core:datetime"] == "2026-11-20T18:00:00.000000Z"


def test_an_older_recording_is_replaced(tmp_path: Path) -> None:
    write_sigmf(tmp_path / "s", PLAN, 0.4)
    write_sigmf(tmp_path / "s", PLAN, 0.1)
    recording = sigmf.sigmffile.fromfile(str(tmp_path / "s"))
    assert recording.sample_count == 25_000
    assert recording.get_annotations() == []


def test_impossible_recordings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot last 0\.0 s"):
        write_sigmf(tmp_path / "s", PLAN, 0.0)
    with pytest.raises(ConfigError, match="'ci8' is none of"):
        write_sigmf(tmp_path / "s", PLAN, 1.0, "ci8")
    with pytest.raises(ConfigError, match="needs a time zone"):
        write_sigmf(tmp_path / "s", PLAN, 1.0, started=datetime.datetime(2026, 1, 1))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write the recording"):
        write_sigmf(tmp_path / "file" / "s", PLAN, 0.1)
