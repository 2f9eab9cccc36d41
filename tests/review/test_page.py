"""What a page holds, read without a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from reviewed import AXIAL, DIGEST, phantom, write_result, zero_filled
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.metrics import psnr
from mrunfold.review.write import write_view

ROOT = Path(__file__).resolve().parents[2]


def page_data(text: str) -> dict:
    return json.loads(re.search(r'id="page-data">(.*?)</script>', text, re.S)[1])


def volume(text: str, number: int) -> nibabel.Nifti1Image:
    data = re.search(rf'id="volume-{number}">(.*?)</script>', text, re.S)[1]
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(data)))


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
        "error": np.abs(volumes["reconstruction"] - volumes["target"]),
        "std": volumes["std"],
    }
    assert [p["key"] for p in case["panels"]] == [*expected, "film"]
    top = max(volumes[n].max() for n in volumes if n != "std")
    for panel in case["panels"][:-1]:
        image = volume(text, panel["volume"])
        values = image.get_fdata().transpose(2, 1, 0)  # column, row, slice → slice, row, column
        quantum = (top if panel["role"] == "image" else expected[panel["key"]].max()) / 4095
        # Readout runs to posterior and phase to the left: as stored, nothing is turned.
        np.testing.assert_allclose(values, expected[panel["key"]], atol=0.51 * quantum)
        assert image.header.get_zooms() == (1.0, 1.5, 4.0)
    film = volume(text, case["panels"][-1]["volume"]).get_fdata().transpose(3, 2, 1, 0)
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
    shown = volume(text, 0).get_fdata().transpose(2, 1, 0)
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
        shown = volume(text, case["panels"][1]["volume"]).get_fdata().transpose(2, 1, 0)
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
            bodies.append(gzip.decompress(base64.b64decode(bundle)).decode("utf-8"))
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
