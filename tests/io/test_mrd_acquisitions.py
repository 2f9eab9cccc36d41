"""Acquisitions of an ISMRMRD file win over its header; what cannot be read says why."""

from __future__ import annotations

import ismrmrd
import numpy as np
import pytest
from rawfiles import coil_kspace, header_xml, letter_f, write_acquisitions

from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.pipeline import ReconSettings, reconstruct

SHAPE = (48, 40)
CALIBRATION = ismrmrd.ACQ_IS_PARALLEL_CALIBRATION
MODE = (
    "<parallelImaging><accelerationFactor><kspace_encoding_step_1>2</kspace_encoding_step_1>"
    "<kspace_encoding_step_2>1</kspace_encoding_step_2></accelerationFactor>"
    "<calibrationMode>{}</calibrationMode></parallelImaging>"
)


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    images = np.stack([letter_f(SHAPE) + 0.4, letter_f(SHAPE)[::-1] + 0.3])
    return coil_kspace(images, coils=4, noise=5e-3)


@pytest.fixture(scope="module")
def other_contrast() -> np.ndarray:
    """The same head, bright where it was dark, three times as bright."""
    return coil_kspace(np.stack([3 * (1.5 - letter_f(SHAPE))] * 2), coils=4, noise=5e-3)


def lines(kspace, which=range(SHAPE[1]), index=0, **fields):
    return [(kspace[index][..., j], {"kspace_encode_step_1": j, **fields}) for j in which]


def scan_of(tmp_path, rows, kspace, xml=None):
    return open_scan(write_acquisitions(tmp_path / "raw.h5", rows, xml or header_xml(kspace, SHAPE)))


def with_mode(kspace, mode: str) -> str:
    return header_xml(kspace, SHAPE).replace("</encoding>", f"{MODE.format(mode)}</encoding>")


def refusal(tmp_path, rows, kspace, xml=None) -> str:
    with pytest.raises(InputError) as caught:
        scan_of(tmp_path, rows, kspace, xml)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestCalibration:
    @pytest.mark.parametrize("mode", ["separate", "external", "other", "Separate"])
    def test_a_scan_of_its_own_makes_maps_only(self, tmp_path, kspace, other_contrast, mode):
        rows = lines(other_contrast, range(10, 30), flags=[CALIBRATION]) + lines(kspace, range(0, 40, 2))
        with scan_of(tmp_path, rows, kspace, with_mode(kspace, mode)) as scan:
            wanted = np.arange(40) % 2 == 0
            np.testing.assert_array_equal(scan.acquired(0), np.broadcast_to(wanted, SHAPE))
            np.testing.assert_array_equal(scan.kspace(0)[..., wanted], kspace[0][..., wanted])
            assert not scan.kspace(0)[..., ~wanted].any()
            np.testing.assert_array_equal(scan.calibration(0)[..., 10:30], other_contrast[0][..., 10:30])
            assert "20 calibration lines are a scan of their own" in scan.header.notes[0]

    @pytest.mark.parametrize("mode", ["embedded", "interleaved", ""])
    def test_lines_of_the_image_fill_in(self, tmp_path, kspace, mode):
        rows = lines(kspace, range(10, 30), flags=[CALIBRATION]) + lines(kspace, range(0, 40, 2))
        xml = with_mode(kspace, mode) if mode else None
        with scan_of(tmp_path, rows, kspace, xml) as scan:
            assert scan.acquired(0)[0].sum() == 30
            np.testing.assert_array_equal(scan.kspace(0)[..., 10:30], kspace[0][..., 10:30])
            assert scan.calibration(0) is None
            assert scan.header.notes == ()

    def test_another_contrast_is_told_by_the_samples(self, tmp_path, kspace, other_contrast):
        """The header says `embedded`; lines of both kinds at one place differ by more than a factor."""
        rows = lines(other_contrast, range(10, 30), flags=[CALIBRATION]) + lines(kspace, range(0, 40, 2))
        with scan_of(tmp_path, rows, kspace, with_mode(kspace, "embedded")) as scan:
            assert scan.acquired(0)[0].sum() == 20
            assert scan.calibration(0) is not None

    @pytest.mark.parametrize(("fov", "used"), [(1.0, True), (1.5, False)])
    def test_another_encoding_space(self, tmp_path, kspace, fov, used):
        """24 lines of a smaller matrix: on the images' grid where their field of view is the same."""
        xml = header_xml(kspace, SHAPE)
        first = xml[xml.index("<encoding>") : xml.index("</encoding>") + len("</encoding>")]
        second = first.replace("<y>40</y>", "<y>24</y>").replace("<x>48</x>", "<x>32</x>")
        for size, length in ((48, "x"), (40, "y")):
            second = second.replace(f"<{length}>{size}.0</{length}>", f"<{length}>{fov * size}</{length}>")
        second = second.replace("<maximum>39</maximum><center>20", "<maximum>23</maximum><center>12")
        xml = xml.replace("</ismrmrdHeader>", second + "</ismrmrdHeader>")
        rows = [
            (
                kspace[0][:, 8:40, j + 8],
                {"kspace_encode_step_1": j, "flags": [CALIBRATION], "encoding_space_ref": 1},
            )
            for j in range(24)
        ]
        with scan_of(tmp_path, rows + lines(kspace, range(0, 40, 2)), kspace, xml) as scan:
            assert scan.acquired(0)[0].sum() == 20
            if used:
                np.testing.assert_array_equal(scan.calibration(0)[:, 8:40, 8:32], kspace[0][:, 8:40, 8:32])
            else:
                assert scan.calibration(0) is None
                assert "another field of view and are not used" in scan.header.notes[0]

    def test_repetitions_calibrate_together(self, tmp_path, kspace):
        rows = [row for r in range(4) for row in lines(kspace, range(r % 2, 40, 2), repetition=r)]
        with scan_of(tmp_path, rows, kspace) as scan:
            assert len(scan) == 4
            assert not scan.kspace(1)[..., ::2].any()
            np.testing.assert_array_equal(scan.calibration(1), kspace[0])
            assert "mean over repetitions" in scan.header.notes[0]

    def test_the_image_is_right(self, tmp_path):
        """R = 2 with separate lines against the full scan: today's mixture was off by more than half."""
        y, x = (np.linspace(-1, 1, n) for n in SHAPE)
        head = (np.hypot(*np.meshgrid(y, x, indexing="ij")) < 0.8).astype(np.float32)
        kspace = coil_kspace(head[None] * (0.4 + letter_f(SHAPE)), noise=5e-3)
        other_contrast = coil_kspace(head[None] * 3 * (1.5 - letter_f(SHAPE)), noise=5e-3)
        rows = lines(other_contrast, range(10, 30), flags=[CALIBRATION]) + lines(kspace, range(0, 40, 2))
        path = write_acquisitions(tmp_path / "raw.h5", rows, with_mode(kspace, "separate"))
        full = write_acquisitions(tmp_path / "full.h5", lines(kspace), header_xml(kspace, SHAPE))
        images = []
        for file in (path, full):
            settings = ReconSettings(method="sense", cache=False)
            out = reconstruct(file, tmp_path / f"{file.stem}_out", settings).folder
            import h5py

            with h5py.File(out / "recon.h5") as found:
                images.append(found["reconstruction"][0])
        assert np.linalg.norm(images[0] - images[1]) < 0.1 * np.linalg.norm(images[1])


class TestNotCartesian:
    def test_epi_whatever_the_header_calls_it(self, tmp_path, kspace):
        rows = [(kspace[0][..., 20], {"kspace_encode_step_1": 20, "flags": [ismrmrd.ACQ_IS_PHASECORR_DATA]})]
        for samples, fields in lines(kspace):
            back = fields["kspace_encode_step_1"] % 2
            rows.append(
                (samples[:, ::-1], {**fields, "flags": [ismrmrd.ACQ_IS_REVERSE]})
                if back
                else (samples, fields)
            )
        assert "an EPI scan" in refusal(tmp_path, rows, kspace)

    def test_echoes_of_alternating_direction_are_no_epi(self, tmp_path, kspace):
        """Each image has one direction; its phase correction is of no consequence."""
        rows = [(kspace[0][..., 20], {"kspace_encode_step_1": 20, "flags": [ismrmrd.ACQ_IS_PHASECORR_DATA]})]
        rows += lines(kspace, contrast=0)
        rows += [
            (s[:, ::-1], {**f, "contrast": 1, "flags": [ismrmrd.ACQ_IS_REVERSE], "center_sample": 23})
            for s, f in lines(kspace, index=1)
        ]
        with scan_of(tmp_path, rows, kspace) as scan:
            np.testing.assert_array_equal(scan.kspace(1), kspace[1])

    @pytest.mark.parametrize("counts_back", [True, False])
    def test_center_sample_of_reversed_readouts_is_measured(self, tmp_path, kspace, counts_back):
        """The standard counts in the order of measurement (23 of 48), some writers along k-space (24)."""
        rows = []
        for samples, fields in lines(kspace):
            if fields["kspace_encode_step_1"] % 2:
                flags = [ismrmrd.ACQ_IS_REVERSE]
                centre = 23 if counts_back else 24
                samples, fields = samples[:, ::-1], {**fields, "flags": flags, "center_sample": centre}
            rows.append((samples, fields))
        with scan_of(tmp_path, rows, kspace) as scan:
            np.testing.assert_array_equal(scan.kspace(0), kspace[0])
            assert any("counts along k-space" in note for note in scan.header.notes) is not counts_back
            assert any("readouts of both directions" in note for note in scan.header.notes)

    @pytest.mark.parametrize("kind", ["radial", "blades", "ramp"])
    def test_trajectories_off_the_grid(self, tmp_path, kspace, kind):
        along = np.arange(48) - 24.0
        rows = []
        for n, (samples, fields) in enumerate(lines(kspace)):
            angle = {"radial": np.pi * n / 40, "blades": np.pi * (n // 10) / 4, "ramp": 0}[kind]
            k = 24 * np.sin(np.pi * along / 48) if kind == "ramp" else along
            points = np.stack([k * np.cos(angle), k * np.sin(angle)], axis=1).astype(np.float32)
            rows.append((samples, {**fields, "trajectory": points}))
        assert "leave the Cartesian grid" in refusal(tmp_path, rows, kspace)

    @pytest.mark.parametrize("dimensions", [1, 2, 3])
    def test_trajectories_on_the_grid(self, tmp_path, kspace, dimensions):
        rows = []
        for samples, fields in lines(kspace):
            points = np.zeros((48, dimensions), np.float32)
            points[:, 0] = (np.arange(48) - 24) / 48
            if dimensions > 1:
                points[:, 1] = (fields["kspace_encode_step_1"] - 20) / 40
            rows.append((samples, {**fields, "trajectory": points}))
        with scan_of(tmp_path, rows, kspace) as scan:
            np.testing.assert_array_equal(scan.kspace(0), kspace[0])

    def test_spokes_without_a_trajectory(self, tmp_path):
        rng = np.random.default_rng(0)
        k = rng.standard_normal((4, 48, 1)) + 1j * rng.standard_normal((4, 48, 1))
        spokes = k * 5 / (1 + np.abs(np.arange(48) - 24))[None, :, None] ** 2 * np.ones((1, 1, 40))
        spokes = spokes + 1e-2 * rng.standard_normal(spokes.shape)
        assert "in every line, as in a radial scan" in refusal(
            tmp_path, lines(spokes[None].astype(np.complex64)), spokes[None]
        )


class TestCounters:
    def test_lines_without_labels(self, tmp_path, kspace):
        rows = [(s, {**f, "kspace_encode_step_1": 7}) for s, f in lines(kspace)]
        assert "40 acquisitions all have kspace_encode_step_1 7" in refusal(tmp_path, rows, kspace)

    def test_echoes_without_labels(self, tmp_path, kspace):
        rows = lines(kspace) + [(0.5 * s, f) for s, f in lines(kspace)]
        message = refusal(tmp_path, rows, kspace)
        assert "echoes or frames without a label" in message
        assert "`contrast`" in message

    def test_averages_without_labels(self, tmp_path, kspace):
        noisy = kspace + 5e-3 * np.random.default_rng(1).standard_normal(kspace.shape)
        rows = lines(kspace) + lines(noisy.astype(np.complex64))
        with scan_of(tmp_path, rows, kspace) as scan:
            np.testing.assert_allclose(scan.kspace(0), (kspace[0] + noisy[0]) / 2, atol=1e-6)
            assert "are averaged" in scan.header.notes[0]

    @pytest.mark.parametrize("partitions", [2, 8])
    def test_partitions_that_nobody_acquired(self, tmp_path, kspace, partitions):
        xml = header_xml(kspace, SHAPE).replace("<z>1</z>", f"<z>{partitions}</z>", 1)
        with scan_of(tmp_path, lines(kspace), kspace, xml) as scan:
            np.testing.assert_array_equal(scan.kspace(0), kspace[0])
            assert f"announces {partitions} partitions" in scan.header.notes[0]

    def test_partitions_that_were_acquired(self, tmp_path, kspace):
        xml = header_xml(kspace, SHAPE).replace("<z>1</z>", "<z>2</z>", 1)
        rows = [row for z in range(2) for row in lines(kspace, kspace_encode_step_2=z)]
        with scan_of(tmp_path, rows, kspace, xml) as scan:
            assert scan.source.partitions == 2
            assert "a 3-D scan with complete partitions" in scan.header.notes[-1]
            np.testing.assert_allclose(scan.kspace(1)[:, ::2, 0], 2**0.5 * kspace[0][:, ::2, 0], atol=1e-5)


class TestStopped:
    @pytest.mark.parametrize(
        ("counts", "remedy"),
        [((40, 40, 13), "--slices 0:2"), ((40, 13), "--slices 0:1"), ((13, 40, 40), "--slices 1,2")],
    )
    def test_a_slice_that_was_not_finished(self, tmp_path, kspace, counts, remedy):
        rows = [row for s, n in enumerate(counts) for row in lines(kspace, range(n), slice=s)]
        bad = counts.index(13)
        with scan_of(tmp_path, rows, kspace) as scan:
            good = [i for i, n in enumerate(counts) if n == 40]
            scan.require(good)
            with pytest.raises(
                InputError, match=f"slice {bad} of {len(counts)} has 13 of 40 lines.*{remedy}"
            ):
                scan.require(range(len(counts)))
            assert any(f"slice {bad} of" in note for note in scan.header.notes)

    def test_nothing_is_begun(self, tmp_path, kspace):
        rows = lines(kspace, slice=0) + lines(kspace, range(9), slice=1)
        path = write_acquisitions(tmp_path / "raw.h5", rows, header_xml(kspace, SHAPE))
        begun = []
        with pytest.raises(InputError, match="slice 1 of 2"):
            reconstruct(
                path,
                tmp_path / "out",
                ReconSettings(method="zero_filled"),
                progress=lambda *a: begun.append(a),
            )
        assert not begun
        assert not (tmp_path / "out").exists()

    def test_slices_that_all_stop_before_the_centre(self, tmp_path, kspace):
        rows = [row for s in range(2) for row in lines(kspace, range(12), slice=s)]
        with scan_of(tmp_path, rows, kspace) as scan, pytest.raises(InputError, match="none near the centre"):
            scan.require([0])

    def test_frames_that_alternate_are_whole(self, tmp_path, kspace):
        rows = lines(kspace, repetition=0)
        rows += [row for r in (1, 2) for row in lines(kspace, range(r % 2, 40, 2), repetition=r)]
        with scan_of(tmp_path, rows, kspace) as scan:
            scan.require(range(3))

    def test_limits_beyond_what_was_acquired(self, tmp_path, kspace):
        with scan_of(tmp_path, lines(kspace, range(30)), kspace) as scan:
            assert "announces lines 0 to 39 and only 0 to 29 were acquired" in scan.header.notes[0]


class TestCoils:
    def test_images_of_the_body_coil_are_left_out(self, tmp_path, kspace):
        rows = [(s[:2], f) for s, f in lines(kspace, set=0)] + lines(kspace, set=1)
        with scan_of(tmp_path, rows, kspace) as scan:
            assert (len(scan), scan.header.coils) == (1, 4)
            np.testing.assert_array_equal(scan.kspace(0), kspace[0])
            assert scan.header.notes == ("set 0 with 2 coils instead of 4 left out",)

    def test_a_noise_scan_of_other_coils_is_left_out(self, tmp_path, kspace):
        noise = np.ones((2, 64), np.complex64)
        rows = [*lines(kspace), (noise, {"flags": [ismrmrd.ACQ_IS_NOISE_MEASUREMENT]})]
        with scan_of(tmp_path, rows, kspace) as scan:
            assert scan.noise() is None
            assert scan.header.notes == ("a noise scan of 2 coils is left out: the images have 4",)


class TestMeasurements:
    def write(self, tmp_path, kspace, names):
        for n, name in enumerate(names):
            write_acquisitions(tmp_path / "raw.h5", lines((n + 1) * kspace), header_xml(kspace, SHAPE), name)
        return tmp_path / "raw.h5"

    def test_the_usual_name_wins(self, tmp_path, kspace):
        path = self.write(tmp_path, kspace, ("AdjCoilSens", "dataset"))
        with open_scan(path) as scan:
            np.testing.assert_allclose(scan.kspace(0), 2 * kspace[0])
            assert "2 measurements (AdjCoilSens, dataset): dataset is read" in scan.header.notes[0]
        with open_scan(path, "AdjCoilSens") as scan:
            np.testing.assert_allclose(scan.kspace(0), kspace[0])

    def test_other_names_are_listed(self, tmp_path, kspace):
        path = self.write(tmp_path, kspace, ("meas_1", "meas_2"))
        with pytest.raises(InputError, match="`measurement`: meas_1, meas_2"):
            open_scan(path)
        with pytest.raises(InputError, match="no measurement 'meas_3'"):
            open_scan(path, "meas_3")
        with open_scan(path, "meas_2") as scan:
            np.testing.assert_allclose(scan.kspace(0), 2 * kspace[0])

    def test_one_of_any_name_needs_no_word(self, tmp_path, kspace):
        with open_scan(self.write(tmp_path, kspace, ("scan",))) as scan:
            assert scan.header.notes == ()


class TestHeader:
    @pytest.mark.parametrize("declared", ["ISO-8859-1", "UTF-8"])
    def test_letters_of_latin_1(self, tmp_path, kspace, declared):
        xml = header_xml(kspace, SHAPE).replace('encoding="utf-8"', f'encoding="{declared}"')
        name = "<measurementInformation><protocolName>t2_sch\u00e4del</protocolName></measurementInformation>"
        xml = xml.replace("<acquisitionSystem", f"{name}<acquisitionSystem").encode("latin-1")
        with scan_of(tmp_path, lines(kspace), kspace, xml) as scan:
            np.testing.assert_array_equal(scan.kspace(0), kspace[0])

    def test_lengths_in_metres(self, tmp_path, kspace):
        xml = header_xml(kspace, SHAPE, (1.5e-3, 2e-3)).replace("<z>5</z>", "<z>0.005</z>")
        frame = {"read_dir": (1, 0, 0), "phase_dir": (0, 1, 0), "slice_dir": (0, 0, 1)}
        rows = [
            row
            for s in range(2)
            for row in lines(kspace, index=s, slice=s, position=(0.01, 0.02, 0.006 * s), **frame)
        ]
        with scan_of(tmp_path, rows, kspace, xml) as scan:
            header = scan.header
            assert header.pixel_mm == pytest.approx((1.5, 2.0))
            assert header.slice_mm == pytest.approx(5)
            np.testing.assert_allclose(header.geometry.positions, [[10, 20, 0], [10, 20, 6]], rtol=1e-5)
            assert "taken as metres" in header.notes[0]

    def test_positions_of_unknown_unit_are_none(self, tmp_path, kspace):
        xml = header_xml(kspace, SHAPE, (1.5e-3, 2e-3)).replace("<z>5</z>", "<z>0.005</z>")
        frame = {"read_dir": (1, 0, 0), "phase_dir": (0, 1, 0), "slice_dir": (0, 0, 1)}
        with scan_of(tmp_path, lines(kspace, position=(0.01, 0.02, 0), **frame), kspace, xml) as scan:
            assert scan.header.geometry is None
            assert "cannot be told" in scan.header.notes[-1]

    def test_lengths_that_are_nothing(self, tmp_path, kspace):
        with scan_of(tmp_path, lines(kspace), kspace, header_xml(kspace, SHAPE, (1e-7, 1e-7))) as scan:
            assert scan.header.pixel_mm is None
            assert "taken as unknown" in scan.header.notes[0]

    @pytest.mark.parametrize("vendor", ["SIEMENS", "Siemens Healthineers"])
    def test_siemens_is_conjugated(self, tmp_path, kspace, vendor):
        system = f"<acquisitionSystemInformation><systemVendor>{vendor}</systemVendor>"
        xml = header_xml(kspace, SHAPE).replace("<acquisitionSystemInformation>", system)
        noise = np.full((4, 64), 1 + 2j, np.complex64)
        rows = [*lines(kspace), (noise, {"flags": [ismrmrd.ACQ_IS_NOISE_MEASUREMENT]})]
        with scan_of(tmp_path, rows, kspace, xml) as scan:
            np.testing.assert_array_equal(scan.kspace(0), kspace[0].conj())
            np.testing.assert_allclose(scan.noise(), noise.conj())
            assert scan.header.notes[0].startswith("a Siemens scan: k-space is conjugated")
