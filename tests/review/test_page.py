"""What a page holds, read without a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from pagevolumes import alphabet_of, bytes_of, nifti_of, page_data
from reviewed import AXIAL, DIGEST, phantom, write_result, zero_filled
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.export.geometry import planes_of
from mrunfold.metrics import psnr
from mrunfold.review.page import WIDEST
from mrunfold.review.write import folder_beside, write_view

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, *results: Path, **options) -> str:
    write_view(folder / "page.html", results, **options)
    return (folder / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The page of a result with everything and a zero-filled one of the same scan, and their volumes."""
    folder = tmp_path_factory.mktemp("both")
    full = write_result(folder / "full", phantom(), frame=AXIAL)
    zero = write_result(folder / "zero", zero_filled(), "zero_filled", frame=AXIAL)
    return written(folder, zero, full), phantom(), zero_filled()


def test_panels_hold_the_images(both):
    text, volumes, zeros = both
    (case,) = page_data(text)["cases"]
    expected = {
        "reference": volumes["target"],
        "zero_filled": zeros["reconstruction"],
        "recon": volumes["reconstruction"],
        "std": volumes["std"],
    }
    panels = {p["key"]: p for p in case["panels"]}
    assert list(panels) == ["reference", "zero_filled", "recon", "error", "std", "film"]
    top = max(volumes[n].max() for n in volumes if n != "std")
    for key, images in expected.items():
        image = nifti_of(text, panels[key]["volume"])
        values = image.get_fdata().transpose(2, 1, 0)  # column, row, slice → slice, row, column
        # Readout runs to posterior and phase to the left: as stored, nothing is turned.
        if key == "std":  # half a level of its root
            np.testing.assert_allclose(values**0.5, images**0.5, atol=0.51 * images.max() ** 0.5 / 95)
        else:
            np.testing.assert_allclose(values, images, atol=0.51 * top / 4095)
        assert image.header.get_zooms() == (1.0, 1.5, 4.0)
    # The page takes the error from the images that it holds anyway.
    assert (panels["error"]["volume"], panels["error"]["between"]) == (None, ["recon", "reference"])
    film = nifti_of(text, panels["film"]["volume"]).get_fdata().transpose(3, 2, 1, 0)
    np.testing.assert_allclose(film, [volumes[f"sample_{n:02d}"] for n in (1, 2, 3)], atol=0.51 * top / 4095)
    assert case["edges"] == ["A", "P", "R", "L"]


@pytest.mark.parametrize(
    ("frame", "turn", "edges"),
    [
        # Readout to anterior and phase to the right: turned by half a turn.
        (((0, -1, 0), (-1, 0, 0), (0, 0, -1)), lambda v: v[:, ::-1, ::-1], "APRL"),
        # Readout to the left, phase to posterior: transposed.
        (((1, 0, 0), (0, 1, 0), (0, 0, 1)), lambda v: v.transpose(0, 2, 1), "APRL"),
        # Sagittal: readout to the head, phase to anterior; head up, anterior on the reader's left.
        (((0, 0, 1), (0, -1, 0), (1, 0, 0)), lambda v: v[:, ::-1, ::-1], "SIAP"),
        # Coronal: readout to the feet, phase to the left.
        (((0, 0, -1), (1, 0, 0), (0, 1, 0)), lambda v: v, "SIRL"),
    ],
)
def test_images_are_turned_as_radiologists_expect(tmp_path, frame, turn, edges):
    stored = phantom()["reconstruction"]  # noise has no symmetry
    text = written(tmp_path, write_result(tmp_path / "r", {"reconstruction": stored}, frame=frame))
    (case,) = page_data(text)["cases"]
    shown = nifti_of(text, 0).get_fdata().transpose(2, 1, 0)
    np.testing.assert_allclose(shown, turn(stored), atol=1e-3)
    assert "".join(case["edges"]) == edges
    # The place that the page computes for the centre pixel is the header's.
    at = turn(np.arange(stored.size).reshape(stored.shape)) == np.ravel_multi_index((0, 24, 20), stored.shape)
    place, row, column = np.argwhere(at)[0]
    mm = np.asarray(case["lps"]) @ [column, row, place, 1]
    np.testing.assert_allclose(mm[:3], [3.0, -20.0, 11.0], atol=1e-6)


def test_a_result_brings_its_own_zero_filled_panel(tmp_path):
    begun = zero_filled()["reconstruction"]
    one = write_result(tmp_path / "one", phantom() | {"zero_filled": begun}, frame=AXIAL)
    beside = write_result(tmp_path / "zf", {"reconstruction": 0.5 * begun}, "zero_filled", frame=AXIAL)
    for results, expected in (([one], begun), ([one, beside], 0.5 * begun)):
        text = written(tmp_path, *results, overwrite=True)
        (case,) = page_data(text)["cases"]
        keys = [p["key"] for p in case["panels"]]
        assert keys == ["reference", "zero_filled", "recon", "error", "std", "film"]
        assert not any("Zero-filled" in line for line in case["missing"])
        assert [name for name, _ in case["metrics"]] == ["Zero-filled", "unfold"]
        shown = nifti_of(text, case["panels"][1]["volume"]).get_fdata().transpose(2, 1, 0)
        np.testing.assert_allclose(shown, expected, atol=0.51 * case["top"] / 4095)


def test_unknown_geometry_is_not_invented(tmp_path):
    text = written(tmp_path, write_result(tmp_path / "r", phantom()))
    (case,) = page_data(text)["cases"]
    assert case["edges"] is None
    assert case["lps"] is None
    assert any(line.startswith("Orientation unknown") for line in case["words"])


def test_what_is_missing_is_said_with_the_way_to_it(tmp_path):
    bare = write_result(tmp_path / "bare", {"reconstruction": phantom()["reconstruction"]})
    out = tmp_path / "page.html"
    result = CliRunner().invoke(main.app, ["view", str(bare), "--no-open", "--out", str(out)])
    assert result.exit_code == 0, result.output
    (case,) = page_data(out.read_text())["cases"]
    assert [p["key"] for p in case["panels"]] == ["recon"]
    for word in ("--mask poisson", "--method zero_filled", "--samples 8", "--keep-samples"):
        assert any(word in line for line in case["missing"])
        assert word in result.stdout


def test_metrics_and_provenance_in_words(both):
    text, volumes, _ = both
    (case,) = page_data(text)["cases"]
    expected = psnr(volumes["target"], volumes["reconstruction"], data_range=volumes["target"].max())
    assert {name: values["psnr"] for name, values in case["metrics"]}["unfold"] == f"{expected:.2f}"
    words = " ".join(case["words"])
    assert "acceleration 4 asked for, 3.98 to 4.01 actual" in words
    assert DIGEST in words
    assert "cd" * 32 in words
    assert case["flags"] == ["simulated data: made for a test"]
    assert "Research use, not for diagnosis" in text


def test_the_policy_lets_nothing_in_but_the_page_itself(both):
    text = both[0]
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        where = text if tag == "script" else text[: text.index("</head>")]  # the scripts hold tags as text
        bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", where, re.S)
        if tag == "script":  # what the first one unpacks and runs
            bodies += re.findall(r'<script type="text/plain" class="run">(.*?)</script>', where, re.S)
            bundle = re.search(r'id="niivue">([^<]+)<', where)[1]
            packed = bytes_of(bundle, alphabet_of(text), page_data(text)["bundle"])
            bodies.append(gzip.decompress(packed).decode("utf-8"))
        hashes = {base64.b64encode(hashlib.sha256(b.encode()).digest()).decode() for b in bodies}
        assert set(re.findall(r"'sha256-([^']+)'", rules[rule])) == hashes
    assert "Copyright (c) 2021, Niivue" in text


def test_the_vendored_file_is_what_its_notice_says():
    digest = hashlib.sha256((ROOT / "mrunfold/review/vendor/niivue.umd.js").read_bytes()).hexdigest()
    assert digest in (ROOT / "docs/notices/niivue.md").read_text()


def test_no_text_of_a_result_ends_an_element(tmp_path):
    evil = "</script><script>document.title='x'</script>"
    result = write_result(tmp_path / "r", phantom(), flags=[evil])
    text = written(tmp_path, result)
    assert evil not in text
    assert page_data(text)["cases"][0]["flags"] == [evil]


def test_names_of_folders_stay_out_unless_asked_for(tmp_path):
    result = write_result(tmp_path / "CANARY", phantom())
    assert "CANARY" not in written(tmp_path, result)
    assert "CANARY" in written(tmp_path, result, names=True, overwrite=True)


def test_several_scans_and_methods(tmp_path):
    one = write_result(tmp_path / "one", phantom())
    sense = write_result(tmp_path / "sense", zero_filled(), "sense")
    other = write_result(tmp_path / "other", phantom(seed=3), input_sha256="ef" * 32)
    cases = page_data(written(tmp_path, one, other, sense))["cases"]
    assert [[p["key"] for p in c["panels"] if p["key"].startswith("recon")] for c in cases] == [
        ["recon", "recon2"],
        ["recon"],
    ]


def test_results_that_do_not_belong_together(tmp_path):
    one = write_result(tmp_path / "one", phantom())
    rss = write_result(tmp_path / "rss", phantom(), target_kind="rss")
    with pytest.raises(InputError, match=r"`target=combined`"):
        written(tmp_path, one, rss)
    settings = {"mask": "random", "accel": 8, "calibration": None, "center_fraction": None, "method": "sense"}
    settings |= {"parameters": {}, "seed": 0, "coils": None}
    mask = write_result(tmp_path / "mask", phantom(), "sense", settings=settings)
    with pytest.raises(InputError, match=r"different masks \(mask, accel\)"):
        written(tmp_path, one, mask)
    assert not (tmp_path / "page.html").exists()


def test_a_page_is_not_replaced_by_chance(tmp_path):
    result = write_result(tmp_path / "r", phantom())
    written(tmp_path, result)
    with pytest.raises(InputError, match="`overwrite`"):
        written(tmp_path, result)
    with pytest.raises(InputError, match=r"\.html"):
        write_view(tmp_path / "page.txt", [result])


def test_damaged_results_are_refused_or_shown_but_never_half_written(tmp_path):
    result = write_result(tmp_path / "r", {"reconstruction": phantom(2)["reconstruction"]})
    path = result / "recon.h5"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for number in range(30):
        damaged = bytearray(whole)
        if number % 2:
            del damaged[rng.integers(8, len(damaged)) :]
        else:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert written(tmp_path, result, overwrite=True).endswith("</html>\n")
        except InputError:
            continue
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_the_browser_is_opened_unless_told_not_to(tmp_path, monkeypatch):
    result = write_result(tmp_path / "r", phantom(2))
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    for extra in (["--no-open"], ["--overwrite"]):
        assert CliRunner().invoke(main.app, ["view", str(result), *extra]).exit_code == 0
    assert opened == [(tmp_path / "r.view.html").as_uri()]


def scan_of(slices: int, side: int) -> dict[str, np.ndarray]:
    """A scan of a real size: a head, noise of 3 % in the reference, samples that differ smoothly."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(*(np.linspace(-1, 1, side),) * 2, indexing="ij")
    head = (0.6 + 0.4 * np.cos(9 * x) * np.cos(7 * y)) * ((y / 0.9) ** 2 + (x / 0.75) ** 2 < 1)
    target = np.stack([head * (1 - 0.01 * n) for n in range(slices)]).astype(np.float32)

    def noise(level: float, width: float) -> np.ndarray:
        white = rng.standard_normal(target.shape, np.float32)
        smooth = gaussian_filter(white, (0, width, width)) if width else white
        return smooth * level / smooth.std()

    samples = [np.abs(target + noise(0.02, 0.8)) for _ in range(8)]
    volumes = {"reconstruction": np.mean(samples, axis=0), "std": np.std(samples, axis=0, ddof=1)}
    volumes |= {"target": np.abs(target + noise(0.03, 0)), "zero_filled": np.abs(target + noise(0.1, 1))}
    return volumes | {"sample_01": samples[0], "sample_02": samples[1]}


@pytest.mark.slow  # pytest -m slow tests/review/test_page.py
def test_forty_slices_with_a_map_make_a_page_under_six_megabytes(tmp_path):
    """Reconstruction and map stay in the page, what does not fit lies in the folder beside it, whole."""
    volumes = scan_of(40, 256)
    result = write_result(tmp_path / "r", volumes, frame=AXIAL)
    text = written(tmp_path, result)
    assert len(text.encode()) < WIDEST == 6_000_000
    folder = folder_beside(tmp_path / "page.html")
    files = {p.name: p.read_text() for p in folder.iterdir()}
    (case,) = page_data(text)["cases"]
    inside = {
        p["key"]: page_data(text)["volumes"][p["volume"]]["file"] is None
        for p in case["panels"]
        if not p["between"]
    }
    assert inside["recon"]
    assert inside["std"]
    assert not all(inside.values())
    assert len(files) == list(inside.values()).count(False)
    # The last slices of a volume in the folder, decoded here: they are those of the result.
    number = next(p["volume"] for p in case["panels"] if p["key"] == "film")
    shown = nifti_of(text, number, files=files).get_fdata()
    assert shown.shape == (256, 256, 40, 2)
    np.testing.assert_allclose(shown[..., 39, 1].T, volumes["sample_02"][39], atol=0.51 * case["top"] / 4095)
    # Only then does the policy allow scripts from beside the page.
    assert re.search(r"script-src [^;]*'self' file:", text)


def test_a_page_that_fits_has_no_folder_and_loses_that_of_an_earlier_one(tmp_path, monkeypatch):
    result = write_result(tmp_path / "r", phantom())
    folder = folder_beside(tmp_path / "page.html")
    monkeypatch.setattr("mrunfold.review.page.WIDEST", 0)
    text = written(tmp_path, result)
    assert len(list(folder.iterdir())) == len(page_data(text)["volumes"]) > 0
    with pytest.raises(InputError, match="overwrite"):
        written(tmp_path, result)
    text = written(tmp_path, result, overwrite=True, one_file=True)
    assert not folder.exists()
    assert {v["file"] for v in page_data(text)["volumes"]} == {None}
    assert "'self'" not in text[: text.index("</head>")]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("mrunfold.review.page.WIDEST", 0)
    folder = folder_beside(tmp_path / "page.html")
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    with pytest.raises(InputError):
        written(tmp_path, write_result(tmp_path / "r", phantom()), overwrite=True)
    assert (folder / "mine.txt").read_text() == "keep"
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("frame", [AXIAL, None])
def test_volumes_of_one_place_are_frames_of_one_case(tmp_path, frame):
    volumes = phantom(6, (24, 20))
    result = write_result(tmp_path / "r", volumes, frame=frame, frames=(0, 1, 2, 0, 1, 2))
    text = written(tmp_path, result)
    (case,) = page_data(text)["cases"]
    assert case["places"] == [[0, 3], [1, 4], [2, 5]]
    assert case["labels"] == ["repetition 0", "repetition 1", "repetition 2"]
    assert case["shape"] == [20, 24, 2]
    panels = {p["key"]: p for p in case["panels"]}
    assert [(panels[k]["frames"], panels[k]["samples"]) for k in ("recon", "film")] == [(3, 1), (3, 3)]
    film = nifti_of(text, panels["film"]["volume"]).get_fdata()
    # Volume 2, sample 3, second slice: the fifth of the scan.
    np.testing.assert_allclose(film[..., 1, 1 * 3 + 2].T, volumes["sample_03"][4], atol=2e-3)


@pytest.mark.parametrize("frames", [(0, 0, 1, 1), (0, 0, 1)])
def test_volumes_of_other_places_or_sizes_are_cases_of_their_own(tmp_path, frames):
    """Two volumes beside each other, and two that begin in the same place with 2 and 1 slices."""
    count = len(frames)
    apart = (0.0, 50.0) if count == 4 else (0.0, 0.0)
    result = write_result(
        tmp_path / "r", phantom(count, (24, 20)), frame=AXIAL, frames=frames, apart_mm=apart
    )
    cases = page_data(written(tmp_path, result))["cases"]
    assert [c["places"] for c in cases] == [[[0, 1]], [[2, 3][: count - 2]]]
    titles = [c["title"].split(" · ", 2)[2] for c in cases]
    assert titles == ["stack 1 of 2, repetition 0", "stack 2 of 2, repetition 1"]


SEEN = {
    "axial": (((0, 1, 0), (1, 0, 0), (0, 0, 1)), 0),
    "axial, from the head": (((0, 1, 0), (1, 0, 0), (0, 0, -1)), 0),
    "sagittal": (((0, 0, -1), (0, 1, 0), (1, 0, 0)), 2),
    "coronal": (((0, 0, 1), (-1, 0, 0), (0, -1, 0)), 1),
}


@pytest.mark.parametrize("name", SEEN)
def test_the_three_planes_have_the_edges_that_radiologists_expect(tmp_path, name):
    frame, own = SEEN[name]
    text = written(tmp_path, write_result(tmp_path / "r", phantom(), frame=frame))
    (case,) = page_data(text)["cases"]
    assert case["plane"] == own
    assert ["".join(edges) for edges in case["planes"]] == ["APRL", "SIRL", "SIAP"]
    # Along each axis of RAS the volume's axis and sign, by the case's own affine to LPS.
    steps = np.asarray(case["lps"])[:3, :3] * [[-1], [-1], [1]]
    for ras, (axis, sign) in enumerate(case["axes"]):
        assert int(np.argmax(np.abs(steps[ras]))) == axis
        assert np.sign(steps[ras, axis]) == sign


def test_one_slice_or_no_place_has_no_planes(tmp_path):
    flat = written(tmp_path, write_result(tmp_path / "one", phantom(1), frame=AXIAL))
    unknown = written(tmp_path, write_result(tmp_path / "r", phantom()), overwrite=True)
    assert [page_data(text)["cases"][0]["planes"] for text in (flat, unknown)] == [None, None]
    assert any(line.startswith("Three planes") for line in page_data(unknown)["cases"][0]["missing"])


def test_a_sheared_stack_is_not_cut_across():
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    assert planes_of(affine, (20, 24, 5)).edges is not None
    affine[0, 2] = 0.5  # each slice half a pixel beside the one before
    assert planes_of(affine, (20, 24, 5)).edges is None
