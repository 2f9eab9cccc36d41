"""A reconstruction as NIfTI volumes with JSON sidecars, plain or as a BIDS derivative dataset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError, did_you_mean
from mrunfold.export.dicom import chosen
from mrunfold.export.nifti import write_nifti
from mrunfold.export.record import write_json
from mrunfold.export.result import PURPOSE, SAMPLE, Reconstruction

__all__ = ["SUFFIXES", "bids_suffix", "write_bids", "write_volumes"]

# File name and BIDS description of each dataset; samples are one 4-D file.
NAMES = {
    "reconstruction": ("recon", "recon", "Reconstruction: the mean of samples where there are any"),
    "std": ("std", "std", "Standard deviation of the magnitude over posterior samples"),
    "quantile_05": ("quantile_05", "quantile05", "5 % quantile of the magnitude over posterior samples"),
    "quantile_95": ("quantile_95", "quantile95", "95 % quantile of the magnitude over posterior samples"),
    "target": ("target", "reference", "Reference: the image of the full data"),
    "samples": ("samples", "samples", "Posterior samples, one after the other along the fourth axis"),
}
SUFFIXES = ("T1w", "T2w", "PDw", "FLAIR", "T2starw")
OF_ACQUISITION = {
    "AXT1": "T1w", "AXT1PRE": "T1w", "AXT1POST": "T1w", "AXT2": "T2w", "AXT2TSE": "T2w", "AXFLAIR": "FLAIR",
    "CORPD_FBK": "PDw", "CORPDFS_FBK": "PDw",
}  # fmt: skip
BIDS_VERSION = "1.10.0"


def write_volumes(result: Reconstruction, folder: Path, extras: Sequence[str] = ()) -> list[str]:
    """Write recon.nii.gz, std.nii.gz, … and a .json beside each into `folder`; return their names.

    Volumes are float32 in the raw file's scale, RAS, code 1 where the geometry is known and 0 where not.
    """
    written = []
    for name, number, count in _volumes(result, chosen(result, extras)):
        stem = NAMES[name][0] + (f"_{number + 1}" if count > 1 else "")
        written.append(_write(result, name, number, folder / f"{stem}.nii.gz"))
    return written


def bids_suffix(result: Reconstruction, suffix: str | None) -> str:
    """Return the contrast's suffix: as given, else what fastMRI's acquisition says; InputError otherwise."""
    found = suffix or OF_ACQUISITION.get(result.header.acquisition or "")
    if found is None:
        raise InputError(
            f"the raw file does not say its contrast; add `suffix`, one of {', '.join(SUFFIXES)}"
        )
    if found not in SUFFIXES:
        raise InputError(
            f"there is no `suffix` {found!r}{did_you_mean(found, SUFFIXES)}: {', '.join(SUFFIXES)}"
        )
    return found


def write_bids(
    result: Reconstruction,
    folder: Path,
    *,
    subject: str = "01",
    suffix: str | None = None,
    extras: Sequence[str] = (),
) -> list[str]:
    """Write a BIDS derivative dataset of one subject into `folder` and return its files, in their order.

    Samples are one 3-D file each: BIDS has no fourth axis for anatomical images.  Raises InputError for a
    label that BIDS cannot hold and an unknown contrast.
    """
    if not re.fullmatch(r"[0-9A-Za-z]{1,32}", subject):
        raise InputError(f"`subject` is letters and digits, as 01, got {subject!r}")
    ending = bids_suffix(result, suffix)
    anat = folder / f"sub-{subject}" / "anat"
    anat.mkdir(parents=True)
    description = {
        "Name": f"mrunfold reconstruction ({PURPOSE})",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "mrunfold",
                "Version": result.version,
                "Description": f"{result.method}, from raw data sha256 {result.digest}; {PURPOSE}",
            }
        ],
    }
    write_json(folder / "dataset_description.json", description)
    (folder / "README.md").write_text(
        f"# mrunfold reconstruction\n\nMade by mrunfold {result.version} from undersampled MRI raw data: "
        f"{PURPOSE}.\nThe JSON beside each image says how.\n",
        encoding="utf-8",
    )
    written = ["README.md", "dataset_description.json"]
    method = re.sub("[^0-9A-Za-z]", "", result.method)
    for name, number, count in _volumes(result, chosen(result, extras), split=True):
        run = f"_run-{number + 1}" if count > 1 else ""
        label = NAMES[name][1] if name in NAMES else name.replace("_", "")
        stem = f"sub-{subject}_rec-{method}{run}_desc-{label}_{ending}"
        _write(result, name, number, anat / f"{stem}.nii.gz")
        written.append(f"sub-{subject}/anat/{stem}.nii.gz")
    return written


def _volumes(
    result: Reconstruction, names: Sequence[str], split: bool = False
) -> Iterator[tuple[str, int, int]]:
    """Yield (dataset, number of the stack, stacks in all); samples as one unless `split`."""
    count = len(result.stacks)
    kept = [name for name in names if split or not SAMPLE.fullmatch(name)]
    if len(kept) < len(names):
        kept.append("samples")
    for name in kept:
        for number in range(count):
            yield name, number, count


def _write(result: Reconstruction, name: str, number: int, path: Path) -> str:
    stack = result.stacks[number]
    names = result.samples if name == "samples" else (name,)

    def images() -> Iterator[np.ndarray]:
        for one in names:
            yield from result.images(one, stack.slices)

    fourth = len(names) if name == "samples" else None
    description = f"mrunfold {result.version}, {result.method}: {PURPOSE}"
    write_nifti(path, images(), result.header.crop, stack, samples=fourth, description=description)
    sidecar = _sidecar(result, name) | {"Geometry": "unknown" if stack.lps is None else "scanner"}
    sidecar["mrunfold"]["slices"] = [result.slices[place] for place in stack.slices]
    write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), sidecar)
    return path.name


def _sidecar(result: Reconstruction, name: str) -> dict[str, Any]:
    """Return what BIDS calls metadata, from the allow-list of the header, and where the image came from."""
    contrast = result.header.contrast
    title = NAMES[name][2] if name in NAMES else f"Posterior sample {int(name.removeprefix('sample_'))}"
    found: dict[str, Any] = {
        "Description": f"{title}; {PURPOSE}",
        "Units": "arbitrary",
        "SkullStripped": False,
    }
    for key, term, factor in (
        ("TR_ms", "RepetitionTime", 1e-3),
        ("TE_ms", "EchoTime", 1e-3),
        ("flip_deg", "FlipAngle", 1.0),
        ("field_T", "MagneticFieldStrength", 1.0),
    ):
        if key in contrast:
            found[term] = round(float(contrast[key]) * factor, 9)
    found["MRAcquisitionType"] = "2D"
    found["mrunfold"] = {
        "purpose": PURPOSE,
        "version": result.version,
        "method": result.method,
        "parameters": result.parameters,
        "weights_sha256": result.weights_sha256,
        "raw_sha256": result.digest,
        "mask": result.mask,
        "magnitude": result.kind,
        "flags": result.flags,
    }
    return found
