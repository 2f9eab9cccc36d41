"""`mrunfold evaluate`: fastMRI's numbers, nothing dropped, reports that stand alone."""

from __future__ import annotations

import csv
import hashlib
import html
import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.evaluation import compare, evaluate_folder

ACQUISITIONS = ("AXT1", "AXT1", "AXT2", "AXT2", "AXFLAIR")


def volume(seed: int, shape: tuple[int, ...] = (2, 44, 40)) -> np.ndarray:
    smooth = np.random.default_rng(seed).random(shape).cumsum(-1).cumsum(-2)
    return (3e-4 * smooth / smooth.max()).astype(np.float32)


def write(path: Path, attributes: dict | None = None, **volumes: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in volumes.items():
            file[name] = values
        file.attrs.update(attributes or {})
    return path


def recons(folder: Path, noise: float, seed: int = 7, digest: str | None = None) -> Path:
    """Write a run over the volumes of `folders`; the third reconstruction is larger than its target."""
    for i in range(len(ACQUISITIONS)):
        rng = np.random.default_rng((seed, i))
        image = volume(i)
        image = np.abs(image + noise * (1 + i) * 3e-4 * rng.standard_normal(image.shape)).astype(np.float32)
        if i == 2:
            image = np.pad(image, ((0, 0), (1, 2), (2, 3)), constant_values=1.0)
        attributes = {} if digest is None else {"protocol_digest": digest}
        write(folder / f"file{i}.h5", attributes, reconstruction=image)
    return folder


@pytest.fixture
def targets(tmp_path) -> Path:
    for i, acquisition in enumerate(ACQUISITIONS):
        attributes = {"acquisition": acquisition, "patient_id": "CANARY"}
        write(tmp_path / "targets" / f"file{i}.h5", attributes, reconstruction_rss=volume(i))
    return tmp_path / "targets"


def command(*arguments: object, code: int = 0):
    result = CliRunner().invoke(main.app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def fastmri_evaluate(targets: Path, predictions: Path, acquisition: str = "") -> dict[str, float]:
    """Return the means of `fastmri.evaluate.evaluate` on the folders, in a process of its own.

    That is what `python -m fastmri.evaluate` runs; its own printing fails with NumPy 2.4, on arrays of one.
    """
    code = """
import argparse, json, pathlib, sys
import numpy as np
from fastmri.evaluate import evaluate
target, predictions = map(pathlib.Path, sys.argv[1:3])
args = argparse.Namespace(
    target_path=target, predictions_path=predictions, acquisition=sys.argv[3] or None, acceleration=None
)
means = evaluate(args, "reconstruction_rss").means()
print(json.dumps({name.lower(): np.asarray(mean).item() for name, mean in means.items()}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(targets), str(predictions), acquisition],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_equal_to_fastmri_evaluate(tmp_path, targets):
    folder = recons(tmp_path / "a", 0.02)
    summary = evaluate_folder(folder, targets).summary(draws=100, seed=0)
    for group, acquisition in (("all", ""), ("AXT2", "AXT2")):
        theirs = fastmri_evaluate(targets, folder, acquisition)
        for metric in ("nmse", "psnr", "ssim"):
            # fastMRI squares single precision: its dB differ in the sixth digit.
            assert summary[group][metric].mean == pytest.approx(theirs[metric], abs=1e-6, rel=1e-6), metric


def test_another_crop_would_show(tmp_path, targets):
    folder = recons(tmp_path / "a", 0.02)
    right = {v.name: v.ssim for v in evaluate_folder(folder, targets).scored}
    with h5py.File(folder / "file2.h5", "r+") as file:
        moved = np.roll(file["reconstruction"][()], 1, axis=-1)
        file["reconstruction"][...] = moved
    wrong = {v.name: v.ssim for v in evaluate_folder(folder, targets).scored}
    assert wrong["file2.h5"] < right["file2.h5"] - 1e-3
    assert wrong["file1.h5"] == right["file1.h5"]


def test_nothing_is_dropped_in_silence(tmp_path, targets):
    folder = recons(tmp_path / "a", 0.02)
    (folder / "file0.h5").unlink()
    with h5py.File(folder / "file1.h5", "r+") as file:
        file["reconstruction"][1, 3, 3] = np.nan
    write(folder / "file3.h5", reconstruction=volume(3)[:1])
    (folder / "file4.h5").write_bytes(b"not HDF5")
    write(folder / "stray.h5", reconstruction=volume(1))
    result = command(folder, targets, "--out", tmp_path / "out", code=3)
    rows = {r["volume"]: r for r in csv.DictReader((tmp_path / "out" / "scores.csv").open())}
    assert sorted(rows) == [*(f"file{i}.h5" for i in range(5)), "stray.h5"]
    said = {name: row["problem"] for name, row in rows.items()}
    assert said["file2.h5"] == ""
    for name, words in {
        "file0.h5": "no reconstruction", "file1.h5": "NaN or infinity in slice 1", "file3.h5": "1 slices",
        "file4.h5": "cannot read", "stray.h5": "no target",
    }.items():  # fmt: skip
        assert words in said[name]
        assert f"not scored in a: {name}: " in result.stderr
        assert said[name].split(";")[0] in html.unescape((tmp_path / "out" / "report.html").read_text())
    assert "1 of 6 volumes scored" in result.stdout
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["runs"][0]["scored"] == 1


def test_a_smaller_reconstruction_needs_narrow_kspace(tmp_path):
    target, narrow = volume(0, (1, 40, 40)), volume(0, (1, 40, 40))[:, 8:33, 8:33]  # 40//2 − 25//2 = 8
    write(tmp_path / "a" / "x.h5", reconstruction=narrow)
    write(tmp_path / "t" / "x.h5", reconstruction_rss=target)
    with pytest.raises(InputError, match="25×25 pixels, its target needs 40×40"):
        evaluate_folder(tmp_path / "a", tmp_path / "t")
    write(tmp_path / "t" / "x.h5", reconstruction_rss=target, kspace=np.zeros((1, 2, 80, 25), np.complex64))
    (row,) = evaluate_folder(tmp_path / "a", tmp_path / "t").volumes
    assert row.nmse == 0  # pixel N//2 on pixel n//2
    assert "only the target's centre" in row.notes[0]


def test_kinds_of_target_are_not_mixed(tmp_path):
    for name, kind in (("a.h5", "reconstruction_rss"), ("b.h5", "reconstruction_esc")):
        write(tmp_path / "t" / name, **{kind: volume(1)})
        write(tmp_path / "r" / name, reconstruction=volume(1))
    with pytest.raises(InputError, match="several kinds, esc and rss"):
        evaluate_folder(tmp_path / "r", tmp_path / "t")
    run = evaluate_folder(tmp_path / "r", tmp_path / "t", kind="esc")
    assert [v.name for v in run.scored] == ["b.h5"]
    assert "no target image" in run.unscored[0].problem


@pytest.mark.parametrize("quantiles", [True, False])
def test_coverage(tmp_path, quantiles):
    target = volume(0, (4, 64, 64))
    std = np.full(target.shape, 1e-5, np.float32)
    mean = target + 1e-5 * np.random.default_rng(0).standard_normal(target.shape).astype(np.float32)
    maps = {"std": std}
    if quantiles:  # they come first: these are half as wide
        maps |= {"quantile_05": mean - 0.822 * std, "quantile_95": mean + 0.822 * std}
    write(tmp_path / "r" / "x.h5", reconstruction=mean, **maps)
    write(tmp_path / "t" / "x.h5", reconstruction_rss=target)
    (row,) = evaluate_folder(tmp_path / "r", tmp_path / "t").volumes
    assert row.coverage_90 == pytest.approx(0.589 if quantiles else 0.9, abs=0.015)


def test_the_report_stands_alone(tmp_path, targets):
    folder = recons(tmp_path / "a", 0.02, digest="sha256:0123abcd")
    out = tmp_path / "deep" / "out"
    command(folder, targets, "--out", out)
    page = (out / "report.html").read_text()
    assert "<script" not in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert page.count("data:image/png;base64,") == 2
    assert "sha256:0123abcd" in page
    assert "worst SSIM: file4.h5" in page
    assert "median SSIM: file2.h5" in page
    for name in ("scores.csv", "scores.json", "report.html"):
        text = (out / name).read_text()
        assert str(tmp_path) not in text
        assert "CANARY" not in text
    record = json.loads((out / "scores.json").read_text())
    assert set(record["runs"][0]["summary"]) == {"all", "AXT1", "AXT2", "AXFLAIR"}
    assert record["runs"][0]["summary"]["AXFLAIR"]["ssim"]["low"] is None  # one volume has no interval
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert "add --overwrite" in command(folder, targets, "--out", out, code=2).stderr
    command(folder, targets, "--out", out, "--overwrite")
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_markup_in_names_is_text(tmp_path):
    write(tmp_path / "<b>r" / "<img src=x>.h5", reconstruction=0.9 * volume(1))
    write(tmp_path / "t" / "<img src=x>.h5", reconstruction_rss=volume(1))
    command(tmp_path / "<b>r", tmp_path / "t", "--out", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<img src=x>" not in page
    assert "<b>" not in page


def test_two_runs(tmp_path, targets):
    good, bad = recons(tmp_path / "good", 0.02), recons(tmp_path / "bad", 0.03)
    (bad / "file0.h5").unlink()
    result = command(good, bad, targets, "--out", tmp_path / "out", code=3)
    assert "good − bad: 4 volumes in both" in result.stdout
    record = json.loads((tmp_path / "out" / "scores.json").read_text())["comparison"]
    assert record["only_one"] == ["file0.h5"]
    psnr = record["differences"]["all"]["psnr"]
    assert psnr["mean"] == pytest.approx(20 * np.log10(1.5), abs=0.2)  # noise 1.5 times as high
    # Paired: far narrower than the spread of the volumes, whose noise differs by a factor of five.
    assert 0 < psnr["low"] < psnr["mean"] < psnr["high"] < psnr["low"] + 0.5
    assert record["better"]["psnr"] == 4
    assert "Paired differences, good − bad" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("other", ["digest-b", None])
def test_other_protocols_are_refused(tmp_path, targets, other):
    a, b = recons(tmp_path / "a", 0.02, digest="digest-a"), recons(tmp_path / "b", 0.03, digest=other)
    refused = command(a, b, targets, "--out", tmp_path / "out", code=2)
    assert "different protocols" in refused.stderr
    assert "--across-protocols" in refused.stderr
    assert not (tmp_path / "out").exists()
    command(a, b, targets, "--across-protocols")
    (tmp_path / "c").mkdir()
    same = recons(tmp_path / "c" / "a", 0.03, digest="digest-a")
    assert "A (a) − B (a)" in command(a, same, targets).stdout


def test_runs_over_other_targets_are_refused(tmp_path, targets):
    a = evaluate_folder(recons(tmp_path / "a", 0.02), targets)
    with h5py.File(targets / "file1.h5", "r+") as file:
        file["reconstruction_rss"][0, 0, 0] = 1e-4
    b = evaluate_folder(tmp_path / "a", targets)
    with pytest.raises(InputError, match="file1"):
        compare(a, b, draws=100, seed=0)


@pytest.mark.parametrize("arguments", [["a"], ["a", "b", "c", "d"], ["nowhere", "targets"]])
def test_wrong_folders(tmp_path, targets, arguments):
    result = command(*(tmp_path / a for a in arguments), code=2)
    assert result.stderr.count("\n") == 1


class Half:
    """Half the mean difference of images from 0 to 1, in the place of LPIPS."""

    def __init__(self, features: Path) -> None:
        assert features.is_file()

    def __call__(self, a, b):
        assert a.shape[:2] == (1, 1)
        assert min(a.min(), b.min()) >= 0
        assert max(a.max(), b.max()) <= 1
        return (a - b).abs().mean(dim=(1, 2, 3)) / 2


def test_lpips_where_features_are_given(tmp_path, targets, monkeypatch):
    monkeypatch.setattr("mrunfold.evaluation.run.Lpips", Half)
    features = tmp_path / "features.npz"
    features.write_bytes(b"weights")
    folder, out = recons(tmp_path / "a", 0.02), tmp_path / "out"
    result = command(folder, targets, "--lpips-features", features, "--out", out)
    assert "LPIPS 0.1 (AlexNet) of each slice" in result.stdout
    with h5py.File(folder / "file0.h5") as file:
        target, recon = volume(0)[:, 2:42], file["reconstruction"][:, 2:42]
    rows = {r["volume"]: r for r in csv.DictReader((out / "scores.csv").open())}
    expected = np.abs(target - np.clip(recon, 0, target.max())).mean() / target.max() / 2
    assert float(rows["file0.h5"]["lpips"]) == pytest.approx(expected, rel=1e-4)
    record = json.loads((out / "scores.json").read_text())
    assert record["runs"][0]["lpips_features_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert record["runs"][0]["summary"]["AXT1"]["lpips"]["count"] == 2
    assert "<th>LPIPS</th>" in (out / "report.html").read_text()
    command(folder, targets, "--out", out, "--overwrite")
    assert "<th>LPIPS</th>" not in (out / "report.html").read_text()
    assert json.loads((out / "scores.json").read_text())["lpips"] == "not computed"


def test_lpips_of_the_real_network(tmp_path, targets, shared_data):
    pytest.importorskip("lpips")
    features = shared_data / "metrics" / "alexnet_features.npz"
    if not features.is_file():
        pytest.skip(f"no {features}")
    runs = [
        evaluate_folder(recons(tmp_path / f"n{noise}", noise), targets, lpips_features=features)
        for noise in (0.0, 0.01, 0.05)
    ]
    none, some, more = (run.summary(draws=100, seed=0)["all"]["lpips"].mean for run in runs)
    assert none == pytest.approx(0, abs=1e-6)
    assert 0.001 < some < more < 1


def test_no_cell_becomes_a_formula(tmp_path):
    """A volume or run whose name begins like a formula is text in a spreadsheet; numbers stay numbers."""
    from mrunfold.evaluation.report import scores_csv

    folder, there = tmp_path / "=run", tmp_path / "there"
    for name in ("=cmd.h5", "-1+2.h5", "@x.h5", "+y.h5"):
        write(folder / name, reconstruction=volume(1))
        write(there / name, {"acquisition": "AXT2"}, reconstruction_rss=volume(2))
    found = list(csv.reader(scores_csv([evaluate_folder(folder, there)]).splitlines()))
    assert len(found) == 5
    for row in found[1:]:
        assert row[0] == "'=run"
        assert row[1].startswith("'")
        assert float(row[6]) > 0
        assert not [
            cell for cell in row if cell[:1] in "=+-@" and cell and not cell[1:].replace(".", "").isdigit()
        ]
