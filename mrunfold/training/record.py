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

    Only the numbers of steps may differ, and only grow; each number that was asked for is kept under
    `history`.  Anything else is an InputError that names the field and what to do.
    """
    file = out / FILE
    history: list[dict[str, int]] = []
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
    history.append({"prior": protocol.prior_stage.steps, "unfold": protocol.unfold_stage.steps})
    content = {
        "digest": protocol.digest(),
        "history": history,
        "protocol": protocol.model_dump(mode="json"),
    }
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _check(out: Path, before: TrainingProtocol, now: TrainingProtocol) -> None:
    steps = {"prior": now.prior_stage.steps, "unfold": now.unfold_stage.steps}
    if before.with_steps(**steps).digest() != now.digest():
        changed = _first_difference(before.model_dump(mode="json"), now.model_dump(mode="json"))
        raise InputError(
            f"{out} holds a run of another protocol ({changed}); choose another `out`, or go on with the "
            "protocol it was begun with (only the number of steps may grow)"
        )
    for stage, count in steps.items():
        old = getattr(before, f"{stage}_stage").steps
        if count < old:
            raise InputError(
                f"{out} holds a run of {old} steps of stage {stage}, asked {count}; a run only grows: "
                f"give `steps={old}` or more, or another `out`"
            )


def _first_difference(before: object, now: object, at: str = "") -> str:
    """Return `field: was, is` of the first leaf that differs, other than a number of steps."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before | now:
            if key != "steps" and before.get(key) != now.get(key):
                found = _first_difference(before.get(key), now.get(key), f"{at}.{key}".lstrip("."))
                if found:
                    return found
        return ""
    return f"{at}: {json.dumps(before, ensure_ascii=False)} then, {json.dumps(now, ensure_ascii=False)} now"
