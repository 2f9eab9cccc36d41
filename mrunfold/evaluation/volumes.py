"""One volume: its crop, its scores and what is to be said of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mrunfold.errors import InputError
from mrunfold.evaluation.files import Recon, Target, read_recon, read_target
from mrunfold.io.grid import crop_image
from mrunfold.metrics import coverage, score
from mrunfold.metrics.lpips import Lpips

__all__ = ["COVERAGE_RULE", "LPIPS_RULE", "METRICS", "RULE", "Pair", "VolumeScore", "load_pair", "score_pair"]

METRICS = ("nmse", "psnr", "ssim")
RULE = (
    "as fastmri.evaluate: target and reconstruction cropped to the centred square of the target's width, one "
    "NMSE and PSNR a volume, SSIM (7×7 window) averaged over its slices, data range = maximum of the target "
    "volume; means over volumes"
)
COVERAGE_RULE = (
    "share of the pixels whose target exceeds a tenth of the volume's maximum and lies in the 90 % interval: "
    "the 5 % and 95 % quantiles where a file has them, else reconstruction ± 1.645 std"
)
LPIPS_RULE = (
    "LPIPS 0.1 (AlexNet) of each slice, both volumes divided by the target volume's maximum and cut to 0…1, "
    "averaged over slices; fastMRI has no such metric"
)
NORMAL_95 = 1.6448536269514722
INSIDE = 0.1


@dataclass(frozen=True)
class Pair:
    """A target and its reconstruction, cropped alike; notes: what a reader of the scores must know."""

    target: np.ndarray
    recon: np.ndarray
    uncertainty: dict[str, np.ndarray]
    notes: tuple[str, ...]
    of_target: Target
    of_recon: Recon


@dataclass(frozen=True)
class VolumeScore:
    """Scores of a volume, or the `problem` for which it has none; a row of scores.csv."""

    name: str
    problem: str | None = None
    acquisition: str = "unknown"
    target: str | None = None
    shape: tuple[int, ...] | None = None
    nmse: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    coverage_90: float | None = None
    data_range: float | None = None
    notes: tuple[str, ...] = ()
    method: str | None = None
    protocol_digest: str | None = None
    simulated: bool = False
    recon_sha256: str | None = None
    target_sha256: str | None = None


def load_pair(recon: Path, target: Path, kind: str | None = None) -> Pair:
    """Read a reconstruction and its target and crop them as `fastmri.evaluate` does.

    Where the target is lower than wide, its whole height is taken.  A reconstruction smaller than that is
    compared with the target's centre only where the target's own k-space is narrower than its image
    (fastMRI reconstructs such a scan to a square of k-space's width); elsewhere it is an InputError, as other
    numbers of slices are.
    """
    t, r = read_target(target, kind), read_recon(recon)
    if t.volume.shape[0] != r.volume.shape[0]:
        raise InputError(
            f"{recon.name}: {r.volume.shape[0]} slices, its target has {t.volume.shape[0]}; reconstruct all"
        )
    height, width = t.volume.shape[-2:]
    size = (min(height, width), width)
    notes = []
    if height < width:
        notes.append(f"target is lower than wide, {height}×{width}: compared whole, fastmri.evaluate cannot")
    have = r.volume.shape[-2:]
    if have[0] < size[0] or have[1] < size[1]:
        narrow = t.width is not None and t.width < width and have[1] == t.width
        if not narrow:
            raise InputError(
                f"{recon.name}: reconstruction of {have[0]}×{have[1]} pixels, its target needs "
                f"{size[0]}×{size[1]}; reconstruct the whole field of view"
            )
        size = (min(have[0], size[0]), min(have[1], size[1]))
        notes.append(
            f"k-space is {t.width} wide and the target {width}: only the target's centre of "
            f"{size[0]}×{size[1]} is compared, fastmri.evaluate cannot"
        )
        target_volume = crop_image(t.volume, size)  # pixel N//2 stays the centre, as after an FFT
    else:
        target_volume = _centre(t.volume, size)
    if r.target_kind not in (None, t.kind) and t.kind != "target":
        notes.append(f"reconstruction shows {r.target_kind} magnitudes, the target is {t.kind}")
    uncertainty = {name: _centre(v, size) for name, v in r.uncertainty.items()}
    return Pair(target_volume, _centre(r.volume, size), uncertainty, tuple(notes), t, r)


def score_pair(name: str, pair: Pair, lpips: Lpips | None = None) -> VolumeScore:
    """Return the scores of a pair, LPIPS too where `lpips` is given; InputError for a target of zeros."""
    peak = float(pair.target.max())
    if peak <= 0:
        raise InputError(f"{name}: its target is zero everywhere, nothing can be scored against it")
    scores = score(pair.target, pair.recon, data_range=peak)
    return VolumeScore(
        name=name,
        acquisition=pair.of_target.acquisition,
        target=pair.of_target.kind,
        shape=pair.target.shape,
        nmse=scores["nmse"],
        psnr=scores["psnr"],
        ssim=scores["ssim"],
        lpips=None if lpips is None else _perceptual(pair, peak, lpips),
        coverage_90=_coverage(pair, peak),
        data_range=peak,
        notes=pair.notes,
        method=pair.of_recon.method,
        protocol_digest=pair.of_recon.protocol_digest,
        simulated=pair.of_target.simulated or pair.of_recon.simulated,
        recon_sha256=pair.of_recon.sha256,
        target_sha256=pair.of_target.sha256,
    )


def _perceptual(pair: Pair, peak: float, lpips: Lpips) -> float:
    """Mean over slices, one in memory at a time."""
    found = []
    for images in zip(pair.target, pair.recon, strict=True):
        a, b = (torch.from_numpy(np.clip(i / peak, 0, 1).astype(np.float32))[None, None] for i in images)
        found.append(float(lpips(a, b)))
    return float(np.mean(found))


def _coverage(pair: Pair, peak: float) -> float | None:
    maps = pair.uncertainty
    if "quantile_05" in maps and "quantile_95" in maps:
        low, high = maps["quantile_05"], maps["quantile_95"]
    elif "std" in maps:
        low, high = (pair.recon + sign * NORMAL_95 * maps["std"] for sign in (-1, 1))
    else:
        return None
    return coverage(pair.target, low, high, pair.target > INSIDE * peak)


def _centre(volume: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop to `size` from (N − n)//2, where fastMRI's `center_crop` begins: for even N and odd n that is one
    pixel before where `crop_image` does."""
    top, left = ((have - want) // 2 for have, want in zip(volume.shape[-2:], size, strict=True))
    return volume[..., top : top + size[0], left : left + size[1]]
