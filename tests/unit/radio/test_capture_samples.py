"""Samples as captures keep them: as small as may be, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.base.iq_file import IqFormat, open_iq_file
from app_core.radio import capture_samples
from app_core.radio.capture_samples import Lattice, Packer, Piece, pack_samples


def _block(components: NDArray[np.float32], first: int = 0) -> IqBlock:
    return IqBlock(components.view(np.complex64), 2.4e6, 162.4e6, first, 1.7e9, 1)


def _codes(n: int, sigma: float, seed: int = 1) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(127.5, sigma, n)
    return np.clip(np.rint(drawn), 0, 255).astype(np.float32)


@pytest.mark.parametrize(
    ("iq_format", "iq"),
    [
        ("cu8", (np.arange(512, dtype=np.float32) % 256 - 127.5) / np.float32(127.5)),
        ("cs16", np.arange(-32768, 32768, dtype=np.float32) / 32768),
        ("cf32", np.random.default_rng(1).normal(0, 3, 2000).astype(np.float32)),
    ],
)
def test_samples_that_came_in_a_format_are_kept_in_it_without_loss(
    tmp_path: Path, iq_format: IqFormat, iq: NDArray[np.float32]
) -> None:
    path = tmp_path / "x"
    pack_samples(iq.view(np.complex64), iq_format).tofile(path)
    file = open_iq_file(path, iq_format=iq_format, sample_rate_hz=1.0, center_frequency_hz=0.0)
    back = np.empty(len(iq) // 2, dtype=np.complex64)
    assert file.read_into(back, 0) == len(back)
    assert np.array_equal(back.view(np.float32), iq)


def test_what_lies_beyond_full_scale_is_clipped() -> None:
    iq = np.array([2.0 - 2.0j], dtype=np.complex64)
    assert pack_samples(iq, "cu8").tolist() == [255, 0]
    assert pack_samples(iq, "cs16").tolist() == [32767, -32768]


# How drivers turn the 8 bits of their devices into floats.
CONVERTERS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "soapyrtlsdr": lambda code: (code - np.float32(127.4)) * np.float32(1 / 128),
    "rtl-sdr": lambda code: (code - np.float32(127.5)) / np.float32(127.5),
    "signed": lambda code: (code - np.float32(128)) / np.float32(128),
    "signed127": lambda code: (code - np.float32(128)) * np.float32(1 / 127),
}


@pytest.mark.parametrize("sigma", [3.0, 40.0, 500.0])
@pytest.mark.parametrize("name", CONVERTERS)
def test_the_floats_of_an_eight_bit_device_are_kept_in_eight_bits_and_stored_as_they_were(
    name: str, sigma: float
) -> None:
    packer = Packer()
    for seed in range(4):
        components = CONVERTERS[name](_codes(20_000, sigma, seed))
        piece = packer.pack(_block(components), "cs16")
        assert piece.components.dtype == np.uint8
        stored = piece.stored()
        assert stored.dtype == np.dtype("<i2")
        assert np.array_equal(stored, pack_samples(components.view(np.complex64), "cs16"))
        part = piece.between(100, 200)
        assert part is not None
        assert np.array_equal(part.stored(), stored[200:400])


def test_a_weak_signal_of_many_bits_is_kept_in_eight_and_a_strong_one_in_sixteen() -> None:
    packer = Packer()
    for seed, sigma, kind in ((1, 20.0, np.uint8), (2, 20.0, np.uint8), (3, 500.0, np.int16), (4, 20.0, np.uint8)):
        components = (np.rint(np.random.default_rng(seed).normal(0.0, sigma, 8192)) / 2048).astype(np.float32)
        piece = packer.pack(_block(components), "cs16")
        assert piece.components.dtype == kind
        assert np.array_equal(piece.stored(), pack_samples(components.view(np.complex64), "cs16"))


def test_a_lattice_that_was_found_too_coarse_is_looked_for_again() -> None:
    packer, convert = Packer(), CONVERTERS["soapyrtlsdr"]
    codes = _codes(20_000, 10.0)
    for seen in (2 * (codes // 2), codes, codes):
        piece = packer.pack(_block(convert(seen)), "cs16")
        assert piece.components.dtype == np.uint8
        assert np.array_equal(piece.stored(), pack_samples(convert(seen).view(np.complex64), "cs16"))


def test_a_slice_has_no_lattice_and_is_looked_at_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    find = Lattice.find

    def counted(components: NDArray[np.float32]) -> Lattice | None:
        looks.append(len(components))
        return find(components)

    monkeypatch.setattr(capture_samples.Lattice, "find", counted)
    packer, rng = Packer(), np.random.default_rng(1)
    for _ in range(100):
        components = rng.normal(0.0, 0.1, 2000).astype(np.float32)
        assert packer.pack(_block(components), "cs16").components.dtype == np.dtype("<i2")
    assert len(looks) == 7, "with pauses of 1, 2, 4, 8, 16, 32 and 64 blocks"


@pytest.mark.parametrize("iq_format", ["cu8", "cf32"])
def test_what_is_given_as_bytes_or_floats_is_kept_as_that(iq_format: IqFormat) -> None:
    components = CONVERTERS["rtl-sdr"](_codes(2000, 40.0))
    piece = Packer().pack(_block(components), iq_format)
    assert piece.lattice is None
    assert np.array_equal(piece.stored(), pack_samples(components.view(np.complex64), iq_format))


@given(
    step=st.floats(1e-4, 0.05),
    zero=st.floats(-1.0, 1.0),
    levels=st.lists(st.integers(-127, 127), max_size=300),
    has_neighbours=st.booleans(),
)
def test_a_lattice_that_is_found_gives_every_value_back(
    step: float, zero: float, levels: list[int], has_neighbours: bool
) -> None:
    values = ((np.array([0, 1, *levels] if has_neighbours else levels) + zero) * step).astype(np.float32)
    lattice = Lattice.find(values)
    # Where no two neighbours occur the lattice may not show; in the noise of a receiver they always do.
    assert lattice is not None or not has_neighbours
    if lattice is not None:
        codes = lattice.pack(values)
        assert codes is not None
        assert np.abs((codes - lattice.zero) * lattice.step - values).max() < 0.003 * lattice.step


@pytest.mark.parametrize("values", [[], [0.5], [0.5] * 10, list(range(257)), [0.0, 1.0, 1.4], [0.0, 1e-30, 1.0]])
def test_what_lies_on_no_lattice_of_eight_bits_has_none(values: list[float]) -> None:
    assert Lattice.find(np.array(values, dtype=np.float32)) is None


def test_a_value_between_or_beyond_the_codes_has_no_code() -> None:
    lattice = Lattice(step=1 / 128, zero=127.4)
    values = ((np.arange(256) - 127.4) / 128).astype(np.float32)
    assert lattice.pack(values) is not None
    for wrong in (values[200] + 0.3 / 128, values[0] - 1 / 128, values[255] + 1 / 128, np.float32(np.nan)):
        assert lattice.pack(np.append(values, np.float32(wrong))) is None


def test_a_part_of_a_piece_is_cut_by_sample_index() -> None:
    piece = Piece(np.arange(20, dtype=np.uint8), "cu8", 10.0, 1e8, 100, 1000.0, 1)
    part = piece.between(103, 107)
    assert part is not None
    assert (part.first_sample, part.n_samples, part.timestamp, part.components[0]) == (103, 4, 1000.3, 6)
    whole = piece.between(0, 1000)
    assert whole is not None
    assert (whole.first_sample, whole.end_sample) == (100, 110)
    assert piece.between(110, 120) is None
    assert piece.between(90, 100) is None
