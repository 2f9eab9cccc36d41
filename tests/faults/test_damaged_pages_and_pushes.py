"""Damaged results given to `view`, damaged exports to `push`: one clear line, or all of it; no half file.

`MRUNFOLD_DAMAGES=100 pytest -m slow tests/faults` tries fewer than a thousand.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from exported import make_header, random_volumes, write_result

from mrunfold.export.manifest import SUMS
from mrunfold.export.run import ExportRequest, export_result

TESTS = str(Path(__file__).resolve().parents[1])
MANY = int(os.environ.get("MRUNFOLD_DAMAGES", "1000"))

# In a process of its own: a crash of the HDF5 library would otherwise end the whole test run.
BEGIN = """
import json, random, sys
from pathlib import Path
from mrunfold.errors import InputError

folder, trials, rng = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))

def damaged(original, trial):
    data = bytearray(original)
    if trial % 3 == 0:
        return data[: rng.randrange(len(data))]
    # Also where the structure is: the beginning of the file.
    end = len(data) if trial % 3 == 1 else min(len(data), 6000)
    for _ in range(rng.choice([1, 3, 20])):
        data[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return data

def one_line(error):
    assert "\\n" not in str(error) and len(str(error)) < 600, str(error)

refused = done = 0
"""
VIEW = """
from mrunfold.review.write import write_view
from pagevolumes import nifti_of, page_data

path, page = folder / "recon.h5", folder.parent / "page.html"
original = path.read_bytes()
for trial in range(trials):
    path.write_bytes(damaged(original, trial))
    page.unlink(missing_ok=True)
    try:
        write_view(page, [folder])
    except InputError as error:
        one_line(error)
        assert not page.exists()
        refused += 1
    else:
        text = page.read_text(encoding="utf-8")
        assert text.endswith("</body></html>\\n")
        for number in range(len(page_data(text)["volumes"])):
            nifti_of(text, number).get_fdata()
        done += 1
    assert sorted(p.name for p in folder.parent.iterdir()) == ["page.html", folder.name][not page.exists():]
print(refused, done)
"""
PUSH = """
import logging
import warnings
import pydicom
from pynetdicom import AE, evt
from mrunfold.pacs import ledger_path, parse_peer, push

logging.disable(logging.CRITICAL)  # what pynetdicom and pydicom think of damaged datasets
warnings.simplefilter("ignore")
stored = {}

def keep(event):
    data = event.dataset
    data.file_meta = event.file_meta
    stored[str(event.request.AffectedSOPInstanceUID)] = data
    return 0

files = sorted(folder.rglob("*.dcm"))
whole = {f: f.read_bytes() for f in files}
entity = AE("PACS")
for kind in {pydicom.dcmread(f).SOPClassUID for f in files}:
    entity.add_supported_context(kind, ["1.2.840.10008.1.2.1"])
server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
peer = parse_peer(f"PACS@127.0.0.1:{server.socket.getsockname()[1]}")
ledger = ledger_path(folder)
for trial in range(trials):
    victim = rng.choice(files)
    victim.write_bytes(damaged(whole[victim], trial))
    try:
        push(folder, peer, retries=0, timeout=10, sleep=lambda _: None)
    except InputError as error:
        one_line(error)
        refused += 1
    except BaseException:
        print("trial", trial, victim.name, file=sys.stderr)
        raise
    else:
        for path in folder.rglob("*"):
            if path.is_file() and path.read_bytes()[128:132] == b"DICM":
                sent = pydicom.dcmread(path)
                # Group lengths are retired (PS3.5 7.2): no sender keeps them, and damage can make one.
                sent.walk(lambda data, e: data.pop(e.tag) if e.tag.element == 0 else None)
                assert stored[str(sent.SOPInstanceUID)] == sent
        done += 1
    if ledger.exists():
        lines = [json.loads(line) for line in ledger.read_text().splitlines()]
        assert {line["uid"] for line in lines} == set(stored)
        ledger.unlink()
    assert sorted(p.name for p in folder.parent.iterdir()) == [folder.name]
    stored.clear()
    victim.write_bytes(whole[victim])
server.shutdown()
print(refused, done)
"""


def fuzz(program: str, folder: Path, trials: int, seed: int = 0) -> tuple[int, int]:
    command = [sys.executable, "-c", BEGIN + program, str(folder), str(trials), str(seed)]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
        env=os.environ | {"PYTHONPATH": TESTS},
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    refused, done = map(int, ended.stdout.split())
    return refused, done


def result(tmp_path: Path, record: bool) -> Path:
    folder = tmp_path / "results" / "scan"
    folder.mkdir(parents=True)
    header = make_header((12, 9), 2)
    path = write_result(folder / "recon.h5", header, random_volumes(header, samples=1))
    if record:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (folder / "record.json").write_text(json.dumps({"recon_sha256": digest}))
    return folder


def series(tmp_path: Path, sums: bool) -> Path:
    """An export with MR images, Secondary Captures and a Parametric Map."""
    kinds = {"series": {}} if sums else {"series/mr": {}, "series/sc": {"frame": None}}
    for number, (name, frame) in enumerate(kinds.items()):
        header = make_header((12, 9), 2, **frame)
        path = write_result(tmp_path / f"{number}.h5", header, random_volumes(header, samples=0))
        (tmp_path / "pushed" / name).mkdir(parents=True)
        export_result(path, tmp_path / "pushed" / name, ExportRequest(dicom=True))
        if not sums:
            (tmp_path / "pushed" / name / SUMS).unlink()
    return tmp_path / "pushed" / "series"


def test_view_refuses_every_damage_where_a_record_lies_beside(tmp_path):
    assert fuzz(VIEW, result(tmp_path, record=True), 12) == (12, 0)


def test_view_refuses_damage_or_shows_all_of_it(tmp_path):
    refused, done = fuzz(VIEW, result(tmp_path, record=False), 12)
    assert refused > 1
    assert done > 1


def test_push_refuses_every_damage_of_an_export(tmp_path):
    pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: pip install '.[clinical]'")
    folder = series(tmp_path, sums=True)
    assert fuzz(PUSH, folder, 30) == (30, 0)


def test_push_refuses_damage_or_sends_all_of_it(tmp_path):
    pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: pip install '.[clinical]'")
    refused, done = fuzz(PUSH, series(tmp_path, sums=False), 12)
    assert refused > 1
    assert done > 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("program", "make", "name"), [(VIEW, result, "record"), (PUSH, series, "sums")])
def test_many_damages(tmp_path, program, make, name):
    if program is PUSH:
        pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: pip install '.[clinical]'")
    refused, done = fuzz(program, make(tmp_path, **{name: False}), MANY, seed=1)
    assert refused + done == MANY
    assert refused > MANY // 5
    assert done > MANY // 20
