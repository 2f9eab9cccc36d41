"""`mrunfold recon`: a raw file to a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mrunfold.pipeline import Summary

__all__ = ["recon"]


def recon(
    context: typer.Context,
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
    coils: Annotated[
        str,
        typer.Option(
            help="Compress to so many coils, or share of energy; all; auto: above 8 what is not noise."
        ),
    ] = "auto",
    maps: Annotated[str, typer.Option(help="Whose ESPIRiT: torch or sigpy.")] = "torch",
    map_sets: Annotated[str, typer.Option(help="Sets of coil maps: auto (1 or 2) or a number.")] = "auto",
    measurement: Annotated[str | None, typer.Option(help="Group of an ISMRMRD file with several.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write, <file>_<method> if none.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")] = False,
    keep_samples: Annotated[
        bool, typer.Option("--keep-samples", help="Write the samples too, not only their spread.")
    ] = False,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write DICOM too; more with `export`.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor keep coil maps.")] = False,
    check: Annotated[int, typer.Option(min=0, help="Slices checked by held-out samples.")] = 3,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Reconstruct a scan into a folder of images.

    Writes recon.h5, recon.nii.gz, preview.png and record.json, all of them or, on any error, nothing.
    Example: mrunfold recon scan.h5 --mask poisson --accel 8
    """
    from mrunfold.cli.console import slice_progress
    from mrunfold.cli.options import recon_options
    from mrunfold.pipeline import ReconSettings, reconstruct

    settings = ReconSettings(**recon_options(context.params))
    final = out if out is not None else Path(f"{file.stem}_{settings.method}")
    with slice_progress(quiet) as progress:
        also = _write_dicom if dicom else None
        summary = reconstruct(file, final, settings, overwrite=overwrite, progress=progress, also=also)
    if not quiet:
        _report(summary, final)


def _write_dicom(folder: Path) -> None:
    from mrunfold.export.run import ExportRequest, export_result

    export_result(folder / "recon.h5", folder, ExportRequest(dicom=True))


def checked_in_words(check: dict[str, Any]) -> str:
    """Return the verdict of held-out samples, with the share that the method and SENSE explain of them."""
    shares = [c for c in check["slices"].values() if "explained" in c]
    if not shares:
        return str(check["verdict"])
    ours, sense = (100 * min(c[name] for c in shares) for name in ("explained", "sense"))
    return f"{check['verdict']} (of held-out samples it explains {ours:.1f} %, SENSE {sense:.1f} %)"


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
    rows.append(("check", checked_in_words(record["check"])))
    rows += [("note", flag) for flag in record["flags"]]
    print_table(rows)
