"""The pictures of docs/clinical.md: `python docs/pictures/clinical.py docs/pictures`.

A scan is simulated with its place in the patient, reconstructed, exported, and drawn by other programs:
dcmtk's dcm2pnm, Orthanc's preview and its web viewer (in a network namespace of its own: Debian, root),
pydicom, nibabel, and Chromium.  The readers of the study's table are drawn by chance.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pydicom
from PIL import Image

from mrunfold.phantoms.brain import write_sample

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "review"))

from browser import READY, Browser, chromium
from rawfiles import header_xml, write_acquisitions, write_mrd

ROOT = Path(__file__).resolve().parents[2]
SLICES, SIZE = 16, (160, 136)
MIDDLE = SLICES // 2
ECHOES = (10.0, 50.0)  # ms
ALONE = ["unshare", "-n", "bash", "-c", 'ip link set lo up && exec "$@"', "alone"]
FRAME = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))  # readout to posterior, phase to left, slices up
ORTHANC = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from orthanc import PEER, Orthanc, previews
from mrunfold.pacs import parse_peer, push
server = Orthanc(Path(sys.argv[2]))
try:
    push(Path(sys.argv[3]), parse_peer(PEER))
    print(json.dumps(previews()))
finally:
    server.kill()
"""


def mrunfold(folder: Path, *words: object) -> None:
    program = Path(sys.executable).with_name("mrunfold")
    subprocess.run([str(program), *map(str, words)], cwd=folder, check=True)


def simulate(folder: Path) -> None:
    """Write sample.h5, which does not say where it lies, and scan.h5 of the same k-space, which does."""
    write_sample(folder / "sample.h5", coils=4, slices=SLICES, size=SIZE)
    with h5py.File(folder / "sample.h5") as file:
        kspace = file["kspace"][:]
    heights = np.linspace(-15, 50, SLICES + 2)[1:-1]
    positions = np.stack([np.zeros(SLICES), np.zeros(SLICES), heights], axis=1)
    pixel = (256 / SIZE[0], 218 / SIZE[1])
    write_mrd(folder / "scan.h5", kspace, SIZE, pixel, FRAME, positions)
    middle = slice(MIDDLE - 2, MIDDLE + 3)
    write_echoes(folder / "echoes.h5", kspace[middle], pixel, positions[middle])


def write_echoes(path: Path, kspace: np.ndarray, pixel: tuple[float, float], positions: np.ndarray) -> None:
    """Write a scan of two echoes: where the image is bright the second has decayed most."""
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1))), axes=(-2, -1))
    height = np.linalg.norm(image, axis=1, keepdims=True)
    later = image * np.exp(-0.8 * height / height.max())
    second = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(later, axes=(-2, -1))), axes=(-2, -1))
    axes = dict(zip(("read_dir", "phase_dir", "slice_dir"), FRAME, strict=True))
    rows = [
        (one[..., line].astype(np.complex64), axes | {"kspace_encode_step_1": line, "slice": s,
                                "contrast": echo, "position": tuple(positions[s])})
        for echo, frame in enumerate((kspace, second))
        for s, one in enumerate(frame)
        for line in range(one.shape[-1])
    ]  # fmt: skip
    times = "".join(f"<TE>{time}</TE>" for time in ECHOES)
    xml = header_xml(kspace, SIZE, pixel)
    end = f"<sequenceParameters>{times}</sequenceParameters></ismrmrdHeader>"
    write_acquisitions(path, rows, xml.replace("</ismrmrdHeader>", end))


def make(folder: Path) -> None:
    """Reconstruct one slice with samples, and all slices from full data; export and show them."""
    simulate(folder)
    one = ("--mask", "poisson", "--accel", 6, "--target", "combined", "--slices", f"{MIDDLE}:{MIDDLE + 1}")
    mrunfold(folder, "recon", "scan.h5", *one, "--samples", 3, "--keep-samples", "--out", "results/unfold")
    finish(folder, one)


def finish(folder: Path, one: Sequence[object]) -> None:
    mrunfold(folder, "recon", "scan.h5", *one, "--method", "zero_filled", "--out", "results/zero_filled")
    quick = ("--method", "zero_filled", "--target", "rss", "--check", 0)
    mrunfold(folder, "recon", "scan.h5", *quick, "--out", "volume")
    mrunfold(folder, "recon", "sample.h5", *quick, "--slices", f"{MIDDLE}:{MIDDLE + 1}", "--out", "fastmri")
    mrunfold(folder, "recon", "echoes.h5", *quick, "--out", "echoes")
    mrunfold(folder, "export", "echoes", "--dicom", "--out", "export/echoes")
    mrunfold(folder, "export", "results/unfold", "--dicom", "--nifti", "--out", "export/slice")
    mrunfold(folder, "export", "volume", "--dicom", "--enhanced", "--out", "export/volume")
    mrunfold(folder, "export", "fastmri", "--dicom", "--out", "export/capture")
    mrunfold(folder, "view", "results/unfold", "--no-open", "--out", "view.html")
    mrunfold(folder, "view", "volume", "--no-open", "--out", "volume.html")
    mrunfold(folder, "review", "results", "--blinded", "--seed", 1, "--reference", "--out", "study")


def by_dcmtk(file: Path, frame: int = 1) -> np.ndarray:
    """What dcm2pnm draws of a frame with the file's own window, which Enhanced MR has in a group."""
    one = pydicom.dcmread(file, stop_before_pixels=True)
    if "SharedFunctionalGroupsSequence" in one:
        one = one.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
    window = ["--set-window", str(one.WindowCenter), str(one.WindowWidth)]
    command = ["dcm2pnm", "--write-png", "--frame", str(frame), *window, str(file)]
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([*command, f"{work}/out.png"], check=True, capture_output=True)
        return np.asarray(Image.open(f"{work}/out.png").convert("L"))


def by_orthanc(folder: Path) -> dict[str, list[np.ndarray | None]]:
    """What Orthanc draws of each frame, by SOP Instance UID."""
    command = [*ALONE, sys.executable, "-c", ORTHANC, str(ROOT / "tests" / "pacs"), str(folder / "orthanc")]
    done = subprocess.run([*command, str(folder / "export")], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        one["uid"]: [None if f is None else np.array(f["pixels"]) for f in one["frames"]] for one in found
    }


def objects(folder: Path, out: Path) -> None:
    """Draw one slice of every object that is written, each by a program that is not ours."""

    def file(part: str, series: str, number: int = 0) -> Path:
        return sorted((folder / "export" / part / "dicom" / series).iterdir())[number]

    drawn = by_orthanc(folder)

    def orthanc(path: Path, frame: int = 0) -> np.ndarray | None:
        return drawn[str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)][frame]

    image = file("volume", "001_reconstruction", MIDDLE)
    enhanced = file("volume", "011_reconstruction_enhanced")
    mapped = file("slice", "006_std_map")
    assert orthanc(mapped) is None
    nifti = nibabel.load(folder / "export/slice/nifti/recon.nii.gz")
    shown = [
        ("MR Image Storage\ndcmtk", by_dcmtk(image)),
        ("MR Image Storage\nOrthanc", orthanc(image)),
        (f"Enhanced MR, frame {MIDDLE + 1} of {SLICES}\ndcmtk", by_dcmtk(enhanced, MIDDLE + 1)),
        (f"Enhanced MR, frame {MIDDLE + 1} of {SLICES}\nOrthanc", orthanc(enhanced, MIDDLE)),
        ("Standard deviation, MR Image Storage\ndcmtk", by_dcmtk(file("slice", "002_std"))),
        ("Parametric Map\npydicom (Orthanc draws none)", pydicom.dcmread(mapped).pixel_array),
        ("Secondary Capture (no place)\ndcmtk", by_dcmtk(file("capture", "001_reconstruction"))),
        ("NIfTI, as the array lies\nnibabel", np.asanyarray(nifti.dataobj)[..., 0]),
    ]
    figure, axes = plt.subplots(2, 4, figsize=(10, 6.4), layout="constrained")
    for axis, (title, picture) in zip(axes.flat, shown, strict=True):
        assert picture is not None, title
        axis.imshow(picture, cmap="gray", interpolation="nearest")
        axis.set_title(title, fontsize=8)
        axis.set(xticks=[], yticks=[])
    figure.savefig(out, dpi=80)


def viewer(folder: Path, out: Path) -> None:
    """Keep what the web viewer of Orthanc shows of four series, and print what it says of the map."""
    shots = folder / "shots"
    shots.mkdir(exist_ok=True)
    script = ROOT / "tests" / "pacs" / "webviewer.py"
    with tempfile.TemporaryDirectory() as work:
        command = [*ALONE, sys.executable, str(script), work, str(folder / "export"), str(shots)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    said = {one["uid"]: one["alerts"] for one in json.loads(done.stdout.splitlines()[-1])}

    def series(name: str) -> str:
        file = next((folder / "export" / name).iterdir())
        return str(pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID)

    names = ("volume/dicom/001_reconstruction", "echoes/dicom/001_reconstruction")
    names += ("slice/dicom/002_std", "volume/dicom/011_reconstruction_enhanced")
    whole = Image.new("RGB", (1200, 932))
    for number, name in enumerate(names):
        assert said[series(name)] == [], said
        shot = Image.open(shots / f"{series(name)}.png").convert("RGB").resize((598, 465), Image.LANCZOS)
        whole.paste(shot, (602 * (number % 2), 467 * (number // 2)))
    whole.save(out, optimize=True)
    print("of the Parametric Map it says:", *said[series("slice/dicom/006_std_map")])


def sized(browser: Browser, width: int, height: int) -> None:
    browser.cdp(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1,
        mobile=width < 600,
    )
    browser.settle()


def keep(browser: Browser, out: Path) -> None:
    browser.settle()
    browser.screenshot(out)
    Image.open(out).convert("RGB").save(out, optimize=True)


def pages(folder: Path, out: Path) -> None:
    """Keep screenshots of the review page, on a screen and on a telephone, and of a reader's case."""
    with chromium(folder) as browser:
        sized(browser, 1440, 900)
        browser.open(folder / "view.html", READY, seconds=400)
        browser.press("u", "c")
        keep(browser, out / "clinical_page.png")
        sized(browser, 390, 844)
        keep(browser, out / "clinical_phone.png")
        sized(browser, 1440, 900)
        browser.open(folder / "volume.html", READY, seconds=400)
        browser.press("m")
        browser.wait("window.mrunfold.state.cut !== null && !window.mrunfold.busy")
        keep(browser, out / "clinical_planes.png")
        browser.open(folder / "study/for_readers/study.html", READY, seconds=400)
        browser.run("document.getElementById('reader').focus()")
        browser.press(*"R-1")
        browser.run("document.getElementById('begin').click()")
        browser.wait("!document.getElementById('start').open && !window.mrunfold.waiting")
        keep(browser, out / "clinical_study.png")
        join(folder)
        sized(browser, 1000, 900)
        browser.open(folder / "study/key/ratings.agreement.html", "Reading study")
        keep(browser, out / "clinical_agreement.png")


def join(folder: Path) -> None:
    """Write the ratings of three readers who do not exist, and join them with the key."""
    about = json.loads((folder / "study/key/study.json").read_text())
    with open(folder / "study/key/key.csv", encoding="utf-8", newline="") as file:
        key = list(csv.DictReader(file))
    rng = np.random.default_rng(0)
    quality = {"unfold": 3.6, "zero_filled": 1.8, "reference": 4.4}
    for reader in ("R-1", "R-2", "R-3"):
        text = io.StringIO()
        table = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        head = ["study", "reader", "position", "case"]
        table.writerow([*head, *about["questions"], "preference", "comment", "seconds"])
        for position, row in enumerate(key, start=1):
            noise = 0.6 * rng.standard_normal(len(about["questions"]))
            scores = np.clip(np.rint(quality[row["method"]] + noise), 1, 5).astype(int)
            seconds = round(float(rng.uniform(10, 40)), 1)
            answers = [*scores, "", "", seconds]
            table.writerow([about["study"], reader, position, row["case"], *answers])
        (folder / f"{reader}.csv").write_bytes(text.getvalue().encode())
    mrunfold(folder, "review", "--join", "study/key", "R-1.csv", "R-2.csv", "R-3.csv")


def main(out: Path, folder: Path | None = None) -> None:
    """Make everything in a temporary folder, or draw again what lies in `folder`."""
    if folder is not None:
        objects(folder, out / "clinical_objects.png")
        viewer(folder, out / "clinical_viewer.png")
        pages(folder, out)
        return
    with tempfile.TemporaryDirectory() as work:
        make(Path(work))
        main(out, Path(work))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
