"""Batches: what is written, what is done again, and what a bad file or another batch does to them."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_fastmri
from typer.testing import CliRunner

from mrunfold.batch import MANIFEST, Manifest, find_volumes, run_batch
from mrunfold.batch import task as task_module
from mrunfold.batch.manifest import only_batch
from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.io import sha256_of
from mrunfold.pipeline import ReconSettings

NAMES = ("file1000000", "file1000007", "file1000017")
FAST = ["--method", "zero_filled", "--no-cache", "--threads", "1"]
MASKED = [*FAST, "--mask", "random", "--accel", "2"]
SETTINGS = ReconSettings(method="zero_filled", cache=False, threads=1, seed="name")


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    image = letter_f((48, 40))
    return coil_kspace(np.stack([image, image[::-1]]), coils=3)


@pytest.fixture
def raw(tmp_path, kspace) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    for number, name in enumerate(NAMES, start=1):
        write_fastmri(folder / f"{name}.h5", kspace * number, crop=(40, 32))
    return folder


def batch(raw: Path, out: Path, *arguments: str, code: int = 0):
    result = CliRunner().invoke(main.app, ["batch", str(raw), "--out", str(out), *(arguments or FAST)])
    assert result.exit_code == code, result.output
    return result


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]


def outputs(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(out.glob("*.h5"))}


def test_outputs_are_what_recon_writes(tmp_path, raw):
    batch(raw, tmp_path / "out", *MASKED)
    for name in NAMES:
        single = tmp_path / name
        arguments = ["recon", str(raw / f"{name}.h5"), "--out", str(single), *MASKED, "--seed", "name"]
        assert CliRunner().invoke(main.app, arguments).exit_code == 0
        with h5py.File(single / "recon.h5") as one, h5py.File(tmp_path / "out" / f"{name}.h5") as many:
            assert set(many) == {"provenance", "reconstruction"}
            assert many["reconstruction"].dtype == np.float32
            assert many["reconstruction"].shape == (2, 40, 32)
            np.testing.assert_array_equal(many["reconstruction"], one["reconstruction"])
            assert set(one.attrs) < set(many.attrs)
            assert {k: many.attrs[k] for k in one.attrs} == dict(one.attrs)


def test_the_manifest_says_what_was_done(tmp_path, raw):
    out = tmp_path / "out"
    batch(raw, out)
    first, *volumes = lines(out)
    assert first["settings"]["method"] == "zero_filled"
    assert [v["name"] for v in volumes] == list(NAMES)
    for volume in volumes:
        assert volume["status"] == "ok"
        assert volume["input_sha256"] == sha256_of(raw / f"{volume['name']}.h5")
        assert volume["output_sha256"] == sha256_of(out / f"{volume['name']}.h5")
        assert volume["settings_digest"] == first["settings_digest"]
        assert volume["slices"] == 2
        assert volume["peak_memory_mb"]["process"] > 1
    assert str(tmp_path) not in (out / MANIFEST).read_text()
    assert b"CANARY" not in b"".join(outputs(out).values()) + (out / MANIFEST).read_bytes()


def test_masks_are_fastmris_for_each_name(tmp_path, raw):
    from fastmri.data.subsample import RandomMaskFunc

    batch(raw, tmp_path / "out", *FAST, "--mask", "random", "--accel", "2", "--center-fraction", "0.2")
    found = []
    for name in NAMES:
        fraction = RandomMaskFunc([0.2], [2])((1, 48, 40, 2), seed=tuple(map(ord, f"{name}.h5")))[0].mean()
        with h5py.File(tmp_path / "out" / f"{name}.h5") as file:
            mask = json.loads(file.attrs["mask"])
        assert mask["seed"] == "of the file's name"
        assert mask["drawn"] == pytest.approx(1 / float(fraction), rel=1e-6)
        found.append(mask["drawn"])
    assert len(set(found)) > 1, "the names' masks must differ for this test to say anything"


def test_the_same_again_does_nothing(tmp_path, raw):
    out = tmp_path / "out"
    batch(raw, out)
    before = (out / MANIFEST).read_bytes()
    again = run_batch([raw], out, SETTINGS)
    assert (again.done, again.kept) == ([], list(NAMES))
    assert (out / MANIFEST).read_bytes() == before


def test_what_changed_is_done_again(tmp_path, raw, kspace):
    out = tmp_path / "out"
    run_batch([raw], out, SETTINGS)
    before = outputs(out)
    write_fastmri(raw / f"{NAMES[0]}.h5", 5 * kspace, crop=(40, 32))
    (out / f"{NAMES[1]}.h5").write_bytes(b"damaged")
    again = run_batch([raw], out, SETTINGS)
    assert (again.done, again.kept) == ([*NAMES[:2]], [NAMES[2]])
    (out / f"{NAMES[2]}.h5").unlink()
    assert run_batch([raw], out, SETTINGS).done == [NAMES[2]]
    after = outputs(out)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"{NAMES[0]}.h5"}


def spoil(raw: Path, kspace: np.ndarray) -> set[str]:
    good = (raw / f"{NAMES[0]}.h5").read_bytes()
    (raw / "cut.h5").write_bytes(good[: len(good) // 2])
    (raw / "empty.h5").write_bytes(b"")
    holes = kspace.copy()
    holes[1, 0, 3, 4] = np.nan
    write_fastmri(raw / "holes.h5", holes)
    shutil.copy(raw / f"{NAMES[0]}.h5", raw / "liar.h5")
    with h5py.File(raw / "liar.h5", "r+") as file:
        text = file["ismrmrd_header"][()]
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = text.replace(b"<x>40</x>", b"<x>65535</x>")
    return {"cut", "empty", "holes", "liar"}


def test_bad_files_are_noted_and_the_rest_goes_on(tmp_path, raw, kspace):
    run_batch([raw], tmp_path / "clean", SETTINGS)
    bad, out = spoil(raw, kspace), tmp_path / "out"
    result = batch(raw, out, code=1)
    assert outputs(out) == outputs(tmp_path / "clean")
    failed = {v["name"]: v for v in lines(out)[1:] if v["status"] == "failed"}
    assert set(failed) == bad
    for name, volume in failed.items():
        assert f"{name}.h5" in volume["message"]
        assert "bug" not in volume["message"]
        assert "\n" not in volume["message"]
        assert name in result.stderr
    assert "slice 1 has NaN" in failed["holes"]["message"]
    assert str(tmp_path) not in (out / MANIFEST).read_text()
    assert not [p for p in out.iterdir() if p.name.startswith(".part")]


def test_failed_ones_are_tried_again_when_asked_or_mended(tmp_path, raw, kspace):
    out = tmp_path / "out"
    bad = spoil(raw, kspace)
    assert set(run_batch([raw], out, SETTINGS).failed) == bad
    count = len(lines(out))
    batch(raw, out, code=1)
    assert len(lines(out)) == count
    batch(raw, out, *FAST, "--retry-failed", code=1)
    assert len(lines(out)) == count + len(bad)
    for name in bad:
        write_fastmri(raw / f"{name}.h5", kspace)
    assert run_batch([raw], out, SETTINGS).done == sorted(bad)


def test_a_file_that_turns_bad_leaves_no_old_output(tmp_path, raw):
    run_batch([raw], tmp_path / "out", SETTINGS)
    (raw / f"{NAMES[0]}.h5").write_bytes(b"")
    assert set(run_batch([raw], tmp_path / "out", SETTINGS).failed) == {NAMES[0]}
    assert set(outputs(tmp_path / "out")) == {f"{name}.h5" for name in NAMES[1:]}


def test_other_settings_are_refused_or_overwrite(tmp_path, raw):
    out = tmp_path / "out"
    batch(raw, out, *MASKED)
    before = outputs(out)
    result = batch(raw, out, *MASKED, "--calibration", "10", code=2)
    assert "calibration (none there, 10 now)" in result.stderr
    assert outputs(out) == before
    # Threads and the cache are how, not what.
    batch(raw, out, "--method", "zero_filled", "--mask", "random", "--accel", "2")
    assert outputs(out) == before
    batch(raw, out, *MASKED, "--calibration", "10", "--overwrite")
    assert all(outputs(out)[name] != before[name] for name in before)
    assert Manifest(out).settings["calibration"] == 10


def test_overwrite_never_leaves_volumes_of_both_settings(tmp_path, raw):
    out = tmp_path / "out"
    batch(raw, out, *MASKED)
    one = raw / f"{NAMES[0]}.h5"
    batch(one, out, *FAST, "--overwrite")
    assert set(outputs(out)) == {one.name}


@pytest.mark.parametrize("torn", ['{"name": "file100', '{"name": "file1000000"', "\0\0\0\0\n"])
def test_a_torn_last_line_is_mended(tmp_path, raw, torn):
    out = tmp_path / "out"
    run_batch([raw], out, SETTINGS)
    whole = (out / MANIFEST).read_text()
    (out / MANIFEST).write_text(whole + torn)
    assert run_batch([raw], out, SETTINGS).kept == list(NAMES)
    assert (out / MANIFEST).read_text() == whole
    cut = whole[:-20]  # the last volume's own line
    (out / MANIFEST).write_text(cut)
    assert run_batch([raw], out, SETTINGS).done == [NAMES[-1]]
    assert len(lines(out)) == 1 + len(NAMES)


def test_a_broken_line_in_the_middle_is_not_guessed_at(tmp_path, raw):
    run_batch([raw], tmp_path / "out", SETTINGS)
    manifest = tmp_path / "out" / MANIFEST
    first, second, *rest = manifest.read_text().splitlines()
    manifest.write_text("\n".join([first, second[:30], *rest]) + "\n")
    assert "line 2 is not readable" in batch(raw, tmp_path / "out", code=2).stderr


def test_a_second_batch_is_refused(tmp_path, raw):
    out = tmp_path / "out"
    out.mkdir()
    with only_batch(out):
        assert "another batch is writing" in batch(raw, out, code=2).stderr
    assert outputs(out) == {}
    batch(raw, out)


def test_what_a_killed_process_left_is_removed(tmp_path, raw):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".part-0123abcd-file1000000.h5").write_bytes(b"half")
    (out / ".part-mine.h5").write_bytes(b"somebody's")
    batch(raw, out)
    assert {p.name for p in out.iterdir() if p.name.startswith(".part")} == {".part-mine.h5"}


def test_same_names_and_missing_files_are_refused(tmp_path, raw):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(raw / f"{NAMES[1]}.h5", other)
    out = tmp_path / "out"
    with pytest.raises(InputError, match=f"two inputs are named {NAMES[1]}"):
        run_batch([raw, other], out, SETTINGS)
    with pytest.raises(InputError, match="no such file"):
        run_batch([raw, tmp_path / "typo.h5"], out, SETTINGS)
    (other / f"{NAMES[1]}.h5").unlink()
    with pytest.raises(InputError, match="holds no raw data"):
        find_volumes([other], out)
    assert not out.exists()


def test_raw_data_and_foreign_files_are_never_replaced(tmp_path, raw):
    before = outputs(raw)
    assert "holds the raw data" in batch(raw, raw, code=2).stderr
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(raw / f"{NAMES[2]}.h5", out)
    assert "will not be replaced" in batch(raw, out, code=2).stderr
    assert "will not be replaced" in batch(raw, out, *FAST, "--overwrite", code=2).stderr
    assert outputs(raw) == before
    assert set(outputs(out)) == {f"{NAMES[2]}.h5"}


def test_a_read_only_output_is_one_error_before_the_work(tmp_path, raw):
    (tmp_path / "file").write_text("")
    assert "is a file" in batch(raw, tmp_path / "file", code=2).stderr
    if Path("/proc/version").exists():  # nobody may write there, root neither
        assert batch(raw, Path("/proc/self"), code=2).stderr.count("\n") == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fills_stops_the_batch_and_it_goes_on_later(tmp_path, raw, monkeypatch, code):
    out, real = tmp_path / "out", task_module.reconstruct_volume
    run_batch([raw], tmp_path / "clean", SETTINGS)

    def full(volume, *rest):
        if volume.name != NAMES[0]:
            raise OSError(code, "refused")
        return real(volume, *rest)

    monkeypatch.setattr(task_module, "reconstruct_volume", full)
    batch(raw, out, code=2)
    assert [v["name"] for v in lines(out)[1:]] == [NAMES[0]]
    monkeypatch.setattr(task_module, "reconstruct_volume", real)
    assert run_batch([raw], out, SETTINGS).done == list(NAMES[1:])
    assert outputs(out) == outputs(tmp_path / "clean")


def test_a_file_that_changes_while_it_is_read_fails(tmp_path, raw):
    path = raw / f"{NAMES[0]}.h5"

    def touch(number, volumes, done, total):
        if number == 0:
            path.touch()

    found = run_batch([raw], tmp_path / "out", SETTINGS, progress=touch)
    assert "changed while it was read" in found.failed[NAMES[0]]
    assert found.done == list(NAMES[1:])


def test_the_time_left_counts_volumes_to_come():
    from mrunfold.cli.batch import _pace

    # 20 slices in 40 s; 10 of this volume and two volumes of 15 on average are left.
    assert _pace({0: (10, 10), 2: (10, 20)}, 2, 40.0) == "2.0 s/slice, 0:01:20 left"
    assert _pace({0: (0, 10)}, 2, 40.0) == ""


def test_settings_are_the_same_where_numbers_are():
    from mrunfold.batch.plan import digest_of

    assert digest_of({"accel": 4, "a": [1.0, {"b": 2.0}]}) == digest_of({"accel": 4.0, "a": [1, {"b": 2}]})
    assert digest_of({"accel": 4}) != digest_of({"accel": 4.5})
