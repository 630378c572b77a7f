"""Files of IQ: what they hold is given exactly, and what is not a recording is refused with its reason."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sigmf import SigMFFile

from app_core.base.errors import ConfigError, DeviceError
from app_core.base.iq_file import IqFile, open_iq_file

_RATE_HZ = 250_000.0
_FREQUENCY_HZ = 162_487_500.0


def write_sigmf(stem: Path, datatype: str, components: NDArray[Any]) -> Path:
    """Write a recording with the reference library, and give its metadata file."""
    data_path = stem.with_name(stem.name + ".sigmf-data")
    components.tofile(data_path)
    recording = SigMFFile(
        data_file=str(data_path),
        global_info={"core:datatype": datatype, "core:sample_rate": _RATE_HZ},
    )
    recording.add_capture(0, metadata={"core:frequency": _FREQUENCY_HZ})
    meta_path = stem.with_name(stem.name + ".sigmf-meta")
    recording.tofile(str(meta_path))
    return meta_path


def _read_all(file: IqFile) -> NDArray[np.complex64]:
    iq = np.full(file.n_samples + 3, np.nan, dtype=np.complex64)
    assert file.read_into(iq, 0) == file.n_samples
    assert np.isnan(iq[file.n_samples :]).all(), "memory behind the last sample was written"
    return iq[: file.n_samples]


_ALL_BYTES = np.arange(256, dtype=np.uint8).repeat(2)
_ALL_SHORTS = np.arange(-32768, 32768, dtype=np.int16).astype("<i2").repeat(2)
_FLOATS = np.array([0.5, -0.25, -0.0, 1e-40, 3.0, np.float32(1) / 3], dtype="<f4")


@pytest.mark.parametrize(
    ("datatype", "components", "expected"),
    [
        ("cu8", _ALL_BYTES, ((_ALL_BYTES.astype(np.float64) - 127.5) / 127.5).astype(np.float32)),
        ("ci16_le", _ALL_SHORTS, (_ALL_SHORTS.astype(np.float64) / 32768).astype(np.float32)),
        ("cf32_le", _FLOATS, _FLOATS),
    ],
)
def test_sigmf_samples_are_converted_exactly(
    tmp_path: Path, datatype: str, components: NDArray[Any], expected: NDArray[np.float32]
) -> None:
    meta_path = write_sigmf(tmp_path / "station.2026-11-20", datatype, components)
    for name in (meta_path, meta_path.with_suffix(".sigmf-data"), meta_path.with_suffix("")):
        file = open_iq_file(name)
        assert (file.sample_rate_hz, file.center_frequency_hz) == (_RATE_HZ, _FREQUENCY_HZ)
        assert _read_all(file).view(np.float32).tobytes() == expected.tobytes()


@pytest.mark.parametrize(("iq_format", "dtype"), [("cu8", "u1"), ("cs16", "<i2"), ("cf32", "<f4")])
def test_raw_files_are_read_from_any_sample_on(tmp_path: Path, iq_format: Any, dtype: str) -> None:
    path = tmp_path / "capture.raw"
    np.arange(40).astype(dtype).tofile(path)
    file = open_iq_file(path, iq_format=iq_format, sample_rate_hz=48_000, center_frequency_hz=0)
    whole = _read_all(file)
    part = np.zeros(5, dtype=np.complex64)
    assert file.read_into(part, 7) == 5
    assert np.array_equal(part, whole[7:12])
    assert file.read_into(part, 18) == 2
    assert file.read_into(part, 20) == 0


def test_what_is_given_wins_over_what_a_recording_says(tmp_path: Path) -> None:
    meta_path = write_sigmf(tmp_path / "rec", "cu8", _ALL_BYTES)
    file = open_iq_file(meta_path, sample_rate_hz=1e6, center_frequency_hz=0.0, iq_format="cs16")
    assert (file.sample_rate_hz, file.center_frequency_hz, file.iq_format) == (1e6, 0.0, "cs16")
    assert file.path.suffix == ".sigmf-data"
    assert file.n_samples == len(_ALL_BYTES) // 4


def test_a_raw_file_is_not_confused_with_a_recording_beside_it(tmp_path: Path) -> None:
    write_sigmf(tmp_path / "rec", "cu8", _ALL_BYTES)
    raw_path = tmp_path / "rec.raw"
    np.zeros(8, dtype="<f4").tofile(raw_path)
    file = open_iq_file(raw_path, iq_format="cf32", sample_rate_hz=1.0, center_frequency_hz=0.0)
    assert (file.path, file.n_samples) == (raw_path, 4)


def test_half_a_sample_at_the_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "capture.cs16"
    path.write_bytes(bytes(4 * 10 + 3))
    assert open_iq_file(path, iq_format="cs16", sample_rate_hz=1.0, center_frequency_hz=0.0).n_samples == 10


def test_a_file_is_mapped_and_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "large.cf32"
    n_bytes = 1 << 42  # 4 TiB of holes: more than any memory, no more than a few blocks of disk
    with path.open("wb") as stream:
        try:
            stream.truncate(n_bytes)
        except OSError:
            pytest.skip("this file system has no files of 4 TiB")
    file = open_iq_file(path, iq_format="cf32", sample_rate_hz=1.0, center_frequency_hz=0.0)
    assert file.n_samples == n_bytes // 8
    last = np.ones(4, dtype=np.complex64)
    assert file.read_into(last, file.n_samples - 2) == 2
    assert last.tolist() == [0, 0, 1, 1]


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "capture.cu8"
    path.write_bytes(bytes(1 << 20))
    file = open_iq_file(path, iq_format="cu8", sample_rate_hz=1.0, center_frequency_hz=0.0)
    os.truncate(path, 100)
    with pytest.raises(DeviceError, match="cut short"):
        file.read_into(np.zeros(16, dtype=np.complex64), 400_000)


def test_a_missing_file_and_an_empty_one_are_the_devices_fault(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"nothing\.cu8 cannot be read: No such file"):
        open_iq_file(tmp_path / "nothing.cu8", iq_format="cu8", sample_rate_hz=1.0, center_frequency_hz=0.0)
    with pytest.raises(DeviceError, match="cannot be read: No such file"):
        open_iq_file(tmp_path / "nothing.sigmf-meta")
    for content in (b"", b"\x80"):
        (tmp_path / "empty.cu8").write_bytes(content)
        with pytest.raises(DeviceError, match="holds no sample"):
            open_iq_file(tmp_path / "empty.cu8", iq_format="cu8", sample_rate_hz=1.0, center_frequency_hz=0.0)


def test_a_raw_file_without_its_facts_is_refused_with_the_names_of_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "capture.cu8"
    path.write_bytes(bytes(100))
    with pytest.raises(ConfigError, match="--sample-rate"):
        open_iq_file(path, iq_format="cu8", center_frequency_hz=0.0)
    with pytest.raises(ConfigError, match="sample_rate_hz"):
        open_iq_file(path)


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, float("nan"), float("inf"), 1e12])
def test_a_rate_that_no_receiver_has_is_refused(tmp_path: Path, rate_hz: float) -> None:
    path = tmp_path / "capture.cu8"
    path.write_bytes(bytes(100))
    with pytest.raises(ConfigError, match="sample rate"):
        open_iq_file(path, iq_format="cu8", sample_rate_hz=rate_hz, center_frequency_hz=0.0)


def _metadata(**changes: Any) -> dict[str, Any]:
    described = {"core:datatype": "cu8", "core:sample_rate": 1000, "core:version": "1.0.0", **changes}
    return {"global": described, "captures": [{"core:sample_start": 0, "core:frequency": 1e8}]}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "not SigMF metadata"),
        (b"not json", "not SigMF metadata"),
        (b"[1, 2]", "not SigMF metadata"),
        (b'{"global": 5}', "not SigMF metadata"),
        (b'{"global": {}}', "core:datatype"),
        (b'{"global": {"core:datatype": "cu8"}, "captures": {"a": 1}}', "not SigMF metadata"),
        (b'{"global": {"core:datatype": "cu8"}, "captures": [3]}', "not SigMF metadata"),
        (b"\xff\xfe", "not SigMF metadata"),
        (_metadata(**{"core:datatype": "rf64_le"}), "cf32_le, ci16_le, cu8"),
        (_metadata(**{"core:datatype": ["cu8"]}), "what can be played"),
        (_metadata(**{"core:sample_rate": "fast"}), "must be numbers"),
        (_metadata(**{"core:sample_rate": True}), "must be numbers"),
        (_metadata(**{"core:sample_rate": -5}), "sample rate"),
        (_metadata(**{"core:sample_rate": 0}), "sample rate"),
        (_metadata(**{"core:sample_rate": None}), "sample_rate_hz"),
        (_metadata(**{"core:num_channels": 2}), "2 channels"),
    ],
)
def test_malformed_metadata_is_refused_with_its_reason(
    tmp_path: Path, document: bytes | dict[str, Any], reason: str
) -> None:
    (tmp_path / "rec.sigmf-data").write_bytes(bytes(100))
    path = tmp_path / "rec.sigmf-meta"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    with pytest.raises(ConfigError, match=reason):
        open_iq_file(path)


def test_metadata_that_is_far_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "rec.sigmf-meta"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(ConfigError, match="larger than"):
        open_iq_file(path)
