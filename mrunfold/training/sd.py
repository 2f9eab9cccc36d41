"""`mrunfold train --stage sd`: the head that predicts the mean's standard deviation, the network frozen."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.io.atomic import atomic_path
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.networks.sd_head import Evidence, SdHead, evidence
from mrunfold.networks.weights import load_weights, save_sd_head, sd_head_file
from mrunfold.protocols import SdSpec, TrainingProtocol
from mrunfold.training.images import ImageBank
from mrunfold.training.record import claim_folder
from mrunfold.training.simulate import TrainingProblem, draw_problem

__all__ = ["ExampleBank", "Examples", "drawn", "examples_of", "fit", "sd_loss", "train_sd", "write_examples"]

FIRST_SEED = 1 << 27  # numbers of batches from here on are of no other stage
OBJECT = 0.05  # of the image's height: what lies above is of the object
LOOK = 250  # steps between checkpoints

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Examples:
    """A batch of what means leave, and how far off their magnitudes are, real (batch, y, x)."""

    given: Evidence
    error: Tensor


def drawn(protocol: TrainingProtocol, bank: ImageBank, number: int) -> TrainingProblem:
    """Return batch `number` of the protocol's simulated scans, none without a measurement."""
    measured = protocol.measurements.model_copy(update={"blind": None, "dropout": 0.0})
    generator = torch.Generator().manual_seed((protocol.seed << 28) + FIRST_SEED + number)
    return draw_problem(bank, measured, protocol.unfold_stage, generator)


@torch.no_grad()
def examples_of(network: PosteriorDenoiser, b: TrainingProblem) -> Examples:
    """Return the examples that a batch of problems gives: their mean as in use, and |x| − |mean|."""
    with convolutions_in(choose("auto", b.y.device), b.y.device):
        mean, path = network.mean_and_path(b.y, b.A, b.sigma_y)
    given = evidence(path, b.A, b.sigma_y)
    truth, found = (torch.linalg.vector_norm(x, dim=-3) for x in (b.x, mean))
    return Examples(given, truth - found)


def write_examples(
    network: PosteriorDenoiser,
    protocol: TrainingProtocol,
    bank: ImageBank,
    folder: Path,
    count: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write batches 0 to `count` − 1 of `examples_of` into `folder`, those that are not there yet.

    progress: called with (batches there, batches in all).  Each file appears when it is whole.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:05d}.safetensors" for number in range(count)]
    for number, file in enumerate(files):
        progress(number, count)
        if file.exists():
            continue
        found = examples_of(network, drawn(protocol, bank, number))
        given = found.given
        state = {
            "images": given.images.half(),
            "height": given.height,
            "numbers": given.numbers,
            "error": found.error.half(),
        }
        with atomic_path(file) as part:
            save_file({name: value.contiguous() for name, value in state.items()}, part)
    progress(count, count)
    return files


class ExampleBank:
    """Examples in memory, float16, to draw random pieces from."""

    def __init__(self, files: Sequence[Path]) -> None:
        from safetensors.torch import load_file

        self.items: list[dict[str, Tensor]] = []
        for file in files:
            state = load_file(file)
            count = len(state["height"])
            self.items += [{name: value[i] for name, value in state.items()} for i in range(count)]

    def draw(self, count: int, crop: int, generator: torch.Generator) -> Examples:
        """Return pieces of `count` random examples, `crop` pixels a side or as large as all of them are."""
        chosen = torch.randint(len(self.items), (count,), generator=generator).tolist()
        items = [self.items[number] for number in chosen]
        size = [min([crop, *(item["error"].shape[axis] for item in items)]) for axis in (0, 1)]
        images, errors = [], []
        for item in items:
            first = [
                int(torch.randint(whole - part + 1, (1,), generator=generator))
                for whole, part in zip(item["error"].shape, size, strict=True)
            ]
            piece = (..., *(slice(at, at + part) for at, part in zip(first, size, strict=True)))
            images.append(item["images"][piece].float())
            errors.append(item["error"][piece].float())
        height, numbers = (torch.stack([item[name] for item in items]) for name in ("height", "numbers"))
        return Examples(Evidence(torch.stack(images), height, numbers), torch.stack(errors))


def sd_loss(sd: Tensor, found: Examples, background: float) -> Tensor:
    """Return the continuous ranked probability score of N(0, SD²) over the mean absolute error, per item.

    As `metrics.crps_normal`: of Gaussian errors it is least at their SD.  Errors that are far larger, as of
    scans with motion, widen all intervals by the likelihood, hardly by this score (docs/lab-notes.md).
    background: weight of pixels in air.
    """
    height = found.given.height[:, None, None]
    mean, error = found.given.images[:, 0], found.error
    there = (mean > 0) | (error != 0)  # outside of the coils' support both images are zero
    weight = torch.where(mean > OBJECT * height, 1.0, background) * there
    weight = weight / weight.sum(dim=(-2, -1), keepdim=True).clamp_min(1e-12)
    z = error / sd
    score = sd * (
        z * torch.erf(z / 2**0.5) + (2 / math.pi) ** 0.5 * torch.exp(-z.square() / 2) - math.pi**-0.5
    )
    usual = (weight * error.abs()).sum(dim=(-2, -1)).clamp_min(1e-12)
    return ((weight * score).sum(dim=(-2, -1)) / usual).mean()


def fit(
    spec: SdSpec,
    bank: ExampleBank,
    seed: int,
    last: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SdHead:
    """Return a head that is trained on the examples; goes on from the checkpoint `last` where it is there.

    Every step draws from its own seed, so a run that was interrupted ends with the weights of one that was
    not.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = SdHead.from_spec(spec).train()
    optimiser = torch.optim.Adam(head.parameters(), lr=spec.learning_rate)
    first = 0
    if last.exists():
        held = torch.load(last, map_location="cpu", weights_only=True)
        head.load_state_dict(held["head"])
        optimiser.load_state_dict(held["optimiser"])
        first = int(held["step"])
    for step in range(first, spec.steps):
        generator = torch.Generator().manual_seed((seed << 28) + step)
        for group in optimiser.param_groups:
            group["lr"] = spec.learning_rate * 0.5 * (1 + math.cos(math.pi * step / spec.steps))
        found = bank.draw(spec.batch, spec.crop, generator)
        loss = sd_loss(head(found.given), found, spec.background)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        progress(step + 1, spec.steps)
        if (step + 1) % LOOK == 0 or step + 1 == spec.steps:
            state = {"head": head.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            with atomic_path(last) as part:
                torch.save(state, part)
    return head.eval().requires_grad_(False)


def train_sd(
    protocol: TrainingProtocol,
    data: Path,
    out: Path,
    weights: str | Path | None = None,
    spec: SdSpec | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Path:
    """Train the head of a network on the protocol's scans; return its file, `out`/NAME-sd.safetensors.

    weights: the network's, a name that ships or a file, None for `out`/unfold.safetensors; NAME is theirs:
    beside them, under that name, `recon` finds the head.  First the
    network's means of `spec.examples` batches are made and kept in `out`/sd, then the head is trained on
    them; the same call goes on from where one was stopped.  progress: called with what is done, how far, of
    how many.  InputError for a protocol without simulated scans, missing images, a folder with another run.
    """
    spec = spec or protocol.sd or SdSpec()
    if protocol.network is None or protocol.degradations is not None:
        raise InputError(f"{protocol.name} has no network whose SD is predicted; take a protocol of MRI")
    network, about = load_weights(weights or out / "unfold.safetensors")
    scanner = protocol.measurements.scanner
    bank = ImageBank.load(data, protocol.images, scanner.coils if scanner is not None else "")
    folder = out / "sd"
    folder.mkdir(parents=True, exist_ok=True)
    claim_folder(out, protocol)
    _claim(folder, about["sha256"], spec)
    files = write_examples(
        *(network, protocol, bank, folder / "examples", spec.examples),
        progress=lambda done, total: progress("examples", done, total),
    )
    last = folder / "last.pt"
    head = fit(
        spec, ExampleBank(files), protocol.seed, last, lambda done, total: progress("head", done, total)
    )
    said = {
        "protocol": protocol.name,
        "protocol_digest": protocol.digest(),
        "of": about["sha256"],
        "torch": torch.__version__,
        "images": json.dumps({s.pattern: s.licence for s in protocol.images}),
    }
    file = out / sd_head_file(Path(about["file"])).name
    save_sd_head(file, head, spec, said)
    return file


def _claim(folder: Path, digest: str, spec: SdSpec) -> None:
    """Write what the folder's examples are of, or raise InputError where they are of something else."""
    file = folder / "of.json"
    now: dict[str, Any] = {"weights_sha256": digest, "spec": spec.model_dump(mode="json")}
    if file.exists():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            before = None
        if before != now:
            raise InputError(f"{folder} holds examples of other weights or settings; choose another `out`")
        return
    with atomic_path(file) as part:
        part.write_text(json.dumps(now, indent=1), encoding="utf-8")
