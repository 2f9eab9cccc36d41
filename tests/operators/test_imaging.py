"""The operators on photographs keep the contract, and are what they say, written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import fft, ndimage

from mrunfold.errors import InputError
from mrunfold.operators import Identity
from mrunfold.operators.imaging import (
    Blur,
    CircularBlur,
    ColourMix,
    CompressedSensing,
    Downsample,
    Flat,
    Inpaint,
    Items,
    bicubic_kernel,
    box_kernel,
    disc_kernel,
    gaussian_kernel,
    grey,
    motion_kernel,
)
from mrunfold.testing import OperatorContract, dense_matrix

REAL = (torch.float32, torch.float64)


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def size(odd):
    return (7, 5) if odd else (4, 6)


def some(*shape, seed=3):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.5


def kernels(*shape, dtype):
    """Random kernels with ‖A‖ ≤ 1."""
    values = random(*shape, dtype=dtype)
    return values / values.abs().sum(dim=(-2, -1), keepdim=True)


class Real(OperatorContract):
    dtypes = REAL


class TestCircularBlur(Real):
    def operator(self, dtype, odd):
        return CircularBlur(kernels(3, 4, dtype=dtype), (2, *size(odd)))


class TestCircularBlurOfEach(Real):
    def operator(self, dtype, odd):
        return CircularBlur(kernels(2, 3, 3, dtype=dtype), (1, *size(odd)))

    def item(self, operator, index):
        return CircularBlur(operator.kernel[index], operator.shape)


class TestBlur(Real):
    def operator(self, dtype, odd):
        return Blur(kernels(3, 4, dtype=dtype), (2, *size(odd)))


class TestBlurOfEach(Real):
    def operator(self, dtype, odd):
        # Well conditioned: many steps of conjugate gradients would amplify round-off.
        return Blur(0.3 * kernels(2, 4, 3, dtype=dtype), (1, *size(odd)))

    def item(self, operator, index):
        return Blur(operator.kernel[index], operator.shape)


class TestDownsampleByTwo(Real):
    def operator(self, dtype, odd):
        return Downsample(kernels(4, 2, dtype=dtype), 2, (2, 6, 10) if odd else (2, 4, 6))


class TestDownsampleByThree(Real):
    def operator(self, dtype, odd):
        return Downsample(kernels(3, 3, dtype=dtype), 3, (1, 9, 6) if odd else (1, 6, 6))


class TestDownsampleOfEach(Real):
    def operator(self, dtype, odd):
        return Downsample(kernels(2, 4, 4, dtype=dtype), 2, (1, 6, 6) if odd else (1, 4, 6))

    def item(self, operator, index):
        return Downsample(operator.kernel[index], operator.factor, operator.shape)


class TestInpaint(Real):
    def operator(self, dtype, odd):
        return Inpaint(some(*size(odd)), 2, dtype)


class TestInpaintOfEach(Real):
    def operator(self, dtype, odd):
        return Inpaint(some(2, *size(odd)), 1, dtype)

    def item(self, operator, index):
        return Inpaint(operator.mask[index], operator.channels, operator.dtype)


class TestGrey(Real):
    def operator(self, dtype, odd):
        return grey(size(odd), dtype)


class TestColourMixOfEach(Real):
    def operator(self, dtype, odd):
        return ColourMix(random(2, 2, 3, dtype=dtype), size(odd))

    def item(self, operator, index):
        return ColourMix(operator.matrix[index], operator.size)


class TestCompressedSensing(Real):
    def operator(self, dtype, odd):
        return CompressedSensing(some(*size(odd)), 2 * some(*size(odd), seed=4).int() - 1, 2, dtype)


class TestCompressedSensingOfEach(Real):
    def operator(self, dtype, odd):
        return CompressedSensing(some(2, *size(odd)), 2 * some(2, *size(odd), seed=4).int() - 1, 1, dtype)

    def item(self, operator, index):
        return CompressedSensing(operator.mask[index], operator.signs[index], 1, operator.dtype)


class TestItems(Real):
    def operator(self, dtype, odd):
        shape = (6, 4)
        return Items(
            (
                Inpaint(some(*shape), 1, dtype),
                Downsample(box_kernel(2).to(dtype), 2, (1, *shape)),
                Blur(kernels(3, 3, dtype=dtype), (1, *shape)),
                Identity((1, *shape), dtype),
            )[: 3 if odd else 4]
        )

    def item(self, operator, index):
        return operator.operators[index[0]]


class TestFlat(Real):
    def operator(self, dtype, odd):
        return Flat(Downsample(box_kernel(2).to(dtype), 2, (1, 6, 4)), 7 if odd else 6)


# --- closed forms against the dense solve ---

CLOSED = {
    "inpaint": Inpaint(some(6, 5), 2, torch.float64),
    "circular": CircularBlur(gaussian_kernel(0.8, 5).double(), (2, 6, 5)),
    "pool": Downsample(box_kernel(2).double(), 2, (2, 6, 4)),
    "bicubic": Downsample(bicubic_kernel(2)[1:-1, 1:-1].double(), 2, (1, 8, 6)),
    "by three": Downsample(gaussian_kernel(0.8, 5).double(), 3, (1, 9, 6)),
    "grey": grey((3, 4), torch.float64),
    "sensing": CompressedSensing(some(6, 5), 2 * some(6, 5, seed=1).int() - 1, 2, torch.float64),
}


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize(("weight", "shift"), [(1.0, 0.3), (1.0, 1e-4), (0.0, 0.5), (250.0, 2.0)])
def test_the_closed_form_is_the_dense_solve(name, weight, shift):
    A = CLOSED[name]
    matrix = dense_matrix(A)
    rhs = random(*A.domain.shape)
    system = weight * matrix.mT @ matrix + shift * torch.eye(matrix.shape[1], dtype=torch.float64)
    expected = torch.linalg.solve(system, rhs.flatten()).reshape(A.domain.shape)
    found = A.solve_with_statistics(rhs, weight, shift)
    assert not bool(found.iterations.any()), "conjugate gradients were used, not the closed form"
    torch.testing.assert_close(found.x, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CLOSED)
def test_the_measured_fraction_is_the_trace(name):
    matrix = dense_matrix(CLOSED[name])
    expected = float((matrix**2).sum() / matrix.shape[1])
    assert float(CLOSED[name].measured_fraction()) == pytest.approx(expected, rel=1e-9)


# --- what the operators do, by other means ---


@pytest.mark.parametrize("kernel_shape", [(3, 3), (5, 3), (4, 3), (7, 5)])
@pytest.mark.parametrize(("kind", "mode"), [(CircularBlur, "wrap"), (Blur, "nearest")])
def test_blur_is_scipys_convolution(kind, mode, kernel_shape):
    x, kernel = random(2, 9, 7), random(*kernel_shape, seed=1)
    found = kind(kernel, (2, 9, 7))(x)
    for channel in range(2):
        expected = ndimage.convolve(x[channel].numpy(), kernel.numpy(), mode=mode)
        np.testing.assert_allclose(found[channel].numpy(), expected, atol=1e-12)


def test_average_pooling_is_the_mean_of_blocks():
    x = random(2, 8, 12)
    found = Downsample(box_kernel(4).double(), 4, (2, 8, 12))(x)
    torch.testing.assert_close(found, torch.nn.functional.avg_pool2d(x[None], 4)[0])


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bicubic_downsampling_is_pillows(factor):
    """Away from the borders, which Pillow does not wrap."""
    from PIL import Image

    x = torch.rand(48, 48, generator=torch.Generator().manual_seed(0))
    small = (48 // factor, 48 // factor)
    expected = np.asarray(Image.fromarray(x.numpy()).resize(small, Image.Resampling.BICUBIC))
    found = Downsample(bicubic_kernel(factor), factor, (1, 48, 48))(x[None])[0].numpy()
    np.testing.assert_allclose(found[2:-2, 2:-2], expected[2:-2, 2:-2], atol=2e-6)


def test_grey_is_pillows_luma():
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).convert("L"), dtype=float)
    found = grey((6, 5), torch.float64)(torch.from_numpy(image).double().permute(2, 0, 1))[0].numpy()
    assert np.abs(found - expected).max() < 0.6  # Pillow rounds to whole numbers


def test_compressed_sensing_is_a_cosine_transform():
    signs, mask = 2 * some(6, 5, seed=4).int() - 1, some(6, 5)
    x = random(1, 6, 5)
    found = CompressedSensing(mask, signs, 1, torch.float64)(x)[0].numpy()
    expected = mask.numpy() * fft.dctn((signs * x[0]).numpy(), norm="ortho")
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_items_is_each_operator_on_its_item():
    operators = (Inpaint(some(6, 4), 1), grey_like := ColourMix(torch.tensor([[0.5]]), (6, 4)))
    pool = Downsample(box_kernel(2), 2, (1, 6, 4))
    A = Items((*operators, pool))
    x = random(3, 1, 6, 4, dtype=torch.float32)
    y = A(x)
    torch.testing.assert_close(y[0], operators[0](x[0]).flatten())
    torch.testing.assert_close(y[1], grey_like(x[1]).flatten())
    torch.testing.assert_close(y[2, :6], pool(x[2]).flatten())
    assert not bool(y[2, 6:].any())


# --- kernels ---


@pytest.mark.parametrize(
    "kernel",
    [gaussian_kernel(1.6, 9), gaussian_kernel((3.0, 1.0), angle=30), motion_kernel(15, 45),
     motion_kernel(4.5, 10), disc_kernel(3), disc_kernel(2.5), box_kernel(3), bicubic_kernel(2),
     bicubic_kernel(3)],
)  # fmt: skip
def test_kernels_sum_to_one_and_are_centred(kernel):
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-6)
    for axis in (0, 1):
        position = torch.arange(kernel.shape[axis]) - (kernel.shape[axis] - 1) / 2
        assert float((kernel.sum(dim=1 - axis) * position).sum()) == pytest.approx(0, abs=1e-5)


def spread(kernel):
    """Second moments (yy, xx, xy) with y upwards."""
    y = (kernel.shape[0] - 1) / 2 - torch.arange(kernel.shape[0])[:, None]
    x = torch.arange(kernel.shape[1]) - (kernel.shape[1] - 1) / 2
    return tuple(float((kernel * m).sum()) for m in (y * y, x * x, x * y))


def test_kernels_have_the_spread_that_was_asked():
    yy, xx, xy = spread(gaussian_kernel(1.6))
    assert (yy, xx, xy) == pytest.approx((1.6**2, 1.6**2, 0), rel=0.05, abs=1e-6)
    yy, xx, xy = spread(motion_kernel(15, 0))
    assert (yy, xx) == pytest.approx((0, 15**2 / 12), rel=0.05, abs=1e-6)
    yy, xx, xy = spread(motion_kernel(15, 45))
    assert xy > 0.9 * math.sqrt(yy * xx)  # up and to the right
    assert spread(motion_kernel(15, 135))[2] < 0
    yy, xx, _ = spread(disc_kernel(5))
    assert (yy, xx) == pytest.approx((25 / 4, 25 / 4), rel=0.05)
    yy, xx, _ = spread(gaussian_kernel((4.0, 1.0), angle=90))
    assert yy > 10 * xx


# --- bad input ---


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CircularBlur(torch.ones(9, 9), (3, 8, 8)), r"kernel is \(9, 9\) and the image \(8, 8\)"),
        (lambda: Blur(torch.ones(3), (3, 8, 8)), "Blur expects a real kernel"),
        (lambda: Blur(torch.ones(3, 3), (8, 8)), r"shape \(channel, y, x\)"),
        (lambda: Downsample(box_kernel(2), 2, (3, 7, 8)), "crop the image"),
        (lambda: Downsample(gaussian_kernel(1.0, 5), 2, (3, 8, 8)), "sides are even"),
        (lambda: Inpaint(torch.ones(4)), "Inpaint expects"),
        (lambda: ColourMix(torch.ones(3), (4, 4)), "ColourMix expects"),
        (lambda: CompressedSensing(torch.ones(4, 4), torch.ones(4, 3)), "of one shape"),
        (lambda: CompressedSensing(torch.ones(4, 4), torch.full((4, 4), 0.5)), "signs of"),
        (lambda: Items((grey((4, 4)), grey((4, 5)))), "one domain"),
        (lambda: gaussian_kernel(-1.0), "sigma of a kernel"),
        (lambda: motion_kernel(float("nan")), "length of a kernel"),
        (lambda: disc_kernel(0), "radius of a kernel"),
    ],
)
def test_bad_operators_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
