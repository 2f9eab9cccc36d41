"""What an export and a page cost: seconds and peak memory, against reading and against nibabel alone."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrunfold.export import header_facts, open_reconstruction, peak_memory_mb
from mrunfold.export.run import ExportRequest, export_result
from mrunfold.io.scan import Geometry, Header
from mrunfold.pipeline.volume import open_writer
from mrunfold.review.write import write_view

__all__ = ["ExportRow", "load_seconds", "measure"]

BROWSERS = ("chromium", "google-chrome", "chromium-browser")
PAGE = "page.html"
READY = "not for diagnosis"  # in the title, once everything is drawn
LONGEST_LOAD = 300.0  # seconds


@dataclass(frozen=True)
class ExportRow:
    """One way to write: seconds, peak memory of its process and what the process had before, and MB written.

    Or `load`, the page in a browser: seconds alone.
    """

    name: str
    seconds: float
    peak_mb: float | None
    before_mb: float | None
    written_mb: float


def measure(slices: int, size: int, report: Callable[[ExportRow], None]) -> list[ExportRow]:
    """Export a random volume with a standard deviation, and write and load its page, each in a process.

    Loading is left out where there is no Chromium.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = _write(Path(folder) / "recon.h5", slices, size)
        for name in ("read", "nibabel", "nifti", "dicom", "page"):
            out = Path(folder) / name
            out.mkdir()
            # A new process each: peak memory never falls within one.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows.append(pool.apply(_one, (name, source, out)))
            report(rows[-1])
        seconds = load_seconds(out / PAGE)
        if seconds is not None:
            rows.append(ExportRow("load", seconds, None, None, 0.0))
            report(rows[-1])
    return rows


def load_seconds(page: Path) -> float | None:
    """Return how long Chromium takes until a page has drawn everything, its own start included.

    None where there is no Chromium; RuntimeError where it does not get so far.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        return None
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as profile:
        command = [
            program, "--headless=new", "--no-sandbox", "--enable-unsafe-swiftshader", "--no-first-run",
            "--disable-dev-shm-usage", "--window-size=1280,800", "--remote-debugging-port=0",
            f"--user-data-dir={profile}", page.absolute().as_uri(),
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                _wait_for_title(browser, Path(profile) / "DevToolsActivePort")
                return time.perf_counter() - begun
            finally:
                browser.terminate()


def _wait_for_title(browser: subprocess.Popen[bytes], port: Path) -> None:
    """Wait until the page in `browser` has the title that it takes when all is drawn."""
    end = time.monotonic() + LONGEST_LOAD
    while time.monotonic() < end and browser.poll() is None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            address = f"http://127.0.0.1:{int(port.read_text().split()[0])}/json/list"
            with urllib.request.urlopen(address, timeout=5) as answer:
                titles = [one.get("title", "") for one in json.load(answer)]
            if any(READY in title for title in titles):
                return
        time.sleep(0.02)
    raise RuntimeError("the page was never drawn: see that Chromium runs here, and that it has WebGL 2")


def _write(path: Path, slices: int, size: int) -> Path:
    positions = np.arange(slices)[:, None] * np.array([0.0, 0.0, -5.0])
    x, y, z = np.eye(3)
    header = Header(
        "mrd", slices, 1, (size, size), size, (size, size), None, (0.7, 0.7), 5.0,
        Geometry(positions, y, x, -z), contrast={"body_part": "HEAD"},
    )  # fmt: skip
    settings = {"mask": "acquired", "parameters": {}, "seed": 0}
    settings |= dict.fromkeys(("accel", "calibration", "center_fraction", "coils"))
    said = {
        "mrunfold_version": "unknown", "input_sha256": "0" * 64,
        "header": header_facts(header, range(slices)),
        "method": "none", "weights_sha256": "none", "settings": settings, "slices": list(range(slices)),
        "mask": {"kind": "acquired", "asked": None, "delivered": [1.0, 1.0]}, "target_kind": "rss",
        "flags": ["random numbers, no image"],
    }  # fmt: skip
    rng = np.random.default_rng(0)
    with open_writer(path, slices, (size, size)) as writer:
        for place in range(slices):
            writer.put("reconstruction", place, rng.random((size, size), dtype=np.float32))
            writer.put("std", place, 0.03 * rng.random((size, size), dtype=np.float32))
        writer.describe(said)
    return path


def _one(name: str, source: Path, out: Path) -> ExportRow:
    import highdicom.pm  # noqa: F401  (imports are not what is timed)
    import nibabel

    before = peak_memory_mb()
    begun = time.perf_counter()
    if name in ("read", "nibabel"):
        with open_reconstruction(source) as result:
            for dataset in ("reconstruction", "std"):
                images = result.images(dataset)
                if name == "read":
                    for _ in images:
                        pass
                else:
                    volume = np.stack(list(images)).transpose(1, 2, 0)
                    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), out / f"{dataset}.nii.gz")
    elif name == "page":
        write_view(out / PAGE, [source])
    else:
        export_result(source, out, ExportRequest(dicom=name == "dicom", nifti=name == "nifti"))
    seconds = time.perf_counter() - begun
    written = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 1e6
    return ExportRow(name, seconds, peak_memory_mb(), before, written)
