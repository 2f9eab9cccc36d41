"""What a page says in words: where images come from, how good they are, what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mrunfold.export import Reconstruction

__all__ = ["RULE", "metrics_note", "missing", "provenance"]

RULE = "against the full data; all slices, data range = maximum of the reference"
WANTED = {
    "reference": "Reference and error: only a mask drawn over fully sampled data leaves them, as in "
    "`mrunfold recon SCAN --mask poisson --accel 4`.",
    "zero_filled": "Zero-filled: a folder of `mrunfold recon` holds it, a volume of `batch` does not; run "
    "`mrunfold recon SCAN --method zero_filled --out ZF` with the same mask and seed, then `mrunfold view "
    "RESULT ZF`.",
    "std": "Uncertainty: reconstruct with `--method unfold`, or with `--samples 8`.",
    "film": "Samples as a film: reconstruct with `--samples 8 --keep-samples`.",
    "planes": "Three planes: the raw file does not say where its slices lie.",
}


def missing(keys: set[str], method: str) -> tuple[str, ...]:
    """Return what a page cannot show and how to get it, a line each."""
    wanted = {k: text for k, text in WANTED.items() if not (k == "zero_filled" and method == "zero_filled")}
    return tuple(text for key, text in wanted.items() if key not in keys)


def metrics_note(values: Mapping[str, float]) -> str:
    """Return `PSNR 34.20 dB · SSIM 0.9312`."""
    decibels = "∞" if math.isinf(values["psnr"]) else f"{values['psnr']:.2f}"
    return f"PSNR {decibels} dB · SSIM {values['ssim']:.4f}"


def provenance(results: Sequence[Reconstruction]) -> tuple[str, ...]:
    """Return where the images of one scan come from, a sentence each; nothing of a patient is in it."""
    first = results[0]
    lines = [_mask(first.mask), f"Magnitude: {first.kind}."]
    for result in results:
        lines.append(_method(result))
    if first.header.geometry is None:
        lines.append("Orientation unknown: shown as stored, readout downwards, phase encoding to the right.")
    else:
        lines.append("Radiological convention: the patient's right is on the reader's left.")
    lines.append(f"Raw file: sha256 {first.digest}.")
    lines.append(f"Written by mrunfold {', '.join(dict.fromkeys(r.version for r in results))}.")
    return tuple(lines)


def _mask(mask: Mapping[str, Any]) -> str:
    delivered = mask["delivered"] if isinstance(mask["delivered"], list) else [mask["delivered"]]
    numbers = [f"{v:.2f}" for v in delivered if isinstance(v, (int, float))]
    given = " to ".join(dict.fromkeys(numbers)) or "unknown"
    asked = f"{mask['asked']:g} asked for, " if isinstance(mask["asked"], (int, float)) else ""
    return f"Sampling: {mask['kind']}; acceleration {asked}{given} actual."


def _method(result: Reconstruction) -> str:
    given = result.parameters["parameters"]
    words = [f"{key} = {value}" for key, value in given.items()] if isinstance(given, dict) else []
    settings = f" with {', '.join(words)}" if words else ""
    weights = f"; weights sha256 {result.weights_sha256}" if result.weights_sha256 else ""
    return f"Method: {result.method}{settings}{weights}."
