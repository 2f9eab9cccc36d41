"""Protocols of reconstruction: what they fix, what contradicts them, and their digest in the outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_fastmri
from typer.testing import CliRunner

from mrunfold.batch import MANIFEST
from mrunfold.batch.protocol import check_settings, freeze, protocol_settings
from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.io import sha256_of
from mrunfold.pipeline import ReconSettings
from mrunfold.protocols import protocol_names
from mrunfold.protocols.reconstruction import (
    Data,
    MaskSpec,
    MethodSpec,
    ReconProtocol,
    load_recon_protocol,
    recon_protocol_names,
    to_toml,
)

NAMES = ("file1000000.h5", "file1000007.h5")
PROTOCOL = """
name = "tiny"
[data]
pattern = "file1*.h5"
[mask]
kind = "random"
accel = 2.0
center_fraction = 0.2
[target]
kind = "rss"
[method]
name = "zero_filled"
"""


@pytest.fixture
def raw(tmp_path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    kspace = coil_kspace(letter_f((48, 40))[None], coils=3)
    for number, name in enumerate((*NAMES, "other.h5"), start=1):
        write_fastmri(folder / name, kspace * number, crop=(40, 32))
    return folder


@pytest.fixture
def tiny(tmp_path) -> Path:
    (tmp_path / "tiny.toml").write_text(PROTOCOL)
    return tmp_path / "tiny.toml"


def batch(*arguments: object, code: int = 0):
    result = CliRunner().invoke(main.app, ["batch", *map(str, arguments), "--no-cache", "--threads", "1"])
    assert result.exit_code == code, result.output
    return result


def attributes(path: Path) -> dict:
    with h5py.File(path) as file:
        return dict(file.attrs)


# --- the file ---


@pytest.mark.parametrize("name", ["fastmri-knee-val-4x"])
def test_what_ships_can_be_read(name):
    assert name in recon_protocol_names()
    assert not any("recon" in training or name in training for training in protocol_names())
    protocol = load_recon_protocol(name)
    assert protocol.name == name
    assert not protocol.frozen, "nobody here may pass the data on, so their hashes cannot be known"
    settings = protocol_settings(protocol, {"method": "sense"})
    # The leaderboard's mask: fastMRI draws the same mask for a file of this name.
    from fastmri.data.subsample import RandomMaskFunc

    from mrunfold.masks import draw, seed_from_name

    mine = draw(settings.mask, (640, 368), settings.accel, seed=seed_from_name("file1000000.h5"),
                center_fraction=settings.center_fraction)  # fmt: skip
    theirs = RandomMaskFunc([0.08], [4])((1, 640, 368, 2), seed=tuple(map(ord, "file1000000.h5")))[0]
    np.testing.assert_array_equal(mine.array[0], theirs.numpy().ravel() > 0)


FULL = ReconProtocol(
    name="full",
    data=Data(pattern="*.h5", count=2, sha256={"b.h5": "0" * 64, "a b.h5": "f" * 64}),
    mask=MaskSpec(kind="poisson", accel=8, calibration=(24, 32), seed=3),
    method=MethodSpec(name="tv", parameters={"lamda": 0.01, "max_iter": 5, "kind": 'a "b"', "fast": True}),
    slices="0:3",
)


def test_a_written_protocol_reads_as_itself(tmp_path):
    file = tmp_path / "full.toml"
    file.write_text(to_toml(FULL), encoding="utf-8")
    assert load_recon_protocol(str(file)) == FULL


def test_the_digest_follows_content_not_layout(tmp_path):
    digest = FULL.digest()
    order = FULL.model_copy(
        update={"data": Data(pattern="*.h5", count=2, sha256=dict(reversed(FULL.data.sha256.items())))}
    )
    assert order.digest() == digest
    for change in (
        {"data": Data(pattern="*.h5", count=2, sha256={"b.h5": "0" * 64, "a b.h5": "e" * 64})},
        {"mask": MaskSpec(kind="poisson", accel=8, calibration=(24, 32), seed="name")},
        {"method": None},
        {"slices": None},
    ):
        assert FULL.model_copy(update=change).digest() != digest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = 'a'\ncolour = 3", "colour"),
        ("name = 'a'\n[data]\nsha256 = {a = 'xyz'}", "64 hexadecimal"),
        ("name = 'a'\n[data]\ncount = 2\nsha256 = {a = '" + "0" * 64 + "'}", "count is 2"),
        ("name = 'a'\n[scores]\nrule = 'mine'", "scores.rule"),
        ("name = 'a b'", "name"),
        ("name = ", "not TOML"),
    ],
)
def test_a_wrong_file_is_named_by_its_field(tmp_path, text, says):
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(InputError, match=says):
        load_recon_protocol(str(tmp_path / "wrong.toml"))
    with pytest.raises(InputError, match="did you mean fastmri-knee-val-4x"):
        load_recon_protocol("fastmri-knee-val")


# --- what it fixes ---


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"accel": 8.0}, "accel 8.0 contradicts the protocol tiny, which has 2.0"),
        ({"mask": "equispaced"}, "mask equispaced contradicts"),
        ({"calibration": 8}, "calibration 8 contradicts the protocol tiny, which has none"),
        ({"seed": 0}, "seed 0 contradicts"),
        ({"coils": 4}, "coils 4"),
        ({"target": "combined"}, "target combined"),
        ({"slices": "0"}, "slices 0"),
        ({"method": "sense", "parameters": {"lamda": 1}}, "method sense contradicts"),
        ({"parameters": {"lamda": 1}}, r"zero_filled.lamda 1 contradicts"),
    ],
)
def test_contradictions_are_refused(tiny, asked, says):
    protocol = load_recon_protocol(str(tiny))
    with pytest.raises(InputError, match=says):
        protocol_settings(protocol, asked)
    fitting = protocol_settings(
        protocol, {"accel": 2.0, "method": "zero_filled", "device": "cpu", "threads": 3}
    )
    assert (fitting.accel, fitting.seed, fitting.device, fitting.threads) == (2.0, "name", "cpu", 3)
    if asked.keys() != {"method", "parameters"}:
        with pytest.raises(InputError, match="contradicts"):
            check_settings(protocol, ReconSettings(**{**vars(fitting), **asked}), None)


def test_weights_are_told_by_their_sha256():
    method = MethodSpec(name="unfold", parameters={"weights": "net", "samples": 2}, weights_sha256="a" * 64)
    protocol = ReconProtocol(name="x", method=method)
    found = protocol_settings(protocol, {"parameters": {"weights": "elsewhere/net.safetensors"}})
    assert found.parameters == {"weights": "elsewhere/net.safetensors", "samples": 2}
    check_settings(protocol, found, "a" * 64)
    with pytest.raises(InputError, match="sha256 aaaaaaaaaaaa"):
        check_settings(protocol, found, "b" * 64)
    loose = ReconProtocol(name="x", method=MethodSpec(name="unfold", parameters={"weights": "net"}))
    with pytest.raises(InputError, match=r"unfold.weights other contradicts"):
        protocol_settings(loose, {"parameters": {"weights": "other"}})


# --- a batch under a protocol ---


def test_every_output_carries_the_digest(tmp_path, raw, tiny):
    out = tmp_path / "out"
    result = batch(raw, "--protocol", tiny, "--out", out)
    assert "left out  1 files" in result.stdout
    digest = load_recon_protocol(str(tiny)).digest()
    assert sorted(p.name for p in out.glob("[!.]*.h5")) == sorted(NAMES)
    for name in NAMES:
        found = attributes(out / name)
        assert found["protocol_digest"] == digest
        assert json.loads(found["mask"])["kind"] == "random"
    settings = json.loads((out / MANIFEST).read_text().splitlines()[0])["settings"]
    assert (settings["protocol"], settings["protocol_digest"]) == ("tiny", digest)
    options = ["--mask", "random", "--accel", 2, "--center-fraction", 0.2, "--method", "zero_filled"]
    options += ["--map-sets", 1]  # a protocol that says nothing of sets has one
    batch(raw / NAMES[0], *options, "--target", "rss", "--out", tmp_path / "plain")
    with h5py.File(tmp_path / "plain" / NAMES[0]) as plain, h5py.File(out / NAMES[0]) as file:
        np.testing.assert_array_equal(plain["reconstruction"], file["reconstruction"])
        assert "protocol_digest" not in plain.attrs
    evaluated = CliRunner().invoke(main.app, ["evaluate", str(out), str(out)])
    assert "no target image" in evaluated.stderr  # what evaluate reads of the digest has its own tests
    assert "contradicts" in batch(raw, "--protocol", tiny, "--accel", 4, "--out", out, code=2).stderr
    batch(raw, "--protocol", tiny, "--accel", 2, "--seed", "name", "--out", out)
    assert (
        "no file of the protocol" in batch(raw / "other.h5", "--protocol", tiny, "--out", out, code=2).stderr
    )


def test_freezing(tmp_path, raw, tiny):
    frozen, out = tmp_path / "frozen.toml", tmp_path / "out"
    result = batch(raw, "--protocol", tiny, "--freeze", frozen)
    protocol = load_recon_protocol(str(frozen))
    assert protocol.data.sha256 == {name: sha256_of(raw / name) for name in NAMES}
    assert protocol.digest() in result.stdout
    assert protocol.mask == load_recon_protocol(str(tiny)).mask
    assert str(tmp_path) not in frozen.read_text()
    assert "name another" in batch(raw, "--protocol", tiny, "--freeze", frozen, code=2).stderr
    batch(raw, "--protocol", frozen, "--out", out)
    # A file that is not the one frozen is noted; the others are done.
    shutil.copy(raw / NAMES[1], raw / NAMES[0])
    said = batch(raw, "--protocol", frozen, "--out", out, code=1).stderr
    assert said.startswith(f"failed: {NAMES[0]}: not the file that the protocol froze")
    assert not (out / NAMES[0]).exists()
    assert (out / NAMES[1]).exists()
    (raw / NAMES[0]).unlink()
    said = batch(raw, "--protocol", frozen, "--out", out, code=2).stderr
    assert f"1 of 2 files of the protocol frozen are not there, the first is {NAMES[0]}" in said


def test_freezing_options_without_a_protocol(tmp_path, raw):
    frozen = tmp_path / "mine.recon.toml"
    options = ["--mask", "random", "--accel", 2, "--slices", "0", "--target", "rss"]
    batch(raw, *options, "--freeze", frozen)
    protocol = load_recon_protocol(str(frozen))
    assert (protocol.name, protocol.method, protocol.slices) == ("mine", None, "0")
    for method in ("zero_filled", "sense"):  # one experiment, two methods, one digest
        out = tmp_path / method
        batch(raw, "--protocol", frozen, "--method", method, "--out", out)
        assert attributes(out / NAMES[0])["protocol_digest"] == protocol.digest()
    batch(raw, *options, "--method", "sense", "--freeze", tmp_path / "sense.toml")
    method = load_recon_protocol(str(tmp_path / "sense.toml")).method
    assert method is not None
    assert method.name == "sense"
    assert "max_iter" in method.parameters, "defaults are frozen too"


def test_weights_are_frozen_by_their_sha256(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "mrunfold.batch.protocol.load_weights",
        lambda name: (None, {"file": "w.safetensors", "sha256": "c" * 64}),
    )
    own = ReconSettings(method="unfold", parameters={"weights": "private/w.safetensors"}, seed="name")
    found = freeze("x", own, []).method
    assert found is not None
    assert found.weights_sha256 == "c" * 64
    assert "private" not in to_toml(ReconProtocol(name="x", method=found))
    shipped = freeze("x", ReconSettings(method="unfold", seed="name"), []).method
    assert shipped is not None
    assert shipped.parameters["weights"] == "w"


def test_a_batch_without_a_folder_to_write_to(raw):
    assert "add --out" in batch(raw, code=2).stderr
