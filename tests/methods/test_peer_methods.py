"""Networks of others as methods: images in the problem's units, and one clear line where they cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fastmri.models import VarNet as TheirVarNet

from mrunfold.errors import InputError
from mrunfold.methods import get_method
from mrunfold.methods.held_out import check
from mrunfold.networks.peers import build_peer
from mrunfold.networks.weights import save_peer
from mrunfold.operators import Sense
from mrunfold.problem import collate
from mrunfold.protocols import ModlSpec, UnetSpec, VarNetSpec

SPECS = {
    "varnet": VarNetSpec(kind="varnet", cascades=2, chans=2, pools=2, sens_chans=2, sens_pools=2),
    "unet": UnetSpec(kind="unet", chans=4, pools=2),
    "modl": ModlSpec(kind="modl", iterations=3, cg_iterations=8, layers=2, features=4),
}


@pytest.fixture(scope="module")
def methods(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    made = {}
    for name, spec in SPECS.items():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            save_peer(folder / f"{name}.safetensors", build_peer(spec), spec)
        made[name] = get_method(name, weights=str(folder / f"{name}.safetensors"), precision="float32")
    return made


@pytest.mark.parametrize("name", SPECS)
def test_an_image_scales_with_the_measurement_and_items_do_not_mix(name, methods, simulate):
    problem = simulate()
    result = methods[name](problem)
    assert result.mean.shape == problem.A.domain.shape
    assert result.record["weights"] == f"{name}.safetensors"
    assert result.evaluations == 1
    if name != "modl":  # its CNN has biases
        scaled = methods[name](replace(problem, y=3 * problem.y, sigma_y=3 * problem.sigma_y))
        torch.testing.assert_close(scaled.mean, 3 * result.mean, rtol=1e-3, atol=1e-3)
    both = methods[name](collate([simulate(seed=1), problem]))
    torch.testing.assert_close(both.mean[1], result.mean, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SPECS)
def test_nothing_measured_is_an_empty_image(name, methods, simulate):
    problem = simulate()
    result = methods[name](replace(problem, y=torch.zeros_like(problem.y)))
    assert not result.mean.any()


def test_modl_untrained_is_regularised_least_squares(methods, simulate):
    """D_w begins as the identity, up to a bias: each iteration is a proximal step towards the data."""
    problem = simulate()
    misfit = [
        torch.linalg.vector_norm(problem.y - problem.A(x))
        for x in (problem.A.adjoint(problem.y), methods["modl"](problem).mean)
    ]
    assert misfit[1] < 0.5 * misfit[0]


def test_varnet_is_fastmris_on_lines(simulate):
    """On a mask of lines it is what the package makes of the same weights, with its own cut of the centre."""
    problem = simulate()
    maps, _ = problem.A.cartesian()
    lines = torch.zeros(64, 56)
    lines[:, ::4] = 1
    lines[:, 28 - 5 : 28 + 5] = 1
    A = Sense(maps, lines)
    y = A(problem.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = build_peer(SPECS["varnet"])
    theirs = TheirVarNet(2, 2, 2, 2, 2, mask_center=True)
    theirs.load_state_dict(ours.net.state_dict())
    mask = lines[:1].bool()[None, None, :, :, None]
    with torch.no_grad():
        expected = theirs(torch.view_as_real(y)[None], mask, num_low_frequencies=10)
        found = ours(y, A)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_varnet_gives_its_own_magnitude_and_one_phase_for_all_sets(methods, simulate):
    problem = simulate()
    maps, mask = problem.A.cartesian()
    half = torch.linspace(0, 1, 56) < 0.5
    two = replace(problem, A=Sense(torch.cat([maps * half, maps * ~half]), mask))
    one, both = (methods["varnet"](p).mean for p in (problem, two))
    torch.testing.assert_close(both.sum(dim=0, keepdim=True), one, rtol=1e-4, atol=1e-5)


def test_a_set_without_maps_stays_empty_for_the_unet(methods, simulate):
    problem = simulate()
    maps, mask = problem.A.cartesian()
    mean = methods["unet"](replace(problem, A=Sense(torch.cat([maps, 0 * maps]), mask))).mean
    assert not mean[1].abs().gt(1e-6).any()
    torch.testing.assert_close(mean[:1], methods["unet"](problem).mean, rtol=1e-4, atol=1e-5)


def test_the_check_without_reference_takes_them(methods, simulate):
    found = check(methods["modl"], simulate(fraction=0.5))
    assert found["explained"] > 0.3


@pytest.mark.parametrize("name", SPECS)
def test_without_weights_it_says_how_to_train_them(name, simulate):
    with pytest.raises(InputError, match=f"mrunfold train mri-{name}"):
        get_method(name)(simulate())
    with pytest.raises(
        InputError, match=f"no weights gone.safetensors; train them with `mrunfold train mri-{name}`"
    ):
        get_method(name, weights="gone.safetensors")(simulate())


def test_what_a_network_cannot_take_is_one_line(methods, simulate):
    class Along:
        """An operator that is not of k-space on a grid."""

        def cartesian(self):
            return None

    with pytest.raises(InputError, match="k-space on the grid"):
        build_peer(SPECS["varnet"])(torch.zeros(2, 40, 40, dtype=torch.complex64), Along())
    with pytest.raises(InputError, match="32 pixels"):
        methods["unet"](simulate(shape=(24, 40), fraction=0.6))
    problem = simulate()
    holed = torch.ones(64, 56)
    holed[32, 28] = 0
    with pytest.raises(InputError, match="no fully sampled centre"):
        methods["varnet"](replace(problem, A=Sense(problem.A.cartesian()[0], holed)))
    with pytest.raises(InputError, match="has no parameter 'samples'"):
        get_method("varnet", samples=4)
