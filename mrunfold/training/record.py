"""What a training folder remembers of its protocol, so that it goes on with the same one or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from mrunfold.errors import InputError
from mrunfold.io.atomic import atomic_path
from mrunfold.protocols import TrainingProtocol

__all__ = ["claim_folder"]

FILE = "protocol.json"


def claim_folder(out: Path, protocol: TrainingProtocol) -> None:
    """Write the protocol and its digest into `out`, or check that what is there allows to go on.

    Only the numbers of steps, or minutes, may differ, and only grow; each number that was asked for is kept
    under `history`.  Anything else is an InputError that names the field and what to do.
    """
    file = out / FILE
    history: list[dict[str, float]] = []
    if file.exists():
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            before = TrainingProtocol.model_validate(held["protocol"])
            history = list(held["history"])
        except (ValidationError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{file} is not what `train` writes; choose another `out`") from error
        _check(out, before, protocol)
        if before.digest() == protocol.digest():
            return
    history.append({stage: amount for stage, (amount, _) in _amounts(protocol).items()})
    content = {
        "digest": protocol.digest(),
        "history": history,
        "protocol": protocol.model_dump(mode="json"),
    }
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _amounts(protocol: TrainingProtocol) -> dict[str, tuple[float, str]]:
    """Return how long each stage is, and in what."""
    stages = {"prior": protocol.prior_stage, "unfold": protocol.unfold_stage}
    return {
        name: (s.steps, "steps") if s.minutes is None else (s.minutes, "minutes")
        for name, s in stages.items()
        if s is not None
    }


def _check(out: Path, before: TrainingProtocol, now: TrainingProtocol) -> None:
    wanted = _amounts(now)
    grown = before
    for stage, (amount, unit) in wanted.items():
        held = getattr(before, f"{stage}_stage")
        if held is not None and (unit == "steps") == (held.minutes is None):
            grown = (
                grown.with_steps(**{stage: amount})
                if unit == "steps"
                else grown.with_minutes(**{stage: amount})
            )
    if grown.digest() != now.digest():
        changed = _first_difference(before.model_dump(mode="json"), now.model_dump(mode="json"))
        raise InputError(
            f"{out} holds a run of another protocol ({changed}); choose another `out`, or go on with the "
            "protocol it was begun with (only the number of steps or minutes may grow)"
        )
    for stage, (old, unit) in _amounts(before).items():
        if wanted[stage][0] < old:
            raise InputError(
                f"{out} holds a run of {old:g} {unit} of stage {stage}, asked {wanted[stage][0]:g}; a run "
                f"only grows: give `{unit}={old:g}` or more, or another `out`"
            )


def _first_difference(before: object, now: object, at: str = "") -> str:
    """Return `field: was, is` of the first leaf that differs, other than a number of steps."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before | now:
            if (
                key != "steps"
                and not (key == "minutes" and before.get(key) and now.get(key))
                and before.get(key) != now.get(key)
            ):
                found = _first_difference(before.get(key), now.get(key), f"{at}.{key}".lstrip("."))
                if found:
                    return found
        return ""
    return f"{at}: {json.dumps(before, ensure_ascii=False)} then, {json.dumps(now, ensure_ascii=False)} now"
