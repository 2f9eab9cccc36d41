"""Trained weights: safetensors files with a model card, verified by sha256 when they are read."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.io.atomic import atomic_path
from mrunfold.networks.peers import Peer, build_peer
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.sd_head import SdHead
from mrunfold.protocols import NetworkSpec, PeerSpec, SdSpec

__all__ = [
    "DEFAULT_WEIGHTS",
    "load_peer",
    "load_sd_head",
    "load_weights",
    "save_peer",
    "save_sd_head",
    "save_weights",
    "sd_head_file",
    "weights_digest",
    "weights_file",
]

FOLDER = Path(__file__).parent
DEFAULT_WEIGHTS = "mri-wide"
PEER_VERSION = "1"  # of what a file with the network of others holds
SD_VERSION = "1"  # of what a file with a head of standard deviations holds
SD_ENDING = "-sd"


def weights_digest(path: Path) -> str:
    """Return the sha256 of a weights file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else (
            hashlib.sha256(file.read()).hexdigest()
        )  # fmt: skip


def save_weights(
    path: Path, network: PosteriorDenoiser, spec: NetworkSpec, metadata: dict[str, str] | None = None
) -> None:
    """Write the network's weights in half precision with its specification, whole or not at all.

    Half precision halves the file; the weights are used as float32.
    """
    from safetensors.torch import save_file

    state = {
        name: value.half().contiguous() if name.startswith("priors") else value.contiguous()
        for name, value in network.state_dict().items()
    }
    with atomic_path(path) as part:
        save_file(state, part, {"network": spec.model_dump_json(), **(metadata or {})})


def weights_file(name_or_file: str | Path) -> Path:
    """Return the file of weights: one that ships, by its name, its sha256 checked, or a .safetensors file.

    InputError where there is none, or where a shipped file is not as it was shipped.
    """
    path = Path(name_or_file)
    shipped = path.suffix != ".safetensors"
    if shipped:
        path = FOLDER / f"{name_or_file}.safetensors"
    if not path.is_file():
        networks = sorted(p.stem for p in FOLDER.glob("*.safetensors") if not p.stem.endswith(SD_ENDING))
        known = ", ".join(networks) or "none in this installation"
        raise InputError(f"no weights {name_or_file}; give a .safetensors file or one that ships ({known})")
    if shipped:
        expected = json.loads((FOLDER / "sha256.json").read_text(encoding="utf-8")).get(path.name)
        if weights_digest(path) != expected:
            raise InputError(
                f"{path.name} is not the file that was shipped (sha256 differs); reinstall mrunfold"
            )
    return path


def load_weights(name_or_file: str | Path | None = None) -> tuple[PosteriorDenoiser, dict[str, str]]:
    """Return the network in evaluation mode, and what its file says of it, its sha256 included.

    name_or_file: a shipped network's name, a .safetensors file, or None for the default.  A shipped file
    whose sha256 is not the one it was shipped with, or a file without a network, is an InputError.
    """
    return _load(str(name_or_file or DEFAULT_WEIGHTS))


@lru_cache(maxsize=2)
def _load(name: str) -> tuple[PosteriorDenoiser, dict[str, str]]:
    from safetensors import SafetensorError

    path = weights_file(name)
    digest = weights_digest(path)
    try:
        metadata, state = _content(path)
        if "peer" in metadata:
            raise InputError(f"{path.name} holds a network of {metadata.get('kind')}; give that as `method`")
        spec = NetworkSpec.model_validate_json(metadata["network"])
        with torch.device("meta"):  # takes no memory: a header can declare any size
            network = PosteriorDenoiser.from_spec(spec)
        network.load_state_dict(state, assign=True)
        network.to(memory_format=torch.channels_last)
    except InputError:  # says it already
        raise
    except (SafetensorError, KeyError, ValueError, RuntimeError, RecursionError) as error:
        raise _unreadable(path, error) from None
    network.eval().requires_grad_(False)
    _check_finite(path, state)
    return network, {**metadata, "sha256": digest, "file": path.name}


def save_peer(path: Path, network: Peer, spec: PeerSpec, metadata: dict[str, str] | None = None) -> None:
    """Write a network of others in half precision with its specification, whole or not at all."""
    from safetensors.torch import save_file

    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    said = {"peer": spec.model_dump_json(), "kind": spec.kind, "version": PEER_VERSION, **(metadata or {})}
    with atomic_path(path) as part:
        save_file(state, part, said)


@lru_cache(maxsize=4)
def load_peer(kind: str, file: str) -> tuple[Peer, dict[str, str]]:
    """Return a network of others in evaluation mode, and what its file says of it, its sha256 included.

    kind: which network the file must hold, else InputError, as for a version that this program does not know.
    """
    from safetensors import SafetensorError

    path = Path(file)
    if not path.is_file():
        raise InputError(f"no weights {file}; train them with `mrunfold train mri-{kind}`")
    try:
        metadata, state = _content(path)
        found = metadata.get("kind", "unfold")
        if found != kind:
            raise InputError(
                f"{path.name} holds a network of {found}, not of {kind}; give `method={found!r}`"
            )
        if metadata.get("version") != PEER_VERSION:
            raise ValueError(f"version {metadata.get('version')} of its format, known is {PEER_VERSION}")
        network = build_peer(TypeAdapter(PeerSpec).validate_json(metadata["peer"]))
        network.load_state_dict(state)
    except InputError:  # says it already
        raise
    except (SafetensorError, KeyError, ValueError, RuntimeError, RecursionError) as error:
        raise _unreadable(path, error) from None
    network.eval().requires_grad_(False)
    _check_finite(path, state)
    return network, {**metadata, "sha256": weights_digest(path), "file": path.name}


def sd_head_file(weights: Path) -> Path:
    """Return the file in which the head of standard deviations of a network's weights lies: beside them."""
    return weights.with_name(f"{weights.stem}{SD_ENDING}.safetensors")


def save_sd_head(path: Path, head: SdHead, spec: SdSpec, metadata: dict[str, str]) -> None:
    """Write a head with its specification, whole or not at all; metadata: `of`, the sha256 of its network."""
    from safetensors.torch import save_file

    state = {name: value.contiguous() for name, value in head.state_dict().items()}
    with atomic_path(path) as part:
        save_file(state, part, {"sd": spec.model_dump_json(), "version": SD_VERSION, **metadata})


def load_sd_head(name_or_file: str | Path | None = None) -> tuple[SdHead | None, dict[str, str]]:
    """Return the head of the weights that `load_weights` takes, and what its file says, its sha256 included.

    None where there is none beside the weights, or one of other weights: `why` then says so.  InputError
    for a file that is no head of this version, or not the one that was shipped.
    """
    return _load_sd(str(name_or_file or DEFAULT_WEIGHTS))


@lru_cache(maxsize=2)
def _load_sd(name: str) -> tuple[SdHead | None, dict[str, str]]:
    from safetensors import SafetensorError

    weights = weights_file(name)
    path = sd_head_file(weights)
    if not path.is_file():
        return None, {"why": f"{weights.name} has no head of its own; `mrunfold train --stage sd` makes one"}
    if weights.parent == FOLDER:
        weights_file(path.stem)  # as it was shipped
    try:
        metadata, state = _content(path)
        if metadata.get("version") != SD_VERSION:
            raise ValueError(f"version {metadata.get('version')} of its format, known is {SD_VERSION}")
        if metadata["of"] != weights_digest(weights):
            return None, {
                "why": f"{path.name} is of other weights; `mrunfold train --stage sd` makes one of these"
            }
        head = SdHead.from_spec(SdSpec.model_validate_json(metadata["sd"]))
        head.load_state_dict(state)
    except (SafetensorError, KeyError, ValueError, RuntimeError, RecursionError) as error:
        raise _unreadable(path, error) from None
    head.eval().requires_grad_(False)
    _check_finite(path, state)
    return head, {**metadata, "sha256": weights_digest(path), "file": path.name}


def _content(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return what a safetensors file says of itself, and its tensors as float32."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        return metadata, {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return InputError(
        f"{path.name} does not hold a network of this version ({reason}); train again, or use the "
        "mrunfold that made it"
    )


def _check_finite(path: Path, state: dict[str, Tensor]) -> None:
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise InputError(f"{path.name} holds values that are not finite; train again or take another file")
