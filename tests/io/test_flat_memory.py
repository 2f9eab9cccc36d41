"""Reading 200 slices takes the memory of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from rawfiles import header_xml
from twixfiles import protocol, readouts_of, write_vb

SLICES, COILS, READOUT, PHASE = 200, 4, 96, 80
TOTAL = SLICES * COILS * READOUT * PHASE * 8 / 1e6  # MB

# In a process of its own: the high-water mark of this one is what earlier tests left.
PROGRAM = """
import sys
from pathlib import Path
from mrunfold.io import data_crimes, open_scan, remove_oversampling

def peak():
    # Not ru_maxrss: a child begins with its parent's.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6

def look(scan, index):
    kspace = scan.kspace(index)
    data_crimes(kspace, scan.acquired(index), scan.header)
    scan.reference(index)
    remove_oversampling(kspace, scan.header)
    return kspace

with open_scan(sys.argv[1]) as scan:
    for index in range(40):  # until the allocator has what it needs for one slice
        look(scan, index)
    before = peak()
    for index in range(len(scan)):
        look(scan, index)
    after = peak()
    kept = [scan.kspace(index) for index in range(len(scan))]
    print(after - before, peak() - after)
"""


def write_fastmri(path, rng, compression=None):
    with h5py.File(path, "w") as file:
        shape = (SLICES, COILS, READOUT, PHASE)
        kspace = file.create_dataset(
            "kspace",
            shape,
            np.complex64,
            chunks=(1, *shape[1:]) if compression else None,
            compression=compression,
        )
        images = file.create_dataset("reconstruction_rss", (SLICES, READOUT // 2, PHASE), np.float32)
        for index in range(SLICES):
            kspace[index] = rng.standard_normal(shape[1:]) + 1j
            images[index] = 1
        file["ismrmrd_header"] = header_xml(np.zeros((1, *shape[1:])), (READOUT // 2, PHASE))


def write_cfl(path, rng):
    dims = [READOUT, PHASE, 1, COILS, *[1] * 9, SLICES, 1, 1]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n")
    with open(path, "wb") as file:
        for _ in range(SLICES):
            file.write((rng.standard_normal((COILS, PHASE, READOUT)) + 1j).astype("<c8").tobytes())


def write_mrd(path, rng):
    head = np.zeros(SLICES * PHASE, ismrmrd.hdf5.acquisition_header_dtype)
    head["number_of_samples"], head["active_channels"], head["center_sample"] = READOUT, COILS, READOUT // 2
    head["idx"]["slice"], head["idx"]["kspace_encode_step_1"] = np.divmod(np.arange(SLICES * PHASE), PHASE)
    with h5py.File(path, "w") as file:
        file["dataset/xml"] = np.array(
            [header_xml(np.zeros((SLICES, COILS, READOUT, PHASE)), (READOUT // 2, PHASE))],
            h5py.string_dtype(),
        )
        shape = (SLICES * PHASE,)
        data = file["dataset"].create_dataset("data", shape, ismrmrd.hdf5.acquisition_dtype, chunks=(PHASE,))
        for index in range(SLICES):
            rows = np.empty(PHASE, ismrmrd.hdf5.acquisition_dtype)
            rows["head"] = head[index * PHASE : (index + 1) * PHASE]
            for row in range(PHASE):
                rows["traj"][row] = np.zeros(0, np.float32)
                rows["data"][row] = rng.standard_normal(2 * COILS * READOUT).astype(np.float32)
            data[index * PHASE : (index + 1) * PHASE] = rows


@pytest.mark.parametrize("kind", ["fastmri", "gzip", "mrd", "cfl", "twix"])
def test_memory_is_flat_over_200_slices(tmp_path, kind):
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    path = tmp_path / {"cfl": "scan.cfl", "twix": "scan.dat"}.get(kind, "scan.h5")
    rng = np.random.default_rng(0)
    if kind == "cfl":
        write_cfl(path, rng)
    elif kind == "mrd":
        write_mrd(path, rng)
    elif kind == "twix":
        kspace = rng.standard_normal((SLICES, COILS, READOUT, PHASE), np.float32) + np.complex64(1j)
        write_vb(path, protocol(READOUT // 2, PHASE), readouts_of(kspace))
    else:
        write_fastmri(path, rng, "gzip" if kind == "gzip" else None)
    command = [sys.executable, "-c", PROGRAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    growth, kept = map(float, done.stdout.split())
    # HDF5 keeps a few MB of metadata for an ISMRMRD file; one copy of the scan would be all of TOTAL.
    assert growth < 0.2 * TOTAL, f"{growth:.1f} MB more after 200 slices of {TOTAL:.0f} MB in all"
    # And the measure sees memory that is held: all slices in a list take what they have.
    assert kept > 0.8 * TOTAL - growth
