"""What is damaged: a good file of each kind, and what reads it and says whether all that it gave can be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError

__all__ = ["SUBJECTS", "Subject", "Wrong"]


class Wrong(Exception):
    """A damaged file was taken for a good one and gave what cannot be."""


@dataclass(frozen=True)
class Subject:
    """A kind of file.

    make: writes good files into a folder and returns the one to damage; read: takes that file's path, raises
    InputError or returns; Wrong where it accepts what cannot be; text: the format is one for people.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    text: bool = False


def expect(right: object, what: str) -> None:
    if not right:
        raise Wrong(what)


def _kspace() -> np.ndarray:
    from rawfiles import coil_kspace, letter_f

    return coil_kspace(np.stack([letter_f((24, 20))] * 2), coils=2, readout=48)


def _fastmri(folder: Path) -> Path:
    from rawfiles import write_fastmri

    return write_fastmri(folder / "scan.h5", _kspace(), crop=(24, 20), mask=np.ones(20))


def _mrd(folder: Path) -> Path:
    from rawfiles import write_mrd

    return write_mrd(folder / "scan.h5", _kspace(), crop=(24, 20))


def _cmrxrecon(folder: Path) -> Path:
    """MATLAB's (x, y, coil, slice, frame), which h5py sees the other way round."""
    import h5py
    from rawfiles import coil_kspace, letter_f

    y, x = np.mgrid[-1:1:48j, -1:1:40j]
    head = (np.hypot(y / 0.75, x / 0.7) < 1) * (0.5 + letter_f((48, 40)))
    kspace = coil_kspace(np.stack([head] * 2).astype(np.float32), coils=3).swapaxes(-1, -2)[None]
    values = np.empty(kspace.shape, [("real", "<f4"), ("imag", "<f4")])
    values["real"], values["imag"] = kspace.real, kspace.imag
    with h5py.File(folder / "scan.mat", "w") as file:
        file["kspace_full"] = values
    return folder / "scan.mat"


def _cfl(folder: Path) -> Path:
    from rawfiles import write_cfl

    return write_cfl(folder / "scan.cfl", _kspace()[0])


def _hdr(folder: Path) -> Path:
    return _cfl(folder).with_suffix(".hdr")


def _read_scan(path: Path) -> None:
    from mrunfold.io import data_crimes, open_scan, remove_oversampling

    with open_scan(path) as scan:
        for index in {0, len(scan) - 1}:
            kspace, acquired = scan.kspace(index), scan.acquired(index)
            expect(kspace.shape == (scan.header.coils, *scan.header.matrix), "another shape than said")
            expect(kspace.dtype == np.complex64 and np.isfinite(kspace).all(), "k-space that is not finite")
            expect(acquired.shape == tuple(scan.header.matrix) and acquired.dtype == bool, "another mask")
            remove_oversampling(kspace, scan.header)
            data_crimes(kspace, acquired, scan.header)
            scan.reference(index)
        noise = scan.noise()
        expect(noise is None or np.isfinite(noise).all(), "noise that is not finite")


def _picture(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from PIL import Image

        rng = np.random.default_rng(0)
        pixels = (rng.random((40, 30, 3)) * 60 + np.linspace(0, 180, 30)[None, :, None]).astype(np.uint8)
        path = folder / f"picture{suffix}"
        Image.fromarray(pixels).save(path)
        return path

    return make


def _read_picture(path: Path) -> None:
    from mrunfold.io.images import photo_size, read_photo

    photo, size = read_photo(path), photo_size(path)
    expect(photo.pixels.shape[1:] == size, "another size than the header's")
    expect(np.isfinite(photo.pixels).all(), "pixels that are not finite")
    expect(photo.pixels.min() >= 0 and photo.pixels.max() <= 1, "pixels out of range")


def _weights(folder: Path) -> Path:
    from mrunfold.networks.posterior import PosteriorDenoiser
    from mrunfold.networks.weights import save_weights
    from mrunfold.protocols import NetworkSpec, PriorSpec

    spec = NetworkSpec(blocks=2, shared=True, prior=PriorSpec(widths=(4, 4), blocks=1))
    save_weights(folder / "w.safetensors", PosteriorDenoiser.from_spec(spec), spec, {"note": "x"})
    return folder / "w.safetensors"


def _read_weights(path: Path) -> None:
    import torch

    from mrunfold.networks.weights import _load

    _load.cache_clear()
    network, _ = _load(str(path))
    tensors = [*network.parameters(), *network.buffers()]
    expect(all(bool(torch.isfinite(t).all()) for t in tensors), "weights that are not finite")
    expect(sum(t.numel() for t in tensors) < 1e7, "a network larger than its file")


def _recon_protocol(folder: Path) -> Path:
    from mrunfold.batch.protocol import freeze
    from mrunfold.pipeline import ReconSettings
    from mrunfold.protocols.reconstruction import to_toml

    settings = ReconSettings(mask="random", accel=4, calibration=8, seed=3, method="tv", slices="0:3")
    (folder / "p.recon.toml").write_text(to_toml(freeze("frozen", settings, [])), encoding="utf-8")
    return folder / "p.recon.toml"


def _read_recon_protocol(path: Path) -> None:
    from mrunfold.batch.protocol import protocol_settings
    from mrunfold.methods.registry import get_method
    from mrunfold.protocols.reconstruction import load_recon_protocol, to_toml

    protocol = load_recon_protocol(str(path))
    to_toml(protocol)
    settings = protocol_settings(protocol, {})
    get_method(settings.method, **settings.parameters)


def _training_protocol(folder: Path) -> Path:
    from mrunfold.protocols import FOLDER

    (folder / "p.toml").write_bytes((FOLDER / "mri-compact.toml").read_bytes())
    return folder / "p.toml"


def _read_training_protocol(path: Path) -> None:
    from mrunfold.protocols import load_protocol

    expect(len(load_protocol(str(path)).digest()) == 64, "no digest")


def _manifest(folder: Path) -> Path:
    from mrunfold.batch import MANIFEST, Manifest

    manifest = Manifest(folder)
    manifest.begin({"method": "tv", "seed": 3}, "c" * 64)
    for name in ("one", "two", "thr\udcffee"):
        about = {"input": f"{name}.h5", "input_sha256": "a" * 64, "output_sha256": "b" * 64, "message": ""}
        manifest.add({"name": name, "status": "ok", "slices": 3, **about})
    return folder / MANIFEST


def _read_manifest(path: Path) -> None:
    from mrunfold.batch import Manifest

    manifest = Manifest(path.parent)
    for name in {*manifest.volumes, *manifest.listed}:
        expect((path.parent / f"{name}.h5").parent == path.parent, f"a path from the name {name!r}")
    for record in manifest.volumes.values():
        expect(record["status"] in ("ok", "failed"), "an unknown status")
        expect(record["status"] == "failed" or len(record["output_sha256"]) == 64, "no digest")


def _result(folder: Path) -> Path:
    from mrunfold.pipeline import ReconSettings, reconstruct

    out = folder / "result"
    settings = ReconSettings(method="zero_filled", cache=False, mask="random", accel=2, calibration=8)
    reconstruct(_fastmri(folder), out, settings)
    (out / "record.json").rename(folder / "record.json")  # its sha256 would refuse any damage
    return out / "recon.h5"


def _read_result(path: Path) -> None:
    from mrunfold.export.result import open_reconstruction

    with open_reconstruction(path) as result:
        for name in result.names:
            for image in result.images(name):
                expect(np.isfinite(image).all() and image.min() >= 0, "no magnitudes")
        for stack in result.stacks:
            expect(all(math.isfinite(size) for size in stack.voxel_mm), "voxels without a size")


def _with_record(folder: Path) -> Path:
    path = _result(folder)
    (folder / "record.json").rename(path.parent / "record.json")
    return path


def _read_with_record(path: Path) -> None:
    """Damage anywhere in the file must be noticed: record.json has its digest."""
    good = json.loads((path.parent / "record.json").read_text())["recon_sha256"]
    from mrunfold.export.result import open_reconstruction
    from mrunfold.io import sha256_of

    with open_reconstruction(path):
        expect(sha256_of(path) == good, "a result that is not as it was written")


def _record(folder: Path) -> Path:
    return _with_record(folder).parent / "record.json"


def _read_record(path: Path) -> None:
    _read_result(path.parent / "recon.h5")


def _read_page(path: Path) -> None:
    from mrunfold.review.cases import collect
    from mrunfold.review.page import view_page

    text = view_page(collect([path.parent]), "0").text
    expect("\x1b" not in text, "control characters in a page")


def _read_scores(path: Path) -> None:
    from mrunfold.evaluation.files import read_recon, read_target

    recon = read_recon(path)
    expect(np.isfinite(recon.volume).all(), "values that are not finite")
    expect(np.isfinite(read_target(path, "target").volume).all(), "values that are not finite")


def _cache_parts() -> tuple[np.ndarray, tuple[int, int]]:
    draws = np.random.default_rng(0).standard_normal((2, 3, 16, 16))
    decay = np.exp(-np.hypot(*np.meshgrid(np.arange(-8, 8), np.arange(-8, 8))) / 2)
    return ((draws[0] + 1j * draws[1]) * decay).astype(np.complex64), (20, 18)


def _cached(folder: Path) -> np.ndarray:
    from mrunfold.coils import EspiritSettings, cached_maps

    block, shape = _cache_parts()
    return cached_maps(block, shape, EspiritSettings(), folder)[0]


def _cache(folder: Path) -> Path:
    maps = _cached(folder / "cache")
    np.save(folder / "right.npy", maps)
    (path,) = (folder / "cache" / "maps").iterdir()
    return path


def _read_cache(path: Path) -> None:
    folder = path.parents[1]
    expect(np.array_equal(_cached(folder), np.load(folder.parent / "right.npy")), "other maps")


def _sums(folder: Path) -> Path:
    from mrunfold.export.manifest import SUMS, write_sums

    (folder / "export").mkdir()
    for name in ("a.dcm", "b.dcm"):
        (folder / "export" / name).write_bytes(name.encode())
    write_sums(folder / "export")
    return folder / "export" / SUMS


def _read_sums(path: Path) -> None:
    from mrunfold.export.manifest import check_sums

    expect(check_sums(path.parent) == 2, "another number of files")


SUBJECTS: dict[str, Subject] = {
    "fastMRI h5": Subject(_fastmri, _read_scan),
    "ISMRMRD h5": Subject(_mrd, _read_scan),
    "CMRxRecon mat": Subject(_cmrxrecon, _read_scan),
    "BART cfl": Subject(_cfl, _read_scan),
    "BART hdr": Subject(_hdr, _read_scan, text=True),
    "PNG": Subject(_picture(".png"), _read_picture),
    "JPEG": Subject(_picture(".jpg"), _read_picture),
    "TIFF": Subject(_picture(".tif"), _read_picture),
    "weights": Subject(_weights, _read_weights),
    "protocol of reconstruction": Subject(_recon_protocol, _read_recon_protocol, text=True),
    "protocol of training": Subject(_training_protocol, _read_training_protocol, text=True),
    "manifest of a batch": Subject(_manifest, _read_manifest, text=True),
    "recon.h5 alone": Subject(_result, _read_result),
    "recon.h5 with its record": Subject(_with_record, _read_with_record),
    "record.json": Subject(_record, _read_record, text=True),
    "page of a result": Subject(_result, _read_page),
    "scores of a result": Subject(_result, _read_scores),
    "coil maps in the cache": Subject(_cache, _read_cache),
    "SHA256SUMS of an export": Subject(_sums, _read_sums, text=True),
}


def refused(error: BaseException) -> bool:
    """Whether an exception is what a user is meant to see: one line that says what is wrong."""
    return isinstance(error, InputError) and "\n" not in str(error) and len(str(error)) < 1000
