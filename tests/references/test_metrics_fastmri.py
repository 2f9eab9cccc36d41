"""Our metrics against fastMRI's evaluation, to 1e-6."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.metrics import nmse, psnr, score, ssim

SHAPES = [(1, 7, 7), (3, 33, 27), (2, 40, 31), (4, 320, 321)]


def volumes(shape: tuple[int, ...], dtype: type, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth random volume and the same with errors, of the given height."""
    rng = np.random.default_rng(sum(shape))
    target = rng.random(shape).cumsum(-1).cumsum(-2)
    target *= height / target.max()
    recon = np.abs(target + 0.03 * height * rng.standard_normal(shape))
    return target.astype(dtype), recon.astype(dtype)


@pytest.mark.parametrize("height", [1.0, 3e-4, 2000.0])  # fastMRI's files are about 3e-4 high
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_equal_to_fastmri_evaluate(shape: tuple[int, ...], dtype: type, height: float) -> None:
    from fastmri import evaluate

    target, recon = volumes(shape, dtype, height)
    peak = float(target.max())
    # fastMRI sums in the volume's own precision: of single precision its NMSE has six digits.
    digits = 1e-6 if dtype is np.float64 else 1e-5
    assert nmse(target, recon) == pytest.approx(float(evaluate.nmse(target, recon)), rel=digits, abs=0)
    assert psnr(target, recon, data_range=peak) == pytest.approx(
        float(evaluate.psnr(target, recon)), abs=1e-6
    )
    assert ssim(target, recon, data_range=peak) == pytest.approx(
        evaluate.ssim(target, recon).item(), abs=1e-6
    )
    wide = 1.7 * peak
    assert score(target, recon, data_range=wide) == {
        "nmse": pytest.approx(float(evaluate.nmse(target, recon)), rel=digits),
        "psnr": pytest.approx(float(evaluate.psnr(target, recon, maxval=wide)), abs=1e-6),
        "ssim": pytest.approx(evaluate.ssim(target, recon, maxval=wide).item(), abs=1e-6),
    }
