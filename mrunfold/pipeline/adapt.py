"""`mrunfold adapt`: undersampled scans and weights → weights fine-tuned on these scans, or none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.errors import InputError
from mrunfold.export import versions
from mrunfold.io import open_scan, scan_digest
from mrunfold.io.atomic import beside
from mrunfold.io.recognise import raw_files
from mrunfold.methods.held_out import RIVAL, RIVAL_STEPS, HeldOut, Look, Prediction, summarised, told
from mrunfold.methods.registry import get_method
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import load_weights, save_weights
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.loop import plan_slices
from mrunfold.pipeline.settings import ReconSettings, slices_for
from mrunfold.pipeline.slices import choose_device
from mrunfold.pipeline.split import split_for
from mrunfold.problem import Problem
from mrunfold.protocols import NetworkSpec
from mrunfold.training.adapt import Adaptation, AdaptSettings, AdaptState, keep_out

__all__ = ["Adapted", "adapt", "adapt_problems", "state_file"]

NOT_KEPT = ("file", "sha256", "network")  # what load_weights and save_weights say themselves


@dataclass(frozen=True)
class Adapted:
    """The result of `adapt`: `file` is None if no better weights were found; nothing is written then.

    before, after: the reference-free check of the kept-out samples, see `methods.held_out`; refused: why
    slices were left out.
    """

    file: Path | None
    state: AdaptState
    before: dict[str, Any]
    after: dict[str, Any]
    slices: int
    refused: tuple[str, ...]


def state_file(out: Path) -> Path:
    """Return the folder where a run that writes `out` keeps its checkpoints; it is removed at the end."""
    return beside(out, ".", ".adapt")


def adapt(
    inputs: Iterable[Path | str],
    out: Path,
    settings: ReconSettings,
    how: AdaptSettings,
    *,
    weights: str | None = None,
    most: int = 12,
    overwrite: bool = False,
    report: Callable[[AdaptState], None] = lambda state: None,
) -> Adapted:
    """Fine-tune `weights` on raw files, as `Adaptation`, and write `out` where the error of kept-out falls.

    inputs: files and folders; settings: how scans are read (slices, mask, coils, noise, device); most: slices
    learned from, spread over the files; report: called after each step.  The same call goes on from where one
    was stopped.  Written weights say which they came from, and how many files and slices, not whose.
    InputError for scans of which no samples can be spared, a file `out` without `overwrite`, a run on others.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"weights are a .safetensors file, got {out.name}; give `out='weights.safetensors'`")
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists already; add `overwrite` to replace it or choose another `out`")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: no folder {out.parent}; create it first")
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    network, metadata = load_weights(weights)
    if getattr(network.prior(0), "kind", "complex") != "complex":
        raise InputError(f"{metadata['file']} is for photographs; give weights of MRI")
    paths = raw_files(inputs)
    problems, digest = _read(paths, settings, device, most)
    held, refused = keep_out(problems, how)
    run = Adaptation(network.to(device), held, how)
    of = {"weights": metadata["sha256"], "scans": digest}
    kept = state_file(out)
    if kept.exists():
        run.load(kept, of)
    run.run(report, kept=lambda: run.save(kept, of))
    found = _outcome(run, held, refused)
    if found.state.best < found.state.before:
        about = {k: v for k, v in metadata.items() if k not in NOT_KEPT}
        about |= _about(run, metadata["sha256"], len(paths))
        save_weights(out, run.best.cpu(), NetworkSpec.model_validate_json(metadata["network"]), about)
        found = replace(found, file=out)
    kept.unlink(missing_ok=True)
    return found


def adapt_problems(
    problems: Sequence[Problem], network: PosteriorDenoiser, how: AdaptSettings
) -> tuple[Adaptation, Adapted]:
    """Fine-tune a network on problems in memory; return the finished run and its result."""
    held, refused = keep_out(problems, how)
    run = Adaptation(network, held, how)
    run.run()
    return run, _outcome(run, held, refused)


def _read(
    paths: Sequence[Path], settings: ReconSettings, device: torch.device, most: int
) -> tuple[list[Problem], str]:
    """Return the problems of at most `most` slices, spread over the files, and a digest of what they are."""
    counts = []
    for path in paths:
        with open_scan(path, *settings.opening) as opened:
            header = split_for(opened, settings).header
            counts.append(len(slices_for(header, settings.images(header.images))))
    places = [(number, place) for number, count in enumerate(counts) for place in range(count)]
    chosen = [places[i] for i in np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)]
    digest = hashlib.sha256(repr((chosen, _drawing(settings))).encode())
    problems = []
    for number in dict.fromkeys(number for number, _ in chosen):
        with open_scan(paths[number], *settings.opening) as opened:
            scan = split_for(opened, settings)
            job, done = plan_slices(scan, settings, get_method("zero_filled"), device, Clock())
            digest.update(scan_digest(scan.path).encode())
            indices = [done.indices[place] for n, place in chosen if n == number]
            found = [job.problem(index)[0] for index in indices]
            problems += [problem for problem in found if bool(problem.y.any())]
    if not problems:
        raise InputError("the slices hold no signal; choose others with `slices`")
    return problems, digest.hexdigest()


def _drawing(settings: ReconSettings) -> tuple[Any, ...]:
    """Return the settings on which a problem depends."""
    record = settings.record()
    return tuple((k, str(v)) for k, v in sorted(record.items()) if k not in ("threads", "device", "cache"))


def _outcome(run: Adaptation, held: Sequence[HeldOut], refused: Sequence[str]) -> Adapted:
    rival = get_method(RIVAL, max_iter=RIVAL_STEPS)
    sense = [one.predicted(rival(one.kept).mean) for one in held]
    before, after = (_checks(held, run.predictions(net), sense) for net in (run.first, run.best))
    return Adapted(None, run.state, before, after, len(held), tuple(refused))


def _checks(
    held: Sequence[HeldOut], ours: Sequence[Prediction], sense: Sequence[Prediction]
) -> dict[str, Any]:
    found = zip(held, ours, sense, strict=True)
    return summarised({i: told([Look(one, a, b)], "in full") for i, (one, a, b) in enumerate(found)})


def _about(run: Adaptation, base: str, files: int) -> dict[str, str]:
    """Return the metadata of the weights: counts and errors, no name of a file or a person."""
    return {
        "adapted_from": base,
        "adapted_files": str(files),
        "adapted_slices": str(len(run.slices)),
        "adapted_steps": str(run.state.step),
        "adapted_part": run.settings.part,
        "adapted_way": f"{run.state.way:g}",
        "held_out_error_before": f"{run.state.before:.5f}",
        "held_out_error_after": f"{run.state.best:.5f}",
        "mrunfold": str(versions(["mrunfold"])["mrunfold"]),
        "torch": torch.__version__,
    }
