"""Protocols of reconstruction: what a batch's numbers depend on, frozen, with a digest to compare by."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mrunfold.errors import InputError, did_you_mean
from mrunfold.protocols.training import FOLDER, read_toml, tomllib

__all__ = [
    "RECON_SUFFIX", "CoilSettings", "Data", "MaskSpec", "MethodSpec", "ReconProtocol", "ScoreRule", "Target",
    "load_recon_protocol", "recon_protocol_names", "to_toml",
]  # fmt: skip

# Those that ship end so, which tells them from protocols of training.
RECON_SUFFIX = ".recon.toml"
SHA256 = r"^[0-9a-f]{64}$"
Scalar = bool | int | float | str


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Frozen):
    """Which files: those whose name matches `pattern`, `count` of them; or those of `sha256`, frozen.

    sha256: of each file's bytes, by the file's name; empty where nobody has frozen the files yet.
    """

    pattern: str = "*.h5"
    count: int | None = Field(default=None, ge=1)
    sha256: dict[str, str] = {}

    @model_validator(mode="after")
    def _hashes_are_hashes(self) -> Data:
        for name, digest in self.sha256.items():
            if not re.match(SHA256, digest):
                raise ValueError(f"the sha256 of {name} is 64 hexadecimal digits, got {digest[:70]!r}")
            if "/" in name or "\\" in name:
                raise ValueError(f"files are told by name, without folders, got {name!r}")
        if self.sha256 and self.count not in (None, len(self.sha256)):
            raise ValueError(f"count is {self.count}, but {len(self.sha256)} files have a sha256")
        return self


class MaskSpec(_Frozen):
    """The undersampling: as `mrunfold.masks.draw`; seed: "name" for fastMRI's, of each file's name."""

    kind: str = "acquired"
    accel: float | None = None
    calibration: int | tuple[int, int] | None = None
    center_fraction: float | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | Literal["name"] = "name"


class CoilSettings(_Frozen):
    """How coils are compressed and calibrated, as `ReconSettings` has coils, maps and map_sets."""

    compress: int | float | Literal["auto", "all"] = "auto"
    maps: Literal["torch", "sigpy"] = "torch"
    map_sets: Literal["auto"] | Annotated[int, Field(ge=1, le=8)] = 1


class MethodSpec(_Frozen):
    """A method and its parameters; weights_sha256 says which weights, wherever their file lies."""

    name: str
    parameters: dict[str, Scalar | list[Scalar]] = {}
    weights_sha256: str | None = Field(default=None, pattern=SHA256)


class Target(_Frozen):
    """kind: which magnitude is written, None for rss where a file has RSS images; crop: the header's size."""

    kind: Literal["rss", "combined"] | None = None
    crop: Literal["header"] = "header"


class ScoreRule(_Frozen):
    """rule: of `mrunfold evaluate`; fastmri is the volume's maximum as data range, cropped to its square."""

    rule: Literal["fastmri"] = "fastmri"


class ReconProtocol(_Frozen):
    """What the numbers of a batch depend on; without `method`, any method is run under the same protocol."""

    name: str = Field(pattern=r"^[0-9A-Za-z_.-]{1,60}$")
    data: Data = Data()
    mask: MaskSpec = MaskSpec()
    coils: CoilSettings = CoilSettings()
    target: Target = Target()
    scores: ScoreRule = ScoreRule()
    method: MethodSpec | None = None
    slices: str | None = None

    @property
    def frozen(self) -> bool:
        """Whether the files are told by their sha256."""
        return bool(self.data.sha256)

    def digest(self) -> str:
        """Return "sha256:" and the digest of the content, whatever the layout and order of the file."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def recon_protocol_names() -> list[str]:
    """Return the names of the protocols of reconstruction that ship."""
    return sorted(p.name.removesuffix(RECON_SUFFIX) for p in FOLDER.glob(f"*{RECON_SUFFIX}"))


def load_recon_protocol(name_or_file: str) -> ReconProtocol:
    """Read a shipped protocol by name, or a TOML file by path; InputError where it does not hold."""
    file = Path(name_or_file)
    if file.suffix != ".toml":
        file = FOLDER / f"{name_or_file}{RECON_SUFFIX}"
    if not file.is_file():
        hint = did_you_mean(Path(name_or_file).name.split(".")[0], recon_protocol_names())
        raise InputError(f"no protocol {name_or_file}{hint}; name one that ships, or a .toml file")
    try:
        return ReconProtocol(**read_toml(file))
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InputError(f"protocol {file.name} does not hold: {reason}; mend that line") from error


def to_toml(protocol: ReconProtocol) -> str:
    """Return a file's text from which `load_recon_protocol` reads the same protocol."""
    import tomli_w

    content = protocol.model_dump(mode="json", exclude_none=True)
    # A table that holds nothing is the default, and says nothing.
    text = tomli_w.dumps({key: value for key, value in content.items() if value != {}})
    if ReconProtocol(**tomllib.loads(text)) != protocol:
        raise InputError(f"protocol {protocol.name} holds a value that TOML cannot; leave it out")
    return text
