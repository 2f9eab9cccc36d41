"""Draw echoes of a simulated scan, and the error of coil maps of each echo by itself and of all together.

python docs/pictures/frames.py docs/pictures/frames.png

Or write the scan alone, an ISMRMRD file of five echoes of three slices:

python docs/pictures/frames.py echoes.h5
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ismrmrd
import matplotlib

matplotlib.use("Agg")
import h5py
import matplotlib.pyplot as plt
import numpy as np
import torch

from mrunfold.metrics import psnr
from mrunfold.phantoms.brain import write_sample
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.pipeline import ReconSettings, reconstruct

TIMES_MS = (5.0, 15.0, 25.0, 35.0, 45.0)
COILS, SLICES, NOISE, SIZE = 8, 3, 0.05, (128, 112)
MASK = {
    "mask": "poisson",
    "accel": 5.0,
    "calibration": (12, 12),
    "method": "sense",
    "cache": False,
    "check": 0,
}
HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<experimentalConditions><H1resonanceFrequency_Hz>128000000</H1resonanceFrequency_Hz></experimentalConditions>
<encoding><encodedSpace>{space}</encodedSpace><reconSpace>{space}</reconSpace><encodingLimits/>
<trajectory>cartesian</trajectory></encoding>
<sequenceParameters><TR>600</TR>{times}</sequenceParameters></ismrmrdHeader>"""


def fft2c(image: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    image = np.fft.ifftshift(image, axes=axes)
    return np.fft.fftshift(np.fft.fft2(image, axes=axes, norm="ortho"), axes=axes)


def images(folder: Path) -> np.ndarray:
    """Return what each echo shows, complex (echo, slice, y, x): decay and phase differ by place."""
    with h5py.File(write_sample(folder / "sample.h5", coils=1, slices=SLICES, size=SIZE, noise=0)) as file:
        first = np.asarray(file["reconstruction_rss"])
    first = first / first.max()
    y, x = (np.linspace(-1, 1, n) for n in first.shape[1:])
    decay_ms = 30 + 40 * first
    hertz = 12 * (y[:, None] ** 2 - 0.5 * x + 0.5 * y[:, None] * x)
    return np.stack([first * np.exp(-t / decay_ms + 2e-3j * np.pi * hertz * t) for t in TIMES_MS])


def write(path: Path, truth: np.ndarray) -> Path:
    """Write the scan of `truth` with ismrmrd-python."""
    readout, phase = truth.shape[2:]
    maps = simulated_maps(COILS, (readout, phase), torch.Generator().manual_seed(3)).numpy()
    rng = np.random.default_rng(4)
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    space = f"<matrixSize><x>{readout}</x><y>{phase}</y><z>1</z></matrixSize>"
    space += f"<fieldOfView_mm><x>{2 * readout}</x><y>{2 * phase}</y><z>5</z></fieldOfView_mm>"
    times = "".join(f"<TE>{t}</TE>" for t in TIMES_MS)
    dataset.write_xml_header(HEADER.format(space=space, times=times).encode())
    for echo, of_echo in enumerate(truth):
        for number, image in enumerate(of_echo):
            kspace = fft2c(maps * image)
            draws = rng.standard_normal((2, *kspace.shape))
            kspace = kspace + NOISE * np.sqrt(0.5) * (draws[0] + 1j * draws[1])
            for line in range(phase):
                one = ismrmrd.Acquisition.from_array(np.ascontiguousarray(kspace[..., line], np.complex64))
                one.idx.kspace_encode_step_1, one.idx.slice, one.idx.contrast = line, number, echo
                one.center_sample = readout // 2
                one.read_dir[:], one.phase_dir[:], one.slice_dir[:] = (0, 1, 0), (1, 0, 0), (0, 0, -1)
                one.position[:] = (0, 0, -20.0 * number)
                dataset.append_acquisition(one)
    dataset.close()
    return path


def decibels(target: np.ndarray, image: np.ndarray) -> tuple[float, float]:
    """Return the PSNR of an image, as it is and with the scale that fits it best."""
    scale = float((image * target).sum() / (image * image).sum())
    highest = float(target.max())
    first, second = (psnr(target[None], (one * image)[None], data_range=highest) for one in (1.0, scale))
    return first, second


def learned(scan: Path, truth: np.ndarray, folder: Path) -> None:
    """Print the PSNR of the default method, by itself and together."""
    for name, per_frame in (("each echo by itself", True), ("all together", False)):
        settings = ReconSettings(per_frame=per_frame, slices="1", **{**MASK, "method": "unfold"})
        summary = reconstruct(scan, folder / f"unfold {name}", settings)
        with h5py.File(summary.folder / "recon.h5") as file:
            recon = file["reconstruction"][()]
        for echo, time in enumerate(TIMES_MS):
            value, _ = decibels(np.abs(truth[echo]).astype(np.float32), recon[echo])
            print(f"TE {time:g} ms, {name}: unfold, PSNR {value:.2f} dB")


def error_of(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the sine of the angle between maps and true ones (coil, y, x) in each pixel, 1 without maps."""
    norm = np.linalg.norm(maps, axis=0) * np.linalg.norm(truth, axis=0)
    inner = np.abs((maps.conj() * truth).sum(axis=0))
    cosine = np.divide(inner, norm, out=np.zeros_like(inner), where=norm > 0)
    return np.sqrt(1 - np.minimum(cosine, 1) ** 2)


def picture(path: Path, folder: Path) -> None:
    truth = images(folder)[:, 1]
    scan = write(folder / "echoes.h5", images(folder))
    true_maps = simulated_maps(COILS, truth.shape[1:], torch.Generator().manual_seed(3)).numpy()
    inside = np.abs(truth[0]) > 0.1 * np.abs(truth[0]).max()
    figure, axes = plt.subplots(3, len(TIMES_MS), figsize=(11, 7.6), layout="constrained")
    for row, (name, per_frame) in enumerate((("each echo by itself", True), ("all together", False)), 1):
        settings = ReconSettings(per_frame=per_frame, slices="1", save=("maps",), **MASK)
        summary = reconstruct(scan, folder / name, settings)
        with h5py.File(summary.folder / "recon.h5") as file:
            maps, recon = file["maps"][:, 0], file["reconstruction"][()]
        for echo, time in enumerate(TIMES_MS):
            target = np.abs(truth[echo]).astype(np.float32)
            error = error_of(maps[echo], true_maps)
            rms = float(np.sqrt(np.mean(error[inside] ** 2)))
            plain, scaled = decibels(target, recon[echo])
            words = (
                f"error of maps {rms:.4f}, SENSE, PSNR {plain:.2f} dB, with the best scale {scaled:.2f} dB"
            )
            print(f"TE {time:g} ms, {name}: {words}")
            axes[row, echo].imshow(np.where(inside, error, 0), cmap="magma", vmin=0, vmax=0.1)
            axes[row, echo].set_title(f"{name}\nerror of maps {rms:.3f}", fontsize=8)
            axes[0, echo].imshow(recon[echo], cmap="gray", vmin=0)
            axes[0, echo].set_title(f"TE {time:g} ms", fontsize=10)
    learned(scan, truth, folder)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(path, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        if target.suffix == ".png":
            picture(target, Path(temporary))
        else:
            write(target, images(Path(temporary)))
