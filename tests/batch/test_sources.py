"""Raw files that change, vanish or are none, and manifests that somebody edited."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_cfl, write_fastmri

from mrunfold.batch import MANIFEST, run_batch
from mrunfold.batch.plan import find_volumes
from mrunfold.batch.protocol import freeze
from mrunfold.errors import InputError
from mrunfold.io import scan_digest, sha256_of
from mrunfold.pipeline import ReconSettings, reconstruct

SETTINGS = ReconSettings(method="zero_filled", cache=False, threads=1, seed="name")
NAMES = ("one", "two")


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    return coil_kspace(np.stack([letter_f((32, 24))] * 2), coils=2)


@pytest.fixture
def raw(tmp_path, kspace) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    for number, name in enumerate(NAMES, start=1):
        write_fastmri(folder / f"{name}.h5", kspace * number)
    return folder


def outputs(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(out.glob("*.h5"))}


def rewrite(path: Path, content: bytes) -> None:
    """In place, and with the old time of change, as `cp -p` and careless tools do."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.truncate(len(content))
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "truncated": lambda path, other: rewrite(path, path.read_bytes()[:4096]),
    "rewritten in place": lambda path, other: rewrite(path, other.read_bytes()),
    "replaced": lambda path, other: shutil.copy2(other, f"{path}.new") and os.replace(f"{path}.new", path),
    "removed": lambda path, other: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_recon_reads_it_is_refused(tmp_path, raw, change):
    path, other = raw / "one.h5", raw / "two.h5"

    def spoil(done: float, total: int) -> None:
        if done == 1 and path.exists() and path.read_bytes() != other.read_bytes():
            CHANGES[change](path, other)

    with pytest.raises(InputError, match=r"one\.h5"):
        reconstruct(path, tmp_path / "out", SETTINGS, progress=spoil)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_batch_reads_it_fails(tmp_path, raw, change):
    path, other = raw / "one.h5", raw / "two.h5"

    def spoil(number: int, volumes: int, done: float, total: int) -> None:
        if number == 0 and done == 1:
            CHANGES[change](path, other)

    found = run_batch([raw], tmp_path / "out", SETTINGS, progress=spoil)
    assert set(found.failed) == {"one"}
    assert set(outputs(tmp_path / "out")) == {"two.h5"}


@pytest.fixture
def pair(tmp_path, kspace) -> Path:
    folder = tmp_path / "pairs"
    folder.mkdir()
    return write_cfl(folder / "scan.cfl", kspace[0])


def swap(pair: Path) -> None:
    """Dimensions swapped: the .cfl keeps its bytes and its size."""
    hdr = pair.with_suffix(".hdr")
    hdr.write_text(hdr.read_text().replace("32 24", "24 32"))


def test_a_header_of_bart_is_part_of_the_scan(tmp_path, pair):
    before = scan_digest(pair)
    assert scan_digest(pair.with_suffix(".hdr")) == scan_digest(pair.with_suffix("")) == before
    run_batch([pair], tmp_path / "out", SETTINGS)
    assert run_batch([pair], tmp_path / "out", SETTINGS).kept == ["scan"]
    old = outputs(tmp_path / "out")
    swap(pair)
    assert scan_digest(pair) != before
    assert run_batch([pair], tmp_path / "out", SETTINGS).done == ["scan"]
    assert outputs(tmp_path / "out") != old


def test_a_protocol_freezes_the_header_too(tmp_path, pair):
    protocol = freeze("frozen", SETTINGS, find_volumes([pair], tmp_path / "out"))
    swap(pair)
    found = run_batch([pair], tmp_path / "out", SETTINGS, protocol=protocol)
    assert "not the file that the protocol froze" in found.failed["scan"]


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "unmounted" / path.name)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("loss", [dangling, folder, pipe, device])
def test_what_cannot_be_opened_loses_nothing(tmp_path, raw, loss):
    out = tmp_path / "out"
    run_batch([raw], out, SETTINGS)
    before, manifest = outputs(out), (out / MANIFEST).read_bytes()
    kept = (raw / "one.h5").read_bytes()
    loss(raw / "one.h5")
    found = run_batch([raw], out, SETTINGS)
    assert "its earlier output is kept" in found.failed["one"]
    assert found.kept == ["two"]
    assert outputs(out) == before
    assert (out / MANIFEST).read_bytes() == manifest
    target = raw / "one.h5"
    target.rmdir() if target.is_dir() else target.unlink()
    target.write_bytes(kept)
    assert run_batch([raw], out, SETTINGS).kept == ["one", "two"]


def line(**changed: object) -> bytes:
    good = {
        "name": "one", "input": "one.h5", "input_sha256": "a" * 64, "status": "ok", "output_sha256": "b" * 64,
        "settings_digest": "c" * 64, "message": "",
    }  # fmt: skip
    return json.dumps(good | changed).encode() + b"\n"


EDITED = {
    "a folder above": line(name="../victim"),
    "an absolute path": line(name="/tmp/victim"),
    "a folder within": line(name="sub/victim"),
    "a zero": line(name="a\0b"),
    "a list for a name": line(name=["one"]),
    "an object for a name": line(name={"one": 1}),
    "no status": line(status=None),
    "another status": line(status="OK"),
    "a digest that is none": line(output_sha256="b"),
    "a digest that is a list": line(output_sha256=[1]),
    "an input digest that is a number": line(input_sha256=7),
    "settings that are a text": b'{"settings": "x", "settings_digest": "' + b"c" * 64 + b'"}\n',
    "a settings digest that is an object": line(settings_digest={}),
    "a message that is a list": line(message=[]),
    "nested deep": b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "no UTF-8": b'{"name": "\xff\xfe"}\n',
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("edit", EDITED)
def test_an_edited_manifest_is_refused_before_anything_is_touched(tmp_path, raw, edit, overwrite):
    out = tmp_path / "out"
    run_batch([raw], out, SETTINGS)
    victim = tmp_path / "victim.h5"
    victim.write_bytes(b"precious")
    first, *rest = (out / MANIFEST).read_bytes().splitlines(keepends=True)
    text = EDITED[edit].replace(b'"' + b"b" * 64, f'"{sha256_of(victim)}'.encode())
    (out / MANIFEST).write_bytes(b"".join([first, text, *rest]))
    before, other = outputs(out), ReconSettings(**{**SETTINGS.__dict__, "slices": "0"})
    with pytest.raises(InputError, match="line 2 is not readable"):
        run_batch([raw], out, other, overwrite=overwrite)
    assert outputs(out) == before
    assert victim.read_bytes() == b"precious"


def test_a_lost_settings_line_deletes_nothing(tmp_path, raw):
    out = tmp_path / "out"
    run_batch([raw], out, SETTINGS)
    before = outputs(out)
    (out / MANIFEST).write_bytes(b"".join((out / MANIFEST).read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(InputError, match="other settings: unknown"):
        run_batch([raw], out, ReconSettings(**{**SETTINGS.__dict__, "slices": "0"}))
    assert outputs(out) == before
    assert run_batch([raw], out, SETTINGS).kept == list(NAMES)


def test_a_pipe_as_manifest_is_refused(tmp_path, raw):
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / MANIFEST)
    with pytest.raises(InputError, match="no regular file"):
        run_batch([raw], tmp_path / "out", SETTINGS)


@pytest.mark.parametrize(
    "name", [b"r\xe9sum\xe9", "頭".encode(), b"a$b$c_{x}", b"-rf", b"\x1b[31mred", b"line\nbreak", b"x" * 250]
)
def test_any_name_that_the_system_has_is_done_and_kept(tmp_path, raw, name):
    path = raw / f"{os.fsdecode(name)}.h5"
    shutil.copy(raw / "one.h5", path)
    found = run_batch([raw], tmp_path / "out", SETTINGS)
    assert len(found.done) == 3
    assert run_batch([raw], tmp_path / "out", SETTINGS).kept == found.done
