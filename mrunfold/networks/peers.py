"""Networks of others, to compare with: E2E-VarNet and U-Net of the package `fastmri`, and MoDL."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mrunfold.errors import InputError
from mrunfold.extras import require
from mrunfold.masks import calibration_region
from mrunfold.operators import LinearOperator
from mrunfold.protocols import ModlSpec, UnetSpec, VarNetSpec

__all__ = ["Modl", "Peer", "Unet", "VarNet", "build_peer"]

LEAST_STD = 1e-11  # fastMRI's, of a slice
SMALLEST = 32  # pixels: below, four poolings leave a single one, which has no standard deviation


class Peer(nn.Module):
    """A network (y, A) → image, in the units of a Problem, whose images are about 1 high.

    target: what `forward` is trained to give: the full data "combined" with the maps of A, complex
    (*batch, set, y, x), or their root sum of squares, "rss", real (*batch, 1, y, x).
    """

    target: ClassVar[Literal["combined", "rss"]] = "combined"

    def forward(self, y: Tensor, A: LinearOperator) -> Tensor:
        """Return what `target` says for y (*batch, coil, y, x); InputError for an operator it cannot take."""
        raise NotImplementedError("abstract: a network says what it makes of y")

    def image(self, y: Tensor, A: LinearOperator) -> Tensor:
        """Return the reconstruction as a Result has it, complex (*batch, set, y, x)."""
        return self(y, A)


class Unet(Peer):
    """fastMRI's U-Net on the image Aᴴy, real and imaginary parts as two channels, set by set.

    Each channel has its mean taken away and is divided by its standard deviation, and the output gets them
    back (NormUnet of the package).  fastMRI's own baseline takes magnitudes; this one keeps the phase, so
    that its image predicts samples as those of the other methods do.
    Zbontar et al., arXiv:1811.08839 (2018), sec. 6.2; Ronneberger, Fischer and Brox, MICCAI (2015).
    """

    def __init__(self, chans: int, pools: int) -> None:
        super().__init__()
        require("fastmri", what="the network unet")
        from fastmri.models import Unet as Model

        self.unet = Model(2, 2, chans=chans, num_pool_layers=pools)

    def forward(self, y: Tensor, A: LinearOperator) -> Tensor:
        x = A.adjoint(y)
        _check_image(x, "unet")
        flat = _channels(x)
        mean = flat.mean(dim=(-2, -1), keepdim=True)
        std = flat.std(dim=(-2, -1), keepdim=True) + LEAST_STD
        return _complex(self.unet((flat - mean) / std).float() * std + mean, x.shape)


class VarNet(Peer):
    """fastMRI's end-to-end variational network: y and the mask to the root sum of squares of the coils.

        k_{t+1} = k_t − η_t M (k_t − y) + F E G_t(R F⁻¹ k_t)       (Sriram et al., eq. 8)

    with G_t a U-Net, R and E combining and expanding by maps that a U-Net estimates from the calibration
    region; the package takes fully sampled lines as that region, here it is the rectangle that the mask
    samples fully, so that masks of points have one.  The maps of A are not looked at but by `image`, which
    combines the predicted coil images with them for the phase and the share of each set; its magnitude is
    the network's own.
    Sriram et al., MICCAI (2020), arXiv:2004.06688.
    """

    target = "rss"

    def __init__(self, cascades: int, chans: int, pools: int, sens_chans: int, sens_pools: int) -> None:
        super().__init__()
        require("fastmri", what="the network varnet")
        from fastmri.models import VarNet as Model

        # The calibration region is cut out here, for any mask.
        self.net = Model(cascades, sens_chans, sens_pools, chans, pools, mask_center=False)

    def forward(self, y: Tensor, A: LinearOperator) -> Tensor:
        return torch.linalg.vector_norm(self.coil_images(y, A), dim=-3, keepdim=True)

    def coil_images(self, y: Tensor, A: LinearOperator) -> Tensor:
        """Return the predicted coil images, complex (*batch, coil, y, x)."""
        import fastmri

        found = A.cartesian()
        if found is None:
            raise InputError(f"varnet takes k-space on the grid, got {A!r}; take `method='unfold'`")
        _check_image(y, "varnet")
        mask = (found[1] != 0).reshape(-1, *y.shape[-2:])
        measured = torch.view_as_real(y.reshape(-1, *y.shape[-3:]))
        there, centre = (m[:, None, :, :, None] for m in (mask, _centres(mask)))
        maps = self.net.sens_net(measured * centre, there)
        k = measured.clone()
        for cascade in self.net.cascades:
            k = cascade(k, measured, there, maps)
        return torch.view_as_complex(fastmri.ifft2c(k).contiguous()).reshape(y.shape)

    def image(self, y: Tensor, A: LinearOperator) -> Tensor:
        images = self.coil_images(y, A)
        x = A.combine(images)
        size = torch.linalg.vector_norm(x, dim=-3, keepdim=True)
        return x / size.clamp_min(1e-12) * torch.linalg.vector_norm(images, dim=-3, keepdim=True)


class Modl(Peer):
    """MoDL: a CNN and data consistency in turn, with the same weights in each iteration.

        z_k     = x_k + N_w(x_k),                                    x_0 = Aᴴy
        x_{k+1} = argmin ‖y − A x‖² + λ ‖x − z_k‖² = (AᴴA + λ I)⁻¹ (Aᴴy + λ z_k)

    by conjugate gradients; λ is learned.  N_w has convolutions of 3×3 with ReLU between them, on real and
    imaginary parts, set by set; the paper's batch normalisation is left out, as batches of few items of
    different heights have no common statistics.
    Aggarwal, Mani and Jacob, IEEE Trans. Med. Imaging 38 (2019), sec. II: the alternation of D_w and data
    consistency.
    """

    def __init__(self, iterations: int, cg_iterations: int, layers: int, features: int) -> None:
        super().__init__()
        self.iterations, self.cg_iterations = iterations, cg_iterations
        widths = [2, *[features] * (layers - 1), 2]
        convolutions = [nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths)]
        nn.init.zeros_(convolutions[-1].weight)  # D_w begins as the identity, but for a constant
        parts: list[nn.Module] = [convolutions[0]]
        for convolution in convolutions[1:]:
            parts += [nn.ReLU(), convolution]
        self.cnn = nn.Sequential(*parts)
        self.log_lamda = nn.Parameter(torch.tensor(0.05).log())

    def forward(self, y: Tensor, A: LinearOperator) -> Tensor:
        back = A.adjoint(y)
        _check_image(back, "modl")
        lamda = self.log_lamda.exp().expand(A.domain.batch_of(back))
        item = (...,) + (None,) * A.domain.ndim
        x = back
        for _ in range(self.iterations):
            z = x + _complex(self.cnn(_channels(x)).float(), x.shape)
            with torch.autocast(y.device.type, enabled=False):
                x = A.solve_with_statistics(
                    back + lamda[item] * z,
                    torch.ones_like(lamda),
                    lamda,
                    x,
                    tolerance=1e-5,
                    max_iterations=self.cg_iterations,
                    gradient="unrolled" if torch.is_grad_enabled() else "implicit",
                ).x
        return x


def build_peer(spec: VarNetSpec | UnetSpec | ModlSpec) -> Peer:
    """Return the untrained network that a protocol describes; InputError without the package it is from."""
    made: dict[str, Callable[..., Peer]] = {"varnet": VarNet, "unet": Unet, "modl": Modl}
    fields: dict[str, Any] = spec.model_dump(exclude={"kind"})
    return made[spec.kind](**fields)


def _check_image(x: Tensor, name: str) -> None:
    if not x.is_complex():
        raise InputError(f"{name} takes complex images, of MRI, got {x.dtype}; take `method='unfold'`")
    if min(x.shape[-2:]) < SMALLEST:
        raise InputError(f"{name} takes {SMALLEST} pixels an axis or more, got {tuple(x.shape[-2:])}")


def _channels(x: Tensor) -> Tensor:
    """Return complex (*batch, set, y, x) as real (item, 2, y, x)."""
    return torch.view_as_real(x).reshape(-1, *x.shape[-2:], 2).permute(0, 3, 1, 2).contiguous()


def _complex(z: Tensor, shape: torch.Size) -> Tensor:
    """Return real (item, 2, y, x) as complex of `shape`, what `_channels` was given."""
    return torch.view_as_complex(z.permute(0, 2, 3, 1).contiguous()).reshape(shape)


def _centres(mask: Tensor) -> Tensor:
    """Return the calibration regions of masks, bool (item, y, x); InputError where one has none."""
    centres = torch.zeros_like(mask)
    for one, centre in zip(mask, centres, strict=True):
        region = calibration_region(one.cpu().numpy())
        if not all(region):
            raise InputError("varnet finds no fully sampled centre to estimate maps from; take `unfold`")
        rows, columns = (
            slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(one.shape, region, strict=True)
        )
        centre[rows, columns] = True
    return centres
