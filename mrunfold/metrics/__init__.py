"""How good an image is: fastMRI's scores and coverage; LPIPS in `mrunfold.metrics.lpips`."""

from mrunfold.metrics.fidelity import coverage, crps, crps_normal, nmse, psnr, sample_interval, score, ssim

__all__ = ["coverage", "crps", "crps_normal", "nmse", "psnr", "sample_interval", "score", "ssim"]
