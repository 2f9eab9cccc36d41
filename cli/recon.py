"""`mrunfold recon`: a raw file to a folder of images."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrunfold.errors import InputError

if TYPE_CHECKING:
    from mrunfold.pipeline import Summary

__all__ = ["recon"]


def recon(
    file: Annotated[Path, typer.Argument(help="Raw data: fastMRI .h5, ISMRMRD .h5 or BART .cfl.")],
    mask: Annotated[str, typer.Option(help="Undersample by this law, as `mask` has it.")] = "acquired",
    accel: Annotated[float | None, typer.Option(help="Acceleration of a drawn mask.")] = None,
    calibration: Annotated[
        str | None, typer.Option(help="Fully sampled centre of a drawn mask: lines, or samples as 24x32.")
    ] = None,
    center_fraction: Annotated[float | None, typer.Option(help="The same, as a fraction.")] = None,
    method: Annotated[str | None, typer.Option(help="How to reconstruct; a default if not given.")] = None,
    samples: Annotated[int | None, typer.Option(help="Posterior samples: std and quantile maps.")] = None,
    steps: Annotated[int | None, typer.Option(help="Noise levels of a sample; more are more exact.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of unfold, .safetensors.")] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter of the method, key=value; may be repeated.")
    ] = None,
    slices: Annotated[str | None, typer.Option(help="Which slices: 0:3, ::2 or 0,4,-1.")] = None,
    seed: Annotated[str, typer.Option(help="An integer, or `name`: from the file's name, as fastMRI.")] = "0",
    target: Annotated[
        str | None, typer.Option(help="Magnitude: rss or combined; rss if the file has RSS images.")
    ] = None,
    coils: Annotated[float | None, typer.Option(help="Compress to so many coils, or energy.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write, <file>_<method> if none.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor keep coil maps.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Reconstruct a scan into a folder of images.

    Writes recon.h5, recon.nii.gz, preview.png and record.json, all of them or, on any error, nothing.
    Example: mrunfold recon scan.h5 --mask poisson --accel 8
    """
    from mrunfold.cli.console import slice_progress
    from mrunfold.methods.registry import DEFAULT_METHOD
    from mrunfold.pipeline import ReconSettings, reconstruct

    name = method or DEFAULT_METHOD
    learned = {"samples": samples, "steps": steps, "weights": weights}
    settings = ReconSettings(
        mask=mask,
        accel=accel,
        calibration=None if calibration is None else _centre(calibration),
        center_fraction=center_fraction,
        method=name,
        parameters=_parameters(param or []) | {k: v for k, v in learned.items() if v is not None},
        slices=slices,
        seed=_seed(seed),
        target=target,  # type: ignore[arg-type]  # checked by ReconSettings
        coils=coils if coils is None or coils < 1 else _whole(coils),
        device=device,
        threads=threads,
        cache=not no_cache,
    )
    final = out if out is not None else Path(f"{file.stem}_{name}")
    with slice_progress(quiet) as progress:
        summary = reconstruct(file, final, settings, overwrite=overwrite, progress=progress)
    if not quiet:
        _report(summary, final)


def _parameters(pairs: list[str]) -> dict[str, Any]:
    """Return {"lamda": 0.01} for ["lamda=0.01"]; what is no Python literal stays text."""
    parameters: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--param takes key=value, got {pair!r}")
        try:
            parameters[key] = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
        except (ValueError, SyntaxError):
            parameters[key] = text
    return parameters


def _centre(text: str) -> int | tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"--calibration is a number or readout x phase, as 24 or 24x32, got {text!r}")
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))


def _seed(text: str) -> Any:
    if text == "name":
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--seed is an integer or `name`, got {text!r}") from None


def _whole(coils: float) -> int:
    if coils != int(coils):
        raise InputError(f"--coils is a whole number of coils, or a fraction below 1, got {coils:g}")
    return int(coils)


def _report(summary: Summary, folder: Path) -> None:
    """Print what was written and how good it is."""
    from mrunfold.cli.console import print_table

    record = summary.record
    mask, scores = record["mask"], record["metrics"]
    low, high = (f"{value:.2f}" for value in mask["delivered"])
    delivered = low if low == high else f"{low} to {high}"
    asked = f"R={mask['asked']:g} asked, " if mask["asked"] else ""
    rows = [("files", str(folder))]
    rows += [("", f"  {name}") for name in summary.files]
    rows.append(("mask", f"{mask['kind']}, {asked}R={delivered} delivered"))
    rows.append(("method", record["settings"]["method"]))
    rows.append(("magnitude", record["target_kind"]))
    if scores and scores["psnr"] is not None:
        against = f"against {record['target_kind']} of the full data; {scores['rule']}"
        rows.append(("PSNR", f"{scores['psnr']:.2f} dB"))
        rows.append(("SSIM", f"{scores['ssim']:.4f}  ({against})"))
    rows.append(("time", f"{record['seconds_per_slice']:.2f} s/slice, slices: {len(record['slices'])}"))
    rows += [("note", flag) for flag in record["flags"]]
    print_table(rows)
