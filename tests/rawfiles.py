"""Raw files for tests: k-space of a known image, written as fastMRI h5, ISMRMRD h5 and BART cfl."""

from __future__ import annotations

from pathlib import Path

import numpy as np

XML = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <acquisitionSystemInformation><receiverChannels>{coils}</receiverChannels></acquisitionSystemInformation>
  <experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>
  <encoding>
    <encodedSpace>
      <matrixSize><x>{readout}</x><y>{phase}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{fov_read}</x><y>{fov_phase}</y><z>5</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>{crop_read}</x><y>{crop_phase}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{recon_read}</x><y>{recon_phase}</y><z>5</z></fieldOfView_mm>
    </reconSpace>
    <encodingLimits>
      <kspace_encoding_step_1>
        <minimum>0</minimum><maximum>{last}</maximum><center>{center}</center>
      </kspace_encoding_step_1>
      <slice><minimum>0</minimum><maximum>{last_slice}</maximum><center>0</center></slice>
    </encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
</ismrmrdHeader>
"""


def letter_f(shape: tuple[int, int]) -> np.ndarray:
    """An F, upright as stored: rows downwards, columns to the right; nothing in it is symmetric."""
    image = np.zeros(shape, np.float32)
    r, c = shape[0] // 8, shape[1] // 8
    image[r : 7 * r, 2 * c : 3 * c] = 1
    image[r : 2 * r, 2 * c : 6 * c] = 1
    image[3 * r : 4 * r, 2 * c : 5 * c] = 1
    return image


def fft2c(image: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    k = np.fft.fft2(np.fft.ifftshift(image, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(k, axes=axes).astype(np.complex64)


def ifft2c(kspace: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    x = np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(x, axes=axes)


def coil_kspace(
    images: np.ndarray, coils: int = 4, noise: float = 1e-3, seed: int = 0, readout: int | None = None
) -> np.ndarray:
    """k-space (slice, coil, readout, phase) of images (slice, y, x), each pixel seen by smooth coils.

    readout: samples along the readout, more than y for oversampling (the field of view grows with it).
    """
    import torch

    from mrunfold.phantoms.coils import simulated_maps

    rng = np.random.default_rng(seed)
    count, y, x = images.shape
    n = readout or y
    padded = np.zeros((count, n, x), np.complex64)
    start = n // 2 - y // 2
    padded[:, start : start + y] = images
    maps = simulated_maps(coils, (n, x), torch.Generator().manual_seed(seed)).numpy()
    k = fft2c(padded[:, None] * maps[None])
    draws = rng.standard_normal((2, *k.shape))
    return (k + noise * np.sqrt(0.5) * (draws[0] + 1j * draws[1])).astype(np.complex64)


def header_xml(kspace: np.ndarray, crop: tuple[int, int], pixel_mm: tuple[float, float] = (1.0, 1.0)) -> str:
    slices, coils, readout, phase = kspace.shape
    return XML.format(
        coils=coils,
        readout=readout,
        phase=phase,
        crop_read=crop[0],
        crop_phase=crop[1],
        fov_read=readout * pixel_mm[0],
        fov_phase=phase * pixel_mm[1],
        recon_read=crop[0] * pixel_mm[0],
        recon_phase=crop[1] * pixel_mm[1],
        last=phase - 1,
        center=phase // 2,
        last_slice=slices - 1,
    )


def write_fastmri(
    path: Path,
    kspace: np.ndarray,
    crop: tuple[int, int] | None = None,
    rss: bool = True,
    mask: np.ndarray | None = None,
    pixel_mm: tuple[float, float] = (1.0, 1.0),
) -> Path:
    """Write (slice, coil, readout, phase) as a fastMRI multicoil file; mask: (phase,) as test files have."""
    import h5py

    crop = crop or kspace.shape[-2:]
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.astype(np.complex64)
        file["ismrmrd_header"] = header_xml(kspace, crop, pixel_mm)
        file.attrs["acquisition"] = "AXT2"
        file.attrs["patient_id"] = "CANARY"
        if rss:
            images = np.sqrt((np.abs(ifft2c(kspace)) ** 2).sum(axis=1))
            r, c = (n // 2 - m // 2 for n, m in zip(images.shape[1:], crop, strict=True))
            images = images[:, r : r + crop[0], c : c + crop[1]].astype(np.float32)
            file["reconstruction_rss"] = images
            file.attrs["max"], file.attrs["norm"] = images.max(), np.linalg.norm(images)
        if mask is not None:
            file["mask"] = mask
    return path


def write_mrd(
    path: Path,
    kspace: np.ndarray,
    crop: tuple[int, int] | None = None,
    pixel_mm: tuple[float, float] = (1.0, 1.0),
    frame: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    positions: np.ndarray | None = None,
    vendor: str | None = None,
) -> Path:
    """Write (slice, coil, readout, phase) as ISMRMRD acquisitions; frame: read, phase, slice directions."""
    import ismrmrd

    crop = crop or kspace.shape[-2:]
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    xml = header_xml(kspace, crop, pixel_mm)
    if vendor is not None:
        system = "<acquisitionSystemInformation>"
        xml = xml.replace(system, f"{system}<systemVendor>{vendor}</systemVendor>")
    dataset.write_xml_header(xml.encode())
    for s, one in enumerate(kspace):
        for line in range(one.shape[-1]):
            acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(one[..., line]))
            acquisition.idx.kspace_encode_step_1 = line
            acquisition.idx.slice = s
            acquisition.center_sample = one.shape[-2] // 2
            if frame is not None and positions is not None:
                acquisition.read_dir[:], acquisition.phase_dir[:], acquisition.slice_dir[:] = frame
                acquisition.position[:] = positions[s]
            dataset.append_acquisition(acquisition)
    dataset.close()
    return path


def write_cfl(path: Path, kspace: np.ndarray) -> Path:
    """Write (coil, readout, phase) as BART's readout × phase × 1 × coil."""
    data = kspace.transpose(1, 2, 0)[:, :, None, :]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, data.shape)) + "\n")
    path.with_suffix(".cfl").write_bytes(data.astype("<c8").tobytes(order="F"))
    return path.with_suffix(".cfl")


def write_acquisitions(path: Path, rows: list, xml: str | bytes, group: str = "dataset") -> Path:
    """Write ISMRMRD acquisitions: rows of (samples (coil, n), fields).

    A field is a counter of `idx`, a member of the header, `flags`, or `trajectory` (samples, dimension).
    """
    import ismrmrd

    dataset = ismrmrd.Dataset(str(path), group, create_if_needed=True)
    dataset.write_xml_header(xml.encode() if isinstance(xml, str) else xml)
    for samples, fields in rows:
        samples = np.ascontiguousarray(samples, np.complex64)
        acquisition = ismrmrd.Acquisition.from_array(samples, fields.get("trajectory"))
        acquisition.center_sample = samples.shape[1] // 2
        for name, value in fields.items():
            if name == "flags":
                for flag in value:
                    acquisition.set_flag(flag)
            elif hasattr(acquisition.idx, name):
                setattr(acquisition.idx, name, value)
            elif isinstance(value, tuple):
                getattr(acquisition, name)[:] = value
            elif name != "trajectory":
                setattr(acquisition, name, value)
        dataset.append_acquisition(acquisition)
    dataset.close()
    return path
