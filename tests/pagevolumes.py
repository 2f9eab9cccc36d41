"""Volumes of a page as NIfTI images, decoded without the code that packs or shows them."""

from __future__ import annotations

import base64
import gzip
import json
import re

import nibabel
import numpy as np


def page_data(text: str) -> dict:
    return json.loads(re.search(r'id="page-data">(.*?)</script>', text, re.S)[1])


def bytes_of(text: str, alphabet: str, count: int) -> bytes:
    """Two characters are a number below 91², of which 13 bits count."""
    bits = "".join(
        f"{alphabet.index(a) * len(alphabet) + alphabet.index(b):013b}"
        for a, b in zip(text[::2], text[1::2], strict=True)
    )
    return int(bits[: 8 * count], 2).to_bytes(count, "big")


def alphabet_of(text: str) -> str:
    return re.search(r"const ALPHABET = '(.*?)';", text)[1]


def nifti_of(
    text: str, number: int, case: int = 0, files: dict[str, str] | None = None
) -> nibabel.Nifti1Image:
    """A volume of a page, or of the files beside it, that this case shows."""
    data = page_data(text)
    about, item = data["volumes"][number], data["cases"][case]
    if about["file"] is None:
        packed = re.search(rf'id="volume-{number}">(.*?)</script>', text, re.S)[1]
    else:
        packed = files[about["file"].split("/")[1]].split("'")[3]
    planes = gzip.decompress(bytes_of(packed, alphabet_of(text), about["bytes"]))
    high, low = np.frombuffer(planes, np.uint8).reshape(2, -1).astype(int)
    folded = 256 * high + low
    errors = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
    columns, rows, count = item["shape"]
    levels = np.zeros((errors.size // (columns * rows), rows + 1, columns + 1), int)  # zeros above and left
    errors = errors.reshape(-1, rows, columns)
    for r in range(rows):
        for c in range(columns):
            a, b, corner = levels[:, r + 1, c], levels[:, r, c + 1], levels[:, r, c]
            # The median of the two and of the plane through all three.
            levels[:, r + 1, c + 1] = np.median([a, b, a + b - corner], axis=0) + errors[:, r, c]
    levels = levels[:, 1:, 1:]
    part = (levels / data["roots"]) ** 2 if about["square"] else levels / data["levels"]
    values = (about["top"] * part).reshape(-1, count, rows, columns).transpose(3, 2, 1, 0)
    header = nibabel.Nifti1Header(base64.b64decode(item["header"]), check=False)
    header.set_data_dtype(np.float64)
    values = values[..., 0] if values.shape[-1] == 1 else values
    return nibabel.Nifti1Image(values, header.get_sform(), header)
