"""Images of a stream are `recon`'s of the same file, to the last bit, and say what they are."""

from __future__ import annotations

import h5py
import ismrmrd
import numpy as np
import pytest
from framefiles import AXIAL, kspace_of, write_frames
from rawfiles import coil_kspace, letter_f, write_mrd
from serving import images, pixels, quick, recon, sent, serving, stacked
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.inline import configurations
from mrunfold.io import open_scan
from mrunfold.pipeline import ReconSettings

CANARY = "CANARY"


@pytest.fixture
def slices(tmp_path):
    """Three slices that differ, each at its place."""
    volume = np.stack([letter_f((40, 32)) * (s + 1) for s in range(3)])
    frame = np.eye(3)[[1, 0, 2]] * np.array([[1], [1], [-1]])
    positions = np.array([[1.0, 2.0, -6.0 * s] for s in range(3)])
    path = tmp_path / "scan.h5"
    return write_mrd(path, coil_kspace(volume, coils=4, readout=80), (40, 32), (1.5, 2.0), frame, positions)


def test_the_nhlbi_scan_is_as_recon_makes_it(shared_data, tmp_path):
    path = shared_data / "kspace" / "nhlbi_phantom_14ch_R3_ismrmrd.h5"
    known = configurations(device="cpu", asked={"check": 1})
    with serving(known) as server:
        answers = sent(path, server, "inline-mean")
    expected = recon(path, tmp_path, known["inline-mean"].settings)
    np.testing.assert_array_equal(stacked(answers), expected)
    (image,) = images(answers)
    assert image.meta["Verdict"] == "agrees with what was measured"
    assert image.meta["ResearchNote"] == "research, not for diagnosis"


def test_the_default_is_what_recon_does():
    served = configurations(device="cpu")["default"].settings
    plain = ReconSettings(device="cpu", per_frame=True, cache=False)
    assert served == plain


def test_slices_are_as_recon_makes_them(slices, tmp_path):
    known = configurations(device="cpu", asked={"check": 0})
    with serving(known) as server:
        answers = sent(slices, server)
    settings = known["default"].settings
    np.testing.assert_array_equal(stacked(answers), recon(slices, tmp_path, settings))
    np.testing.assert_array_equal(stacked(answers, 2), recon(slices, tmp_path, settings, "std"))
    assert {image.meta["Origin"] for image in images(answers, 2)} == {"predicted in one evaluation"}


def test_deviation_is_a_series_of_its_own(slices, tmp_path):
    protocol = tmp_path / "few.toml"
    protocol.write_text(
        'name = "few"\n[mask]\nseed = 0\n[coils]\nmap_sets = "auto"\n[method]\nname = "unfold"\n'
        "[method.parameters]\nsamples = 2\nsteps = 2\n"
    )
    known = configurations([str(protocol)], "cpu", {"check": 0})
    with serving(known) as server:
        answers = sent(slices, server, "few")
    settings = known["few"].settings
    np.testing.assert_array_equal(stacked(answers), recon(slices, tmp_path, settings))
    np.testing.assert_array_equal(stacked(answers, 2), recon(slices, tmp_path, settings, "std"))
    assert {image.meta["Quantity"] for image in images(answers, 2)} == {"standard deviation"}
    assert {image.meta["Origin"] for image in images(answers, 2)} == {"from 2 draws"}


def test_images_lie_where_the_scan_does(slices, tmp_path):
    with serving(quick(tmp_path)) as server:
        answers = sent(slices, server)
    with open_scan(slices) as scan:
        geometry, header = scan.header.geometry, scan.header
    for number, image in enumerate(images(answers)):
        assert image.slice == number
        np.testing.assert_allclose(image.position, geometry.positions[number])
        np.testing.assert_allclose(image.read_dir, geometry.read)
        np.testing.assert_allclose(image.phase_dir, geometry.phase)
        np.testing.assert_allclose(image.slice_dir, geometry.normal)
        assert image.matrix_size[:2] == (40, 32)
        np.testing.assert_allclose(image.field_of_view, (40 * 1.5, 32 * 2.0, header.slice_mm))
        white = float(image.meta["WindowWidth"])
        assert 0 < white <= pixels(image).max()
        assert float(image.meta["WindowCenter"]) == pytest.approx(white / 2, rel=1e-5)


def test_a_scan_without_directions_is_not_placed(tmp_path):
    path = write_mrd(tmp_path / "scan.h5", coil_kspace(letter_f((40, 32))[None], coils=4))
    with serving(quick(tmp_path)) as server:
        (image,) = images(sent(path, server))
    assert not np.any(image.read_dir)
    assert not np.any(image.position)
    assert image.meta["Placed"].startswith("no")
    assert "Keep_image_geometry" not in image.meta


def test_frames_say_which_they_are(tmp_path):
    frames = [(kspace_of(1 + r, seed=r), {"repetition": r, **AXIAL}) for r in range(3)]
    path = write_frames(tmp_path / "scan.h5", frames)
    with h5py.File(path, "r+") as file:  # the header announces what the acquisitions hold
        xml = file["dataset/xml"][0].decode()
        counter = "<repetition><minimum>0</minimum><maximum>2</maximum><center>0</center></repetition>"
        file["dataset/xml"][0] = xml.replace("</encodingLimits>", f"{counter}</encodingLimits>").encode()
    known = quick(tmp_path)
    with serving(known) as server:
        answers = sent(path, server)
    np.testing.assert_array_equal(stacked(answers), recon(path, tmp_path, known["default"].settings))
    found = [(image.repetition, image.slice, image.meta["Frame"]) for image in images(answers)]
    assert found == [(r, s, f"repetition {r}") for r in range(3) for s in range(2)]


def test_the_command_writes_what_came_back(slices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = quick(tmp_path)
    with serving(known) as server:
        words = ["send", str(slices), "--to", f"127.0.0.1:{server.address[1]}"]
        result = CliRunner().invoke(main.app, words)
        assert result.exit_code == 0, result.output
        again = CliRunner().invoke(main.app, words)
        assert again.exit_code == 2
        other = CliRunner().invoke(main.app, [*words, "--config", "nothing", "--out", "other.h5"])
        assert other.exit_code == 2
        assert "zero_filled" in other.output
        assert not (tmp_path / "other.h5").exists()
    dataset = ismrmrd.Dataset(str(tmp_path / "scan_images.h5"), "dataset", create_if_needed=False)
    read = [dataset.read_image("images_1", number) for number in range(3)]
    dataset.close()
    expected = recon(slices, tmp_path, known["default"].settings)
    np.testing.assert_array_equal(np.concatenate([pixels(image) for image in read]), expected)
    assert "research" in read[0].attribute_string


def test_nobody_to_send_to(slices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main.app, ["send", str(slices), "--to", "127.0.0.1:1"])
    assert result.exit_code == 2
    assert "mrunfold serve" in result.output
