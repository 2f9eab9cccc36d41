"""The methods by the name that the command line and the protocols call them; imported when asked for."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from mrunfold.errors import InputError, did_you_mean
from mrunfold.registry import Registry

if TYPE_CHECKING:
    from mrunfold.methods.base import Method

__all__ = ["DEFAULT_METHOD", "METHODS", "get_method", "method_class", "names"]

METHODS = Registry(
    "method",
    "mrunfold.methods",
    {
        "zero_filled": "mrunfold.methods.zero_filled:ZeroFilled",
        "sense": "mrunfold.methods.sense:LeastSquares",
        "homodyne": "mrunfold.methods.partial_fourier:Homodyne",
        "pocs": "mrunfold.methods.partial_fourier:Pocs",
        "l1_wavelet": "mrunfold.methods.l1_wavelet:L1Wavelet",
        "tv": "mrunfold.methods.tv:TotalVariation",
        "tikhonov": "mrunfold.methods.tikhonov:Tikhonov",
        "tv_isotropic": "mrunfold.methods.tv_isotropic:IsotropicTotalVariation",
        "plug_and_play": "mrunfold.methods.plug_and_play:PlugAndPlay",
        "dps": "mrunfold.methods.zero_shot:Dps",
        "diffpir": "mrunfold.methods.zero_shot:DiffPir",
        "ddnm": "mrunfold.methods.zero_shot:Ddnm",
        "daps": "mrunfold.methods.zero_shot:Daps",
        "dds": "mrunfold.methods.zero_shot:Dds",
        "unfold": "mrunfold.methods.unfold:Unfold",
        "unet": "mrunfold.methods.peers:Unet",
        "varnet": "mrunfold.methods.peers:VarNet",
        "modl": "mrunfold.methods.peers:Modl",
        "auto": "mrunfold.methods.auto:Auto",
    },
)

# What `mrunfold recon` uses where no method is named.
DEFAULT_METHOD = "unfold"


def names() -> list[str]:
    """Return the names of all methods: those that ship, simplest first, then those of other packages."""
    return METHODS.names()


def method_class(name: str) -> type[Any]:
    """Return the class of the method called `name`, or `package.module:Class`.

    InputError for an unknown name, and for what is no frozen dataclass with a `name`.
    """
    found = METHODS.load(name)
    named = isinstance(getattr(found, "name", None), str)
    if not (isinstance(found, type) and is_dataclass(found) and named):
        raise InputError(
            f"method {name} is no method: a frozen dataclass with a `name`, a subclass of "
            "mrunfold.methods.Method"
        )
    return found


def get_method(name: str, /, **parameters: Any) -> Method:
    """Return the method called `name` with `parameters`; InputError for an unknown name or parameter."""
    cls = method_class(name)
    known = [f.name for f in fields(cls)]
    for parameter in parameters:
        if parameter not in known:
            hint = did_you_mean(parameter, known) if known else "; it has none"
            raise InputError(f"method {name} has no parameter {parameter!r}{hint}")
    hints = get_type_hints(cls)
    given = {key: _checked(name, key, value, hints[key]) for key, value in parameters.items()}
    method: Method = cls(**given)
    return method


def _checked(method: str, key: str, value: Any, kind: Any) -> Any:
    """Return a parameter's value if it is of its kind; a list becomes the tuple that is meant."""
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticSchemaGenerationError

    value = tuple(value) if isinstance(value, list) else value
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except PydanticSchemaGenerationError:  # of a class of somebody else's, which checks itself
        return value
    except ValidationError:
        wanted = getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind)
        raise InputError(f"method {method}: {key} is {wanted}, got {str(value)[:40]!r}") from None
