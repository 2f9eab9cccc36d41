"""`mrunfold recon`: a raw file to a folder of images."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrunfold.cli.shared import DEFAULT_METHOD, with_recon_options
from mrunfold.text import printable

if TYPE_CHECKING:
    from mrunfold.pipeline import Summary

__all__ = ["recon"]


@with_recon_options()
def recon(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Raw data: fastMRI .h5, ISMRMRD .h5, twix .dat or BART .cfl.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write, FILE_METHOD in this folder by default.")
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="Standard deviation of all coils' noise, or a FILE of (coil, samples).")
    ] = None,
    save: Annotated[
        str, typer.Option(help="Also save complex (NIfTI), maps, mask (in recon.h5); as complex,maps.")
    ] = "",
) -> None:
    """Reconstruct a scan into a folder of images.

    Writes recon.h5, recon.nii.gz, preview.png and record.json, all of them or, on any error, nothing.
    Example: mrunfold recon scan.h5 --mask poisson --accel 8
    """
    from mrunfold.cli.console import slice_progress

    options = context.params
    if not options["quiet"]:
        begun(file, options["method"] or DEFAULT_METHOD)
    from mrunfold.cli.options import own_options, recon_options
    from mrunfold.pipeline import ReconSettings, reconstruct

    own, named = own_options(options)
    settings = ReconSettings(**recon_options(options | named))
    final = out if out is not None else Path(f"{file.stem}_{settings.method.rpartition(':')[2]}")
    with slice_progress(options["quiet"]) as progress:
        also = _write_dicom if options["dicom"] else None
        how: dict[str, Any] = {"overwrite": options["overwrite"], "progress": progress, "also": also}
        summary = reconstruct(file, final, settings, own=own, **how)
    if not options["quiet"]:
        _report(summary, final)


def begun(file: Path, method: str) -> None:
    """Say on a terminal's stderr what is read and by which method, before PyTorch is loaded in silence."""
    if not sys.stderr.isatty():
        return  # there an error is the only line
    with contextlib.suppress(OSError):  # the reader says what is wrong with it
        size = f"{file.stat().st_size / 1e6:.3g} MB"
        print(f"{printable(file.name)}, {size}, by {printable(method)}", file=sys.stderr, flush=True)


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


def _uncertainty(record: dict[str, Any]) -> str:
    """Return where the map of standard deviations comes from, or why there is none."""
    if record["uncertainty"] is not None:
        return f"standard deviation, {record['uncertainty']}"
    method = record["slices"][0]["method"]
    if "sd" in method:
        return f"no map: {method['sd']['none']}"
    if method["method"] == "unfold":
        return "no map: see `--samples`"
    return f"no map: {method['method']} makes none; --method unfold does"


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
    rows.append(("mask", f"{mask['kind']}, {asked}R={delivered} actual"))
    rows.append(("method", record["settings"]["method"]))
    rows.append(("magnitude", record["target_kind"]))
    if scores and scores["psnr"] is not None:
        against = f"against {record['target_kind']} of the full data; {scores['rule']}"
        rows.append(("PSNR", f"{scores['psnr']:.2f} dB"))
        rows.append(("SSIM", f"{scores['ssim']:.4f}  ({against})"))
    rows.append(("time", f"{record['seconds_per_slice']:.2f} s/slice, slices: {len(record['slices'])}"))
    rows.append(("check", checked_in_words(record["check"])))
    rows.append(("uncertainty", _uncertainty(record)))
    rows += [("note", flag) for flag in record["flags"]]
    print_table(rows)
