from pathlib import Path

import numpy as np
import pytest
import soundfile

from app_core.alerts.flac_file import complete, mend, open_flac, whole_length


def write_flac(path: Path, n_samples: int, sample_rate_hz: float = 8000.0) -> bytes:
    pcm = (np.random.default_rng(7).standard_normal(n_samples) * 3000).astype(np.int16)
    with open_flac(path, sample_rate_hz) as file:
        file.write(pcm)
    return path.read_bytes()


def test_a_whole_file_tells_its_length_and_rate(tmp_path: Path) -> None:
    write_flac(tmp_path / "one.flac", 12_345, 11_025.4)
    assert whole_length(tmp_path / "one.flac") == (12_345, 11_025)


@pytest.mark.parametrize("kept", [0, 4, 60, 9_000, -1])
def test_a_file_that_lacks_anything_is_not_whole(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "one.flac"
    path.write_bytes(write_flac(path, 12_345)[:kept])
    assert whole_length(path) == (0, 0)


def test_a_file_that_is_none_is_not_whole(tmp_path: Path) -> None:
    (tmp_path / "text.flac").write_text("x" * 999)
    assert whole_length(tmp_path / "text.flac") == (0, 0)
    assert whole_length(tmp_path / "missing.flac") == (0, 0)
    assert whole_length(tmp_path) == (0, 0)


def test_a_file_whose_header_claims_what_is_not_there_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "one.flac"
    content = bytearray(write_flac(path, 12_345))
    content[25] += 1
    path.write_bytes(content)
    assert soundfile.info(path).frames == 12_345 + 1
    assert whole_length(path) == (0, 0)


def test_mending_a_whole_file_changes_nothing(tmp_path: Path) -> None:
    content = write_flac(tmp_path / "one.flac.part", 12_345)
    assert mend(tmp_path / "one.flac.part", tmp_path / "one.flac") == 12_345
    assert (tmp_path / "one.flac").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["one.flac"]


def test_a_missing_file_can_neither_be_mended_nor_completed(tmp_path: Path) -> None:
    with pytest.raises(soundfile.LibsndfileError):
        mend(tmp_path / "one.flac.part", tmp_path / "one.flac")
    with pytest.raises(FileNotFoundError):
        complete(tmp_path / "one.flac.part", tmp_path / "one.flac")
    assert list(tmp_path.iterdir()) == []
