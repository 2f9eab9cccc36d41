"""What frames of ISMRMRD files are called: echo times, inversion times, b-values, times, averages."""

from __future__ import annotations

import numpy as np
import pytest
from framefiles import NOISE, SHAPE, kspace_of, write_frames

from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.io.frames import Frames, frames_words
from mrunfold.pipeline import ReconSettings


def read(path):
    with open_scan(path) as scan:
        return scan.header


def test_echoes_have_their_times(tmp_path):
    frames = [(kspace_of(0.5**echo), {"contrast": echo}) for echo in range(3)]
    header = read(write_frames(tmp_path / "a.h5", frames, "<TR>900</TR><TE>5</TE><TE>12.5</TE><TE>20</TE>"))
    assert [la["TE_ms"] for la in header.frames.labels] == [5, 12.5, 20]
    assert (header.slices, header.places) == (6, 2)
    assert "TE_ms" not in header.contrast
    assert header.contrast["TR_ms"] == 900
    assert frames_words(header.frames) == "3: 3 contrasts; TE 5, 12.5, 20 ms"
    with open_scan(tmp_path / "a.h5") as scan:
        np.testing.assert_array_equal(scan.kspace(3), frames[1][0][1])


def test_inversion_times_are_those_of_the_counter_that_has_as_many(tmp_path):
    frames = [(kspace_of(), {"set": n, "repetition": r}) for r in range(3) for n in range(2)]
    header = read(write_frames(tmp_path / "a.h5", frames, "<TI>100</TI><TI>2500</TI>"))
    assert [la["TI_ms"] for la in header.frames.labels] == [100, 2500] * 3


@pytest.mark.parametrize(("counter", "field"), [("user_3", "user"), ("average", "average"), ("set", "set")])
def test_b_values_follow_the_counter_that_the_header_names(tmp_path, counter, field):
    frames = []
    for n in range(2):
        value = {"user": (0, 0, 0, n, 0, 0, 0, 0)} if field == "user" else {field: n}
        frames.append((kspace_of(1 - 0.5 * n), value))
    xml = f"<diffusionDimension>{counter}</diffusionDimension>"
    for b in (0, 800):
        direction = "<gradientDirection><rl>1</rl><ap>0</ap><fh>0</fh></gradientDirection>"
        xml += f"<diffusion>{direction}<bvalue>{b}</bvalue></diffusion>"
    header = read(write_frames(tmp_path / "a.h5", frames, xml))
    assert [la["b_s_mm2"] for la in header.frames.labels] == [0, 800]
    with open_scan(tmp_path / "a.h5") as scan:  # averages that are weightings are not averaged
        np.testing.assert_array_equal(scan.kspace(0), frames[0][0][0])


def test_repetitions_have_times_and_phases_delays_after_the_trigger(tmp_path):
    frames = []
    for repetition in range(3):
        for phase in range(2):
            stamps = {"acquisition_time_stamp": 4000 * repetition + 100 * phase + 1}
            stamps["physiology_time_stamp"] = (40 + 200 * phase, 0, 0)
            frames.append((kspace_of(slices=1), {"repetition": repetition, "phase": phase, **stamps}))
    path = write_frames(tmp_path / "a.h5", frames)
    assert any("unit of the acquisitions' time stamps" in note for note in read(path).notes)
    import ismrmrd

    dataset = ismrmrd.Dataset(str(path), "dataset")
    xml = dataset.read_xml_header().decode()
    vendor = "<acquisitionSystemInformation><systemVendor>SIEMENS</systemVendor>"
    dataset.write_xml_header(xml.replace("<acquisitionSystemInformation>", vendor).encode())
    dataset.close()
    labels = read(path).frames.labels
    assert [la["time_s"] for la in labels] == [0, 0, 10, 10, 20, 20]
    assert [la["trigger_ms"] for la in labels] == [100, 600] * 3


def test_averages_are_averaged_with_their_count_in_the_noise(tmp_path):
    """Frames may have different numbers of averages: one acquisition of b = 0, four of b = 800."""
    rng = np.random.default_rng(5)
    scan_noise = NOISE * np.sqrt(0.5) * (rng.standard_normal((4, 4000)) + 1j * rng.standard_normal((4, 4000)))
    frames = [(kspace_of(seed=1), {"set": 0})]
    frames += [(kspace_of(seed=2 + n), {"set": 1, "average": n}) for n in range(4)]
    path = write_frames(tmp_path / "a.h5", frames)
    import ismrmrd

    dataset = ismrmrd.Dataset(str(path), "dataset")
    noise = ismrmrd.Acquisition.from_array(np.ascontiguousarray(scan_noise, np.complex64))
    noise.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    dataset.append_acquisition(noise)
    dataset.close()
    with open_scan(path) as scan:
        mean = np.mean([one[1] for one, _ in frames[1:]], axis=0)
        np.testing.assert_allclose(scan.kspace(3), mean, atol=1e-5)
        level = float(np.sqrt(np.mean(np.abs(scan.noise()) ** 2)))
        found = [level * scan.noise_ratio(index) for index in range(4)]
    np.testing.assert_allclose(found, [NOISE, NOISE, NOISE / 2, NOISE / 2], rtol=0.03)


def test_frames_are_chosen_like_slices(tmp_path):
    frames = [(kspace_of(), {"repetition": r}) for r in range(3)]
    header = read(write_frames(tmp_path / "a.h5", frames))
    assert ReconSettings(frames="1:", slices="-1").images(header) == [3, 5]
    assert ReconSettings().images(header) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(InputError, match="`frames` takes 0:3"):
        ReconSettings(frames="3").images(header)


def test_a_frame_that_lacks_a_slice_is_left_out_there(tmp_path):
    frames = [(kspace_of(slices=2), {"repetition": 0}), (kspace_of(slices=1), {"repetition": 1})]
    header = read(write_frames(tmp_path / "a.h5", frames))
    assert (header.frames.frame, header.frames.place) == ((0, 0, 1), (0, 1, 0))
    assert ReconSettings(slices="1").images(header) == [1]
    with pytest.raises(InputError, match="none of these slices in these frames"):
        ReconSettings(slices="1", frames="1").images(header)


@pytest.mark.parametrize(
    ("times", "step"), [([0, 2.5, 5.01], 2.505), ([0, 2.5, 6], None), ([0], None), ([None, 1, 2], None)]
)
def test_steps_of_time(times, step):
    labels = [{"repetition": n} | ({} if t is None else {"time_s": t}) for n, t in enumerate(times)]
    frames = Frames.grid(labels, 1)
    assert frames.step_s(range(len(times))) == (step if step is None else pytest.approx(step))


def test_labels_are_known_words():
    with pytest.raises(ValueError, match="labels of frames"):
        Frames.grid([{"patient": 1.0}], 1)
    assert kspace_of().shape[-2:] == SHAPE
