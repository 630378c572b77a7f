"""A generated station as a SigMF recording, with an annotation for every alert.

``NAME.sigmf-data`` holds the samples and ``NAME.sigmf-meta`` what they are. An annotation spans an alert in time and
its channel in frequency; its label is the event and its comment the header, so a recording is its own answer sheet.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

from app_core.base.errors import ConfigError
from app_core.synth.plan import StationPlan
from app_core.synth.quantise import to_bytes
from app_core.synth.renderer import AiredAlert, AlertSchedule, StationRenderer

CHANNEL_WIDTH_HZ = 25_000.0
"""Width of an alert's annotation."""

_BLOCK_S = 0.5
_SAMPLE_BYTES = {"cu8": 2, "ci16_le": 4, "cf32_le": 8}


def write_sigmf(
    path: Path,
    plan: StationPlan,
    duration_s: float,
    datatype: str = "cu8",
    *,
    schedule: AlertSchedule | None = None,
    cache_folder: Path | None = None,
    started: datetime.datetime | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[Path, Path]:
    """Render the beginning of a plan into a recording, as fast as it goes.

    Parameters
    ----------
    path
        Where; a suffix ``.sigmf-data`` or ``.sigmf-meta`` may be there or not. An older recording is replaced.
    plan
        What is on the air.
    duration_s
        Length, rounded to a sample.
    datatype
        ``cu8`` (as an RTL dongle), ``ci16_le`` or ``cf32_le``.
    schedule, cache_folder
        As for `StationRenderer`.
    started
        When the first sample was captured; None says nothing of it.
    on_progress
        Told the fraction that is done, 0..1, after each block.

    Returns
    -------
    data_path, meta_path
        The two files.

    Raises
    ------
    ConfigError
        If `duration_s` is not positive, `datatype` is unknown, `started` has no time zone, a recording of the plan
        cannot be read, or the files cannot be written.
    """
    if not 0.0 < duration_s < float("inf"):
        raise ConfigError(f"a recording cannot last {duration_s} s")
    if datatype not in _SAMPLE_BYTES:
        raise ConfigError(f"the sample format {datatype!r} is none of {', '.join(_SAMPLE_BYTES)}")
    if started is not None and started.tzinfo is None:
        raise ConfigError("the start of a recording needs a time zone")
    stem = path.with_suffix("") if path.suffix in (".sigmf-data", ".sigmf-meta") else path
    data_path, meta_path = (stem.with_name(stem.name + suffix) for suffix in (".sigmf-data", ".sigmf-meta"))
    aired: list[AiredAlert] = []
    renderer = StationRenderer(plan, schedule=schedule, cache_folder=cache_folder, on_alert=aired.append)
    n_samples = max(1, round(duration_s * plan.sample_rate_hz))
    try:
        data_path.parent.mkdir(parents=True, exist_ok=True)
        meta_path.unlink(missing_ok=True)
        _write_samples(data_path, renderer, n_samples, datatype, on_progress)
        _write_metadata(data_path, meta_path, plan, datatype, aired, n_samples, started)
    except OSError as error:
        raise ConfigError(f"cannot write the recording {stem}: {error.strerror or error}") from error
    return data_path, meta_path


def _write_samples(
    data_path: Path,
    renderer: StationRenderer,
    n_samples: int,
    datatype: str,
    on_progress: Callable[[float], None] | None,
) -> None:
    n_block = round(_BLOCK_S * renderer.sample_rate_hz)
    with data_path.open("wb") as file:
        while renderer.position < n_samples:
            file.write(to_bytes(renderer.read(min(n_block, n_samples - renderer.position)), datatype))
            if on_progress is not None:
                on_progress(renderer.position / n_samples)


def _write_metadata(
    data_path: Path,
    meta_path: Path,
    plan: StationPlan,
    datatype: str,
    aired: list[AiredAlert],
    n_samples: int,
    started: datetime.datetime | None,
) -> None:
    # The library brings a schema validator, which the live station does not need.
    import sigmf

    meta = sigmf.SigMFFile(
        data_file=str(data_path),
        global_info={
            sigmf.DATATYPE_KEY: datatype,
            sigmf.SAMPLE_RATE_KEY: plan.sample_rate_hz,
            sigmf.DESCRIPTION_KEY: "Generated weather radio station; nothing in it was ever on the air",
            sigmf.RECORDER_KEY: "Herald",
        },
    )
    capture: dict[str, object] = {sigmf.FREQUENCY_KEY: plan.center_frequency_hz}
    if started is not None:
        utc = started.astimezone(datetime.UTC)
        capture[sigmf.DATETIME_KEY] = utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    meta.add_capture(0, metadata=capture)
    for alert in sorted(aired, key=lambda alert: alert.start_sample):
        if alert.start_sample >= n_samples:
            continue
        meta.add_annotation(
            alert.start_sample,
            length=min(alert.n_samples, n_samples - alert.start_sample),
            metadata={
                sigmf.LABEL_KEY: f"SAME {alert.header.event_code}",
                sigmf.COMMENT_KEY: alert.header.text,
                sigmf.FREQ_LOWER_EDGE_KEY: alert.frequency_hz - 0.5 * CHANNEL_WIDTH_HZ,
                sigmf.FREQ_UPPER_EDGE_KEY: alert.frequency_hz + 0.5 * CHANNEL_WIDTH_HZ,
                "core:generator": "Herald",
            },
        )
    meta.tofile(str(meta_path), overwrite=True)
