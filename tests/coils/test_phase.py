"""The phase of coil maps: nowhere does it wind within the object."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.coils.phase import smooth_phase


def ring(n=96, hole=0.35, coils=6):
    """Maps whose principal combination vanishes in the middle of a disc, and their calibration region."""
    y, x = (np.mgrid[:n, :n] - n // 2) / (n / 2)
    disc = np.hypot(y, x) < 0.8
    draws = np.random.default_rng(0).standard_normal((2, coils, coils))
    modes = np.linalg.qr(draws[0] + 1j * draws[1])[0]
    maps = modes[:, 0, None, None] * (x + 1j * y) + hole * modes[:, 1, None, None]
    maps = np.where(disc, maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0)), 0).astype(np.complex64)
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(maps, axes=(1, 2))), axes=(1, 2))
    middle = slice(n // 2 - 12, n // 2 + 12)
    return maps, k[:, middle, middle], modes[:, 0], disc


def steps(maps, disc):
    """Re⟨s(r), s(r')⟩ of neighbours within the object: 1 where nothing turns."""
    down = (maps[:, 1:].conj() * maps[:, :-1]).sum(axis=0).real[disc[1:] & disc[:-1]]
    across = (maps[:, :, 1:].conj() * maps[:, :, :-1]).sum(axis=0).real[disc[:, 1:] & disc[:, :-1]]
    return np.concatenate([down, across])


def test_the_phase_winds_nowhere_even_where_the_principal_combination_vanishes():
    maps, block, principal, disc = ring()
    projection = np.tensordot(principal.conj(), maps, axes=1)
    winding = maps * np.exp(-1j * np.angle(projection))
    assert steps(winding, disc).min() < 0, "the principal combination does not vanish: nothing is tested"
    assert steps(smooth_phase(maps, block), disc).min() > 0.95


def test_nothing_but_the_phase_of_a_pixel_changes():
    maps, block, _, disc = ring()
    turned = smooth_phase(maps, block)
    overlap = np.abs((turned.conj() * maps).sum(axis=0))[disc]
    np.testing.assert_allclose(overlap, 1, atol=1e-5)
    np.testing.assert_allclose(np.abs(turned), np.abs(maps), atol=1e-6)


def test_the_principal_combination_is_kept_where_it_is_nowhere_small():
    maps, block, _, disc = ring(hole=3.0)  # the second mode is everywhere now, and the principal one
    data = block.reshape(len(block), -1)
    principal = np.linalg.eigh(data @ data.conj().T)[1][:, -1]
    projection = np.tensordot(principal.conj(), smooth_phase(maps, block), axes=1)[disc]
    assert np.abs(projection.imag).max() < 1e-5
    assert projection.real.min() > 0


@pytest.mark.parametrize("shape", [(8, 8), (33, 47), (200, 3)])
def test_any_size_and_empty_maps(shape):
    rng = np.random.default_rng(1)
    maps = (rng.standard_normal((2, *shape)) + 1j * rng.standard_normal((2, *shape))).astype(np.complex64)
    block = maps[:, :8, :8]
    assert np.isfinite(smooth_phase(maps, block)).all()
    assert not smooth_phase(np.zeros_like(maps), block).any()
