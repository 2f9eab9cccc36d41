"""LPIPS: how different two images look, by the features of a network that was trained to see."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.extras import require

__all__ = ["Lpips"]

LEAST = 32  # below this AlexNet's last layers have no pixel left


class Lpips:
    """LPIPS 0.1 on AlexNet: (a, b) → distance (batch,), 0 for equal images, about 0.7 for unlike ones.

    features: .npz with the weights and biases of AlexNet's five convolutions, conv0.weight … conv4.bias, as
    torchvision's `alexnet(weights="DEFAULT").features` has them; the linear layers are those of the package
    `lpips`.  InputError: that package is missing, a file without these arrays.
    Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric, CVPR (2018), eq. 1.
    """

    def __init__(self, features: Path) -> None:
        require("lpips", what="LPIPS")
        import lpips

        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # of torchvision, about arguments that lpips gives it
            self._network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        convolutions = [m for m in self._network.net.modules() if isinstance(m, torch.nn.Conv2d)]
        arrays = _read(Path(features), len(convolutions))
        with torch.no_grad():
            for n, layer in enumerate(convolutions):
                assert layer.bias is not None
                for name, parameter in (("weight", layer.weight), ("bias", layer.bias)):
                    array, shape = arrays[f"conv{n}.{name}"], tuple(parameter.shape)
                    if array.shape != shape:
                        raise InputError(
                            f"{features}: conv{n}.{name} is {array.shape}, and AlexNet's {shape}; "
                            "give the features of torchvision's alexnet"
                        )
                    parameter.copy_(torch.from_numpy(array))
        self._network.requires_grad_(False).eval()

    @torch.inference_mode()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance of each pair (batch,): a, b real (batch, 1 or 3, y, x) from 0 to 1.

        Grey images are taken as three equal channels.  InputError: other shapes, fewer than 32 pixels a side.
        """
        if a.shape != b.shape or a.ndim != 4 or a.shape[1] not in (1, 3) or min(a.shape[2:]) < LEAST:
            raise InputError(
                f"LPIPS compares images (batch, 1 or 3, y, x) of one shape, at least {LEAST} pixels a side, "
                f"got {tuple(a.shape)} and {tuple(b.shape)}; crop or resize them"
            )
        both = (v.float().expand(-1, 3, -1, -1) for v in (a, b))
        distance: Tensor = self._network(*both, normalize=True)
        return distance[:, 0, 0, 0]


def _read(features: Path, count: int) -> dict[str, np.ndarray]:
    wanted = [f"conv{n}.{name}" for n in range(count) for name in ("weight", "bias")]
    if not features.is_file():
        raise InputError(f"no AlexNet features {features}; give an .npz with {wanted[0]} … {wanted[-1]}")
    try:
        with np.load(features, allow_pickle=False) as held:
            return {name: np.asarray(held[name], dtype=np.float32) for name in wanted}
    except (KeyError, ValueError, OSError) as error:
        raise InputError(
            f"{features} does not hold AlexNet's features ({error}); "
            f"give an .npz with {wanted[0]} … {wanted[-1]}"
        ) from None
