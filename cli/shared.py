"""The options that `recon` and `batch` share, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Optional, TypeVar

import typer

__all__ = ["DEFAULT_METHOD", "MASK_LINES", "METHOD_LINES", "with_recon_options"]

Command = TypeVar("Command", bound=Callable[..., None])

METHOD_LINES = {
    "zero_filled": "inverse FFT of what was sampled, coils combined",
    "sense": "regularised least squares (conjugate gradients)",
    "homodyne": "partial Fourier: one side counted twice, smooth phase",
    "pocs": "partial Fourier: smooth phase and data in turn",
    "l1_wavelet": "compressed sensing: few wavelet coefficients (SigPy)",
    "tv": "compressed sensing: small total variation (SigPy)",
    "tikhonov": "least squares about a flat image; for photographs",
    "tv_isotropic": "isotropic total variation under any operator; for photographs",
    "plug_and_play": "data consistency and a trained denoiser in turn",
    "dps": "diffusion posterior sampling, with the prior that ships (to compare with)",
    "diffpir": "DiffPIR, with the prior that ships (to compare with)",
    "ddnm": "DDNM+, with the prior that ships (to compare with)",
    "daps": "decoupled annealing, with the prior that ships (to compare with)",
    "dds": "decomposed diffusion sampling, with the prior that ships (to compare with)",
    "unfold": "Diff-Unfolding, the learned method: posterior mean, or samples (the default)",
    "unet": "fastMRI's U-Net, with --weights (to compare with)",
    "varnet": "fastMRI's E2E-VarNet, with --weights (to compare with)",
    "modl": "MoDL, with --weights (to compare with)",
    "auto": "the method and weight that predict held-out samples best",
}
DEFAULT_METHOD = "unfold"  # as mrunfold.methods.registry has it, which would import PyTorch
MASK_LINES = {
    "acquired": "what the file holds (the default)",
    "random": "fastMRI: random phase lines, full centre",
    "equispaced": "fastMRI: equispaced lines from a random start",
    "equispaced_fraction": "fastMRI: equispaced lines, exact acceleration",
    "magic": "fastMRI: equispaced lines that use conjugate symmetry",
    "gaussian1d": "lines, denser towards the centre",
    "poisson": "points: variable-density Poisson disc",
    "gaussian": "points, denser towards the centre",
    "radial": "spokes on the Cartesian grid",
    "first": "along a trajectory: the first spokes or interleaves",
    "every": "along a trajectory: every R-th spoke or interleaf",
}
Text, Number, Whole = Optional[str], Optional[float], Optional[int]  # noqa: UP045 (typer reads them)
OPTIONS: dict[str, tuple[Any, Any, str]] = {
    "mask": (str, "acquired", "Sampling mask, see above, package.module:name, or in `recon` a FILE."),
    "accel": (Number, None, "Acceleration of a drawn mask."),
    "calibration": (Text, None, "Fully sampled centre of a drawn mask: lines, or samples as 24x32."),
    "center_fraction": (Number, None, "The same, as a fraction of the phase lines."),
    "method": (Text, None, "Method, see above, or package.module:Class; unfold by default."),
    "samples": (Whole, None, "Posterior samples to draw, for maps of standard deviation and quantiles."),
    "no_sd": (bool, False, "No map of the standard deviation that the network predicts."),
    "steps": (Whole, None, "Draw samples by the reverse process in so many noise levels, slower."),
    "weights": (Text, None, "Weights: of unfold a name that ships, or a .safetensors file."),
    "param": (Optional[list[str]], None, "A parameter of the method, key=value; may be repeated."),  # noqa: UP045
    "slices": (Text, None, "Which slices: 0:3, ::2 or 0,4,-1; all by default."),
    "frames": (Text, None, "Which frames (echoes, repetitions, …): 0:3, ::2 or 0,4,-1; all by default."),
    "per_frame": (bool, False, "Noise and coil maps of each frame by itself, not of all frames together."),
    "seed": (str, "0", "An integer, or name: from the file's name, as fastMRI."),
    "target": (Text, None, "Magnitude to write: rss or combined; by default rss if the file has RSS images."),
    "coils": (
        str,
        "auto",
        "Virtual coils: a number, a share of energy below 1, all, or auto: 9 or more without noise.",
    ),
    "maps": (str, "torch", "ESPIRiT by: torch (this program) or sigpy; in `recon` also a FILE of maps."),
    "map_sets": (str, "auto", "Sets of coil maps: 1, 2, or auto: two where one is not enough."),
    "spikes": (str, "drop", "Spikes in k-space, samples that interference made: drop, or keep as measured."),
    "trajectory": (
        Text,
        None,
        "Where samples lie: a FILE, of BART or (readout, interleaf, 2), or golden-angle.",
    ),
    "matrix": (Text, None, "Rows x columns of the image along a trajectory, as 192 or 192x256."),
    "measurement": (Text, None, "Which of several in a file: ISMRMRD's group, twix's number."),
    "reader": (
        Text,
        None,
        "fastmri, mrd, twix, cfl, or package.module:Class; by default told by the content.",
    ),
    "device": (str, "auto", "auto, cpu, cuda, cuda:1 or mps."),
    "threads": (Whole, None, "CPU threads, in a batch of each worker."),
    "overwrite": (bool, False, "Replace an earlier result."),
    "check": (int, 3, "Slices checked against samples that the method was not given; 0 for none."),
    "keep_samples": (bool, False, "Write the posterior samples too, not only maps of their spread."),
    "dicom": (bool, False, "Write DICOM too; more with `export`."),
    "no_cache": (bool, False, "Neither read nor keep coil maps."),
    "quiet": (bool, False, "Print errors only."),
}


def with_recon_options(**defaults: Any) -> Callable[[Command], Command]:
    """Give a command OPTIONS besides its own parameters; it reads them from its context's params.

    defaults: of options whose default is another one here.
    """

    def add(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        shared = [_parameter(name, *OPTIONS[name], defaults) for name in OPTIONS]
        parameters = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD] + shared
        signature = own.replace(parameters=parameters)

        def run(**given: Any) -> None:
            command(**{name: given[name] for name in own.parameters if name in given})

        run.__name__, run.__module__ = command.__name__, command.__module__
        parts = inspect.cleandoc(command.__doc__ or ""), _listed("Methods", METHOD_LINES)
        run.__doc__ = "\n\n".join([*parts, _listed("Masks", MASK_LINES)])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run  # type: ignore[return-value]

    return add


def _parameter(name: str, kind: Any, default: Any, text: str, defaults: dict[str, Any]) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    bounds: dict[str, Any] = {"min": 0} if kind is int else {}
    names = [flag, "-q"] if name == "quiet" else [flag] if kind is bool else []
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=defaults.get(name, default),
        annotation=Annotated[kind, typer.Option(*names, help=text, **bounds)],
    )


def _listed(title: str, lines: dict[str, str]) -> str:
    # \b keeps the lines as they are.
    width = max(map(len, lines))
    return "\b\n" + "\n".join([f"{title}:", *(f"  {name:<{width}}  {line}" for name, line in lines.items())])
