"""`bench volume`: programs run by themselves, what they took, and a volume whose slices differ."""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch
from typer.testing import CliRunner

from mrunfold.benchmarks import head, tables
from mrunfold.benchmarks.speed import process, volume
from mrunfold.benchmarks.store import read_measured
from mrunfold.cli import main
from mrunfold.io import open_scan
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import save_weights
from mrunfold.operators import ifft2c
from mrunfold.protocols import NetworkSpec, PriorSpec


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """`bench volume`, as a person calls it, on three tiny slices and with a network that was not trained."""
    folder = tmp_path_factory.mktemp("volume")
    spec = NetworkSpec(blocks=2, shared=False, prior=PriorSpec(widths=(4, 6), blocks=1))
    weights = folder / "random.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_weights(weights, PosteriorDenoiser.from_spec(spec), spec)
    words = ["bench", "volume", "--slices", "3", "--coils", "3", "--size", "48", "--iterations", "8"]
    words += ["--slow-slices", "1", "--device", "cpu", "--weights", str(weights)]
    result = CliRunner().invoke(main.app, [*words, "--out", str(folder / "volume.json")])
    assert result.exit_code == 0, result.output
    return folder / "volume.json", result.output


def test_each_program_has_a_row_of_its_slices(measured):
    path, output = measured
    found = read_measured(path, "volume")
    rows = {row["name"]: volume.VolumeRow(**row) for row in found["rows"]}
    wanted = {volume.OURS: 3, volume.UNCHECKED: 3, volume.OUR_MAPS: 3, volume.SIGPY: 1}
    assert {name: row.n for name, row in rows.items() if name != volume.BART} == wanted
    assert (volume.BART in rows) != (volume.BART in found["skipped"])
    assert found["scored"] == [1]
    for row in rows.values():
        assert row.cpu > 0
        assert row.first > 0
        assert row.further > 0
        assert row.memory_mib > 1
    # The slices are those of the volume: the same image whether the others are reconstructed or not.
    assert rows[volume.OURS].psnr == rows[volume.UNCHECKED].psnr
    assert rows[volume.SIGPY].psnr == pytest.approx(rows[volume.OUR_MAPS].psnr, abs=1.0)
    assert found["processor"]
    assert found["cores"] >= 1
    assert found["energy"] == (rows[volume.OURS].joules is not None)
    assert ("Energy was left out" in output) != found["energy"]
    assert tables.markdown([path])[0] in output
    assert not re.search(r"/(?:home|tmp|work)/", path.read_text(encoding="utf-8"))


def test_slices_that_are_missing_count_as_the_later_ones(monkeypatch, tmp_path):
    def took(command, folder):
        marks = [[12.0, 3.0], [13.0, 4.5], [14.0, 6.0]]
        (folder / "marks.json").write_text(json.dumps(marks), encoding="utf-8")
        return process.Used(10.0, 4.5, 6.5, 100.0, 30.0)

    monkeypatch.setattr(volume, "used", took)
    monkeypatch.setattr(volume, "_psnr", lambda path, places: float(places[0]))
    settings = volume.recon.settings(48)
    row = volume._recon_row("sigpy", tmp_path / "scan.cfl", settings, [2, 5, 8], 10, [5])
    assert (row.first, row.further, row.further_cpu) == (2.0, 1.0, 1.5)
    assert row.seconds == pytest.approx((4.5 + 7 * 1.0) / 10)
    assert row.cpu == pytest.approx((6.5 + 7 * 1.5) / 10)
    assert row.joules == 10.0
    assert row.psnr == 1.0  # slice 5 is the second of those that were reconstructed


def test_ratios_are_of_ours_in_the_same_run():
    ours = {"name": "ours", "n": 4, "seconds": 0.5, "cpu": 0.8, "first": 1.0, "further": 0.4}
    ours |= {"further_cpu": 0.7, "memory_mib": 900.0, "psnr": 40.0}
    other = ours | {"name": "bart", "seconds": 2.0, "cpu": 4.0, "psnr": None}
    found = {"iterations": 60, "energy": False, "rows": [ours, other]}
    lines = volume.markdown(found).splitlines()
    assert lines[2].split(" | ")[1:6] == ["4", "0.50", "1.00", "0.80", "1.00"]
    assert lines[3].split(" | ")[1:6] == ["4", "2.00", "4.00", "4.00", "5.00"]
    assert lines[3].endswith("| – |")
    found["energy"] = True
    ours["joules"], other["joules"] = 12.0, 40.0
    assert volume.markdown(found).splitlines()[3].endswith("| – | 40.0 |")


def test_without_bart_it_is_left_out_with_the_reason(monkeypatch):
    monkeypatch.setattr(volume.shutil, "which", lambda name: None)
    row = volume.VolumeRow("ours", 1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    monkeypatch.setattr(volume, "_recon_row", lambda *words: row)
    found = volume.measure(slices=2, coils=2, size=48)
    assert found["skipped"] == {"bart": "bart is not installed"}
    assert len(found["rows"]) == 4


def test_a_program_is_measured_without_what_started_it(tmp_path):
    assert sys.modules["torch"]  # this process is large
    took = process.used([sys.executable, "-I", "-S", "-c", "print('words')"], tmp_path)
    assert took.memory_mib < 80
    held = process.used([sys.executable, "-I", "-S", "-c", "bytearray(b'1') * (100 << 20)"], tmp_path)
    assert held.memory_mib > 100
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    assert process.used([sys.executable, "-I", "-S", "-c", busy], tmp_path).cpu >= 0.2
    with pytest.raises(RuntimeError, match="ended with 3: no good"):
        process.used([sys.executable, "-c", "import sys; print('no good'); sys.exit(3)"], tmp_path)


def test_energy_is_that_of_all_sockets_and_none_without_counters(tmp_path):
    assert process.Meter(tmp_path).joules() is None
    zones = [tmp_path / f"intel-rapl:{number}" for number in (0, 1)]
    for zone in (*zones, tmp_path / "intel-rapl:0:0"):  # a part of socket 0, which is in it already
        zone.mkdir()
        (zone / "energy_uj").write_text("9000000\n")
        (zone / "max_energy_range_uj").write_text("9999999\n")
    meter = process.Meter(tmp_path)
    (zones[0] / "energy_uj").write_text("9500000\n")
    (zones[1] / "energy_uj").write_text("1000000\n")  # began anew
    assert meter.joules() == pytest.approx(0.5 + 2.0)
    (zones[1] / "energy_uj").unlink()
    assert meter.joules() is None


def test_the_processor_has_a_name(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU 3\n")
    assert process.processor(tmp_path / "cpuinfo") == "Some CPU 3"
    assert process.processor(tmp_path / "none")


def test_slices_of_the_volume_differ_and_are_the_heads(tmp_path):
    path = head.write_volume(tmp_path, 2, 48, 4)
    images = head._images(48, 4)
    with open_scan(path) as scan:
        assert (len(scan), scan.header.coils, scan.header.matrix) == (4, 2, (48, 48))
        for index in range(4):
            seen = ifft2c(torch.from_numpy(scan.kspace(index))).abs().square().sum(dim=0).sqrt()
            errors = [float((seen - image.abs()).norm()) for image in images]
            assert errors.index(min(errors)) == index
