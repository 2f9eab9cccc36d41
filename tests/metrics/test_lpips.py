"""LPIPS: the values of its authors, those of another implementation, and what a distance must keep to."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.metrics.lpips import Lpips

pytest.importorskip("lpips", reason="mrunfold[bench] is not installed")
FEATURES = Path(__file__).parents[3] / "shared" / "data" / "metrics" / "alexnet_features.npz"
# The three pictures of the authors' repository, imgs/ex_ref.png, ex_p0.png and ex_p1.png.
PICTURES = os.environ.get("MRUNFOLD_LPIPS_IMAGES")


@pytest.fixture(scope="module")
def distance():
    if not FEATURES.is_file():
        pytest.skip(f"needs {FEATURES}")
    return Lpips(FEATURES)


@pytest.fixture(scope="module")
def pair():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(2, 3, 12, 14, generator=generator), (64, 72), mode="bicubic"
    )
    a = smooth.clamp(0, 1)
    return a, (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)


def test_equals_another_implementation(distance, pair):
    lpips = pytest.importorskip("torchmetrics.functional.image.lpips")
    with torch.random.fork_rng():
        other = lpips._LPIPS(pretrained=True, net="alex", pnet_rand=True)
    own = [m for m in distance._network.net.modules() if isinstance(m, torch.nn.Conv2d)]
    theirs = [m for m in other.net.modules() if isinstance(m, torch.nn.Conv2d)]
    for mine, their in zip(own, theirs, strict=True):
        their.load_state_dict(mine.state_dict())
    with torch.no_grad():
        expected = other(*pair, normalize=True).flatten()
    torch.testing.assert_close(distance(*pair), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(PICTURES is None, reason="set MRUNFOLD_LPIPS_IMAGES to the folder imgs/ of LPIPS")
def test_equals_what_its_authors_print(distance):
    from PIL import Image

    def read(name):
        values = np.asarray(Image.open(Path(PICTURES) / name).convert("RGB"), dtype=np.float32) / 255
        return torch.from_numpy(values).permute(2, 0, 1)[None]

    reference = read("ex_ref.png")
    assert float(distance(reference, read("ex_p0.png"))) == pytest.approx(0.7219, abs=5e-4)
    assert float(distance(reference, read("ex_p1.png"))) == pytest.approx(0.1376, abs=5e-4)


def test_is_a_distance(distance, pair):
    a, b = pair
    assert not bool(distance(a, a).any())
    torch.testing.assert_close(distance(a, b), distance(b, a))
    assert bool((distance(a, b) > 0.05).all())
    torch.testing.assert_close(distance(a, b)[1:], distance(a[1:], b[1:]))
    grey = a[:, :1], b[:, :1]
    torch.testing.assert_close(distance(*grey), distance(*(v.expand(-1, 3, -1, -1) for v in grey)))


def test_random_state_is_left_alone(distance):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    Lpips(FEATURES)
    assert torch.equal(torch.rand(3), expected)


def test_bad_input_is_refused(distance, pair, tmp_path):
    a, b = pair
    for x, y in ((a, b[:1]), (a[0], b[0]), (a[:, :2], b[:, :2]), (a[..., :20], b[..., :20])):
        with pytest.raises(InputError, match="LPIPS compares images"):
            distance(x, y)
    with pytest.raises(InputError, match="no AlexNet features"):
        Lpips(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="does not hold AlexNet"):
        Lpips(tmp_path / "other.npz")
