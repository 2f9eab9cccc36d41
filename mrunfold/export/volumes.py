"""A reconstruction as NIfTI volumes with JSON sidecars, plain or as a BIDS derivative dataset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError, did_you_mean
from mrunfold.export.dicom import chosen
from mrunfold.export.geometry import Stack
from mrunfold.export.nifti import write_nifti
from mrunfold.export.record import write_json
from mrunfold.export.result import PURPOSE, SAMPLE, STD_TITLE, Reconstruction
from mrunfold.io.frames import frame_words

__all__ = ["SUFFIXES", "bids_suffix", "write_bids", "write_volumes"]

# File name and BIDS description of each dataset; samples are one 4-D file.
NAMES = {
    "reconstruction": ("recon", "recon", "Reconstruction: the mean of samples where there are any"),
    "std": ("std", "std", f"{STD_TITLE} of the magnitude"),
    "quantile_05": ("quantile_05", "quantile05", "5 % quantile of the magnitude over posterior samples"),
    "quantile_95": ("quantile_95", "quantile95", "95 % quantile of the magnitude over posterior samples"),
    "target": ("target", "reference", "Reference: the image of the full data"),
    "samples": ("samples", "samples", "Posterior samples, one after the other along the fourth axis"),
}
SUFFIXES = ("T1w", "T2w", "PDw", "FLAIR", "T2starw", "MEGRE", "MESE", "IRT1", "VFA")
# BIDS' name of each setting, and what makes its unit of ours.
TERMS = {
    "TR_ms": ("RepetitionTime", 1e-3),
    "TE_ms": ("EchoTime", 1e-3),
    "TI_ms": ("InversionTime", 1e-3),
    "flip_deg": ("FlipAngle", 1.0),
    "field_T": ("MagneticFieldStrength", 1.0),
    "b_s_mm2": ("DiffusionBValue", 1.0),
    "trigger_ms": ("TriggerDelayTime", 1.0),
    "time_s": ("VolumeTiming", 1.0),
}
# Settings that tell frames apart, and BIDS' entity of each, in the order of a file's name.
ENTITIES = {"TE_ms": "echo", "flip_deg": "flip", "TI_ms": "inv"}
OF_ACQUISITION = {
    "AXT1": "T1w", "AXT1PRE": "T1w", "AXT1POST": "T1w", "AXT2": "T2w", "AXT2TSE": "T2w", "AXFLAIR": "FLAIR",
    "CORPD_FBK": "PDw", "CORPDFS_FBK": "PDw",
}  # fmt: skip
BIDS_VERSION = "1.10.0"


def write_volumes(result: Reconstruction, folder: Path, extras: Sequence[str] = ()) -> list[str]:
    """Write recon.nii.gz, std.nii.gz, … and a .json beside each into `folder`; return their names.

    Volumes are float32 in the raw file's scale, RAS, code 1 where the geometry is known and 0 where not.
    Frames of the same slices are the fourth axis of one file; samples are the one after.
    """
    written = []
    names = chosen(result, extras)
    if any(SAMPLE.fullmatch(name) for name in names):
        names = [name for name in names if not SAMPLE.fullmatch(name)] + ["samples"]
    series = result.series
    for name in names:
        for number, group in enumerate(series, start=1):
            stem = NAMES[name][0] + (f"_{number}" if len(series) > 1 else "")
            written.append(_write(result, name, group, folder / f"{stem}.nii.gz"))
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

    Samples and frames are one 3-D file each: BIDS has no fourth axis for anatomical images.  Frames with
    settings of their own are told apart by echo, flip or inv, others by run.  Raises InputError for a label
    that BIDS cannot hold and an unknown contrast.
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
    entities = _entities(result)
    for name in chosen(result, extras):
        label = NAMES[name][1] if name in NAMES else name.replace("_", "")
        for stack, entity in zip(result.stacks, entities, strict=True):
            stem = f"sub-{subject}_rec-{method}{entity}_desc-{label}_{ending}"
            _write(result, name, [stack], anat / f"{stem}.nii.gz")
            written.append(f"sub-{subject}/anat/{stem}.nii.gz")
    return written


def _entities(result: Reconstruction) -> list[str]:
    """Return the part of a BIDS name that tells each stack from the others: _run-2_echo-1 and the like."""
    labels = [result.label(stack) for stack in result.stacks]
    own = [""] * len(labels)
    for key, entity in ENTITIES.items():
        values = sorted({label[key] for label in labels if key in label})
        if len(values) > 1 and all(key in label for label in labels):
            own = [
                f"{one}_{entity}-{values.index(label[key]) + 1}"
                for one, label in zip(own, labels, strict=True)
            ]
    runs = [own[:number].count(one) + 1 for number, one in enumerate(own)]
    several = max(runs, default=1) > 1
    return [f"_run-{run}{one}" if several else one for run, one in zip(runs, own, strict=True)]


def _write(result: Reconstruction, name: str, group: Sequence[Stack], path: Path) -> str:
    """Write a dataset of stacks, which are frames of the same slices, as one file, and its sidecar."""
    first = group[0]
    places = [place for stack in group for place in stack.slices]
    names = result.samples if name == "samples" else (name,)

    def images() -> Iterator[np.ndarray]:
        for one in names:
            yield from result.images(one, places)

    frames = result.header.frames
    write_nifti(
        path,
        images(),
        result.header.crop,
        first,
        samples=len(names) if name == "samples" else None,
        frames=len(group),
        step_s=None if frames is None else frames.step_s([stack.frame for stack in group]),
        description=f"mrunfold {result.version}, {result.method}: {PURPOSE}",
    )
    sidecar = _sidecar(result, name, group) | {"Geometry": "unknown" if first.lps is None else "scanner"}
    sidecar["mrunfold"]["slices"] = [result.slices[place] for place in places]
    write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), sidecar)
    return path.name


def _sidecar(result: Reconstruction, name: str, group: Sequence[Stack]) -> dict[str, Any]:
    """Return what BIDS calls metadata, from the allow-list of the header, and where the image came from.

    A setting that differs between the frames of the file is a list, one value a frame.
    """
    settings = [result.settings_of(stack) for stack in group]
    title = NAMES[name][2] if name in NAMES else f"Posterior sample {int(name.removeprefix('sample_'))}"
    found: dict[str, Any] = {
        "Description": f"{result.titled(title)}; {PURPOSE}",
        "Units": "arbitrary",
        "SkullStripped": False,
    }
    for key, (term, factor) in TERMS.items():
        if all(key in one for one in settings):
            values = [round(float(one[key]) * factor, 9) for one in settings]
            found[term] = values[0] if len(set(values)) == 1 else values
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
    if result.header.frames is not None:
        found["mrunfold"]["frames"] = [frame_words(result.label(stack)) for stack in group]
    return found
