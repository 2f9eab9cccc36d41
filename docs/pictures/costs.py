"""Print what each method costs: python docs/pictures/costs.py brain_8ch_full.cfl [STEPS].

Seconds of one processor core for one slice, random R = 4, one thread, all in one process.  Samplers take
their published number of steps; only STEPS (5) of them are run and the rest is reckoned: steps cost alike.
The learned peers have random weights: they take as long as trained ones.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks.datasets import full_slices
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.peers.settings import PEERS
from mrunfold.masks import draw
from mrunfold.methods import Seeds, get_method
from mrunfold.methods.registry import method_class
from mrunfold.networks.peers import build_peer
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.prepare import build_problem
from mrunfold.protocols import load_protocol

LEARNED = ("unet", "varnet", "modl")


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return processor seconds of a call, and what it returned."""
    began = time.process_time()
    found = run()
    return time.process_time() - began, found


def main(data: Path, few: int) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    full = next(iter(full_slices(data)))
    shape = full.kspace.shape[-2:]
    mask = draw("random", shape, 4.0, seed=0)
    problem = build_problem(full.kspace, full.header, mask, acquired=np.ones(shape, bool))
    get_method("unfold")(problem)  # loads the weights
    rows = []

    def row(name: str, evaluations: int, spent: float) -> None:
        rows.append([name, str(evaluations or ""), f"{spent:.1f}"])
        print(*rows[-1], flush=True)

    for name, options in (
        ("zero_filled", {}), ("sense", {}), ("l1_wavelet", {}), ("tv", {}), ("unfold", {}),
        ("unfold", {"samples": 16}),
    ):  # fmt: skip
        method = get_method(name, **options)
        spent, result = seconds(lambda method=method: method(problem, Seeds((0,))))
        label = " ".join([name, *(f"--{key} {value}" for key, value in options.items())])
        row(label, result.evaluations, spent)
    for name in PEERS:
        method = get_method(name, steps=few)
        spent, result = seconds(lambda method=method: method(problem, Seeds((0,))))
        times = method_class(name).steps / few
        row(f"{name}, a draw", round(times * result.evaluations), times * spent)
    for name in LEARNED:
        peer = load_protocol(f"mri-{name}").peer
        assert peer is not None
        network = build_peer(peer).eval()

        def once(network: Any = network) -> Any:
            with torch.no_grad(), convolutions_in(choose("auto", "cpu"), "cpu"):
                return network.image(problem.y, problem.A)

        row(name, 1, seconds(once)[0])
    print(f"\n{data.stem}, {shape[0]}×{shape[1]}, {full.kspace.shape[0]} coils\n")
    print(rows_markdown(["method", "network evaluations", "s of a core"], rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
