"""Unique identifiers that follow content: the same input gives the same, other pixels give others.

A PACS keeps the image that it has when another comes with the same identifier, so everything that can make
two images differ enters it: raw data, weights, version, parameters, patient and study, scale and pixels.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np

from mrunfold.export.record import plain

__all__ = ["IMPLEMENTATION_UID", "content_uid", "digest_of"]

# mrunfold's own name space for uuid5, drawn once.
NAMESPACE = uuid.UUID("6d3e8c1f-52b4-4c0a-9a7e-0c8f5b1d2e47")


def content_uid(*parts: Any) -> str:
    """Return a UID under 2.25 (ISO/IEC 9834-8), at most 44 characters, of JSON-like `parts`."""
    text = json.dumps(plain(parts), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return f"2.25.{uuid.uuid5(NAMESPACE, text).int}"


def digest_of(images: Iterable[np.ndarray]) -> str:
    """Return the sha256 of float32 images, bytes and shapes, in their order."""
    import hashlib

    digest = hashlib.sha256()
    for image in images:
        digest.update(str(image.shape).encode())
        digest.update(np.ascontiguousarray(image, "<f4").tobytes())
    return digest.hexdigest()


IMPLEMENTATION_UID = content_uid("mrunfold")
