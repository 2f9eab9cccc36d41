"""Readers of the wider image sets: 8-bit volumes, heads of many classes, subjects that are held back."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.protocols import ImageSet, load_protocol
from mrunfold.training.heads import HeadSlice, head_slices, with_lesions
from mrunfold.training.images import ImageBank


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def spec(**changes):
    return ImageSet(**({"pattern": "*", "reader": "nifti", "weight": 1, "licence": "generated"} | changes))


def disc(side=64, radius=0.8):
    y, x = np.meshgrid(*(np.linspace(-1, 1, side),) * 2, indexing="ij")
    return y**2 + x**2 < radius**2


def write_nifti(file, volume):
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), file)


def test_eight_bit_volumes_are_drawn_as_the_same_values_in_float_are(tmp_path):
    volume = (disc()[..., None] * np.arange(50, 250, 40)).astype(np.uint8)
    volume[10:20, 10:20] = 17
    write_nifti(tmp_path / "a.nii.gz", volume)
    write_nifti(tmp_path / "b.nii.gz", volume.astype(np.float32) / 7)
    eight, floating = (ImageBank.load(tmp_path, [spec(pattern=f"{n}.nii.gz")]) for n in "ab")
    assert len(eight.sets[0]) == len(floating.sets[0]) == 5
    for seed in range(4):
        a, b = eight.draw(generator(seed)), floating.draw(generator(seed))
        torch.testing.assert_close(a, b)
        assert np.percentile(a.numpy(), 99) == pytest.approx(1, rel=1e-5)
    held = [piece for piece in eight.sets[0] if not isinstance(piece, torch.Tensor)]
    assert [piece.pixels.dtype for piece in held] == [np.uint8] * 5


def test_a_complex_image_is_read_as_its_magnitude(tmp_path):
    np.savez(tmp_path / "a.npz", image=(disc() * np.exp(1j)).astype(np.complex64))
    drawn = ImageBank.load(tmp_path, [spec(pattern="*.npz", reader="npz")]).draw(generator())
    torch.testing.assert_close(drawn, torch.from_numpy(disc()).float(), rtol=1e-4, atol=1e-6)


# --- heads ---


def head_labels(side=64):
    labels = np.zeros((side, side, side // 2), np.uint8)
    y, x, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in labels.shape), indexing="ij")
    inside = y**2 + x**2 + z**2
    labels[inside < 0.8] = 45
    labels[(inside < 0.5) & (y > 0)] = 1
    labels[(inside < 0.5) & (y <= 0)] = 21  # the right half's number for class 1
    return labels


def test_heads_are_cut_along_three_axes_at_equal_resolution(tmp_path):
    np.savez(tmp_path / "a.npz", labels=head_labels())
    pieces = head_slices(tmp_path / "a.npz")
    assert {piece.stretch for piece in pieces} == {1, 2}
    for piece in pieces:
        image = piece(generator(1))
        assert image.dtype == torch.float32
        assert bool(torch.isfinite(image).all())
        assert float(image.min()) >= -1e-6
        assert np.percentile(image.numpy(), 99) == pytest.approx(1, rel=0.02)
        # A ball is round in each cut.
        rows, columns = (int((image > 0.02).any(dim=axis).sum()) for axis in (1, 0))
        assert abs(rows - columns) <= 6
        assert not bool(image[0].any())


def test_heads_get_new_contrast_partial_volume_and_mostly_equal_halves(tmp_path):
    np.savez(tmp_path / "a.npz", labels=head_labels())
    bank = ImageBank.load(tmp_path, [spec(pattern="*.npz", reader="heads")])
    assert not torch.allclose(bank.draw(generator(1)), bank.draw(generator(2)))
    labels = np.zeros((40, 40), np.uint8)
    labels[4:36, 4:20], labels[4:36, 20:36] = 1, 21
    alike = 0
    for seed in range(40):
        image = HeadSlice(labels, 1)(generator(seed))
        alike += float((image[6:34, 6:18].median() - image[6:34, 22:34].median()).abs()) < 0.08
    assert 22 <= alike < 40
    values = HeadSlice(np.where(disc(40), 45, 0).astype(np.uint8), 1)(generator(3)).flatten()
    between = (values > 0.05) & (values < 0.5)
    assert bool(between.any())


def test_lesions_stay_inside_and_differ():
    image = torch.from_numpy(disc(96).astype(np.float32)) * 0.5
    changed = []
    for seed in range(10):
        found = with_lesions(image, generator(seed))
        assert not bool(found[image == 0].any())
        assert 0 <= float(found.min()) <= float(found.max()) <= 1.3
        changed.append(float((found != image).float().mean()))
    assert min(changed) > 0
    assert max(changed) < 0.5
    empty = torch.zeros(8, 8)
    assert with_lesions(empty, generator()) is empty


@pytest.mark.parametrize(
    "content",
    [
        {"other": np.zeros(3)},
        {"labels": np.zeros((8, 8), np.uint8)},
        {"labels": np.full((8, 8, 8), 99)},
    ],
)
def test_files_without_heads_are_named(tmp_path, content):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(InputError, match="no labels"):
        head_slices(tmp_path / "a.npz")


@pytest.mark.parametrize("reader", ["heads", "npz"])
def test_files_without_an_image_are_named(tmp_path, reader):
    np.savez(tmp_path / "a.npz", labels=np.zeros((16, 16, 16), np.uint8))
    with pytest.raises(InputError, match=r"npz.*(filled enough|has no image)"):
        ImageBank.load(tmp_path, [spec(pattern="*.npz", reader=reader)])


# --- held back ---


def test_held_back_files_are_in_one_bank_and_not_in_the_other(tmp_path):
    for n in range(4):
        write_nifti(
            tmp_path / f"p{n}_t1.nii.gz", (disc()[..., None] * np.full(3, 60 * (n + 1))).astype(np.uint8)
        )
    one = spec(pattern="*.nii.gz", held_back=("p1_*", "p3_*"))
    other = spec(pattern="p0_t1.nii.gz")
    trained = ImageBank.load(tmp_path, [one, other])
    held = ImageBank.load(tmp_path, [one, other], held_back=True)
    tops = [[int(piece.pixels.max()) for piece in bank.sets[0]] for bank in (trained, held)]
    assert tops == [[60] * 3 + [180] * 3, [120] * 3 + [240] * 3]
    assert [len(bank.sets) for bank in (trained, held)] == [2, 1]
    with pytest.raises(InputError, match="holds files back"):
        ImageBank.load(tmp_path, [other], held_back=True)
    with pytest.raises(InputError, match="no files held back of"):
        ImageBank.load(tmp_path, [spec(pattern="*.nii.gz", held_back=("q*",))], held_back=True)
    with pytest.raises(InputError, match="no training images at"):
        ImageBank.load(tmp_path, [spec(pattern="p1*", held_back=("p1*",))])


def test_the_wide_protocol_holds_subjects_back():
    held = [s for s in load_protocol("mri-wide").images if s.held_back]
    assert len(held) >= 3
    assert all(s.licence for s in load_protocol("mri-wide").images)
