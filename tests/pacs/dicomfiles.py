"""Small DICOM files for tests, written with pydicom alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

MR, SC = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"
MAP = "1.2.840.10008.5.1.4.1.1.30"  # Parametric Map
EXPLICIT = "1.2.840.10008.1.2.1"


def write_dicom(path: Path, uid: str, sop_class: str = MR, seed: int = 0, shape=(12, 10)) -> Path:
    """Write an image of random pixels: integers, or float32 in one frame for a Parametric Map."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID

    rng = np.random.default_rng(seed)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), UID(uid)
    meta.TransferSyntaxUID = UID(EXPLICIT)
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid
    ds.PatientID, ds.PatientName = "unknown", ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.101", "2.25.102"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "MR", 1, seed + 1
    ds.Rows, ds.Columns = shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    if sop_class == MAP:
        ds.BitsAllocated, ds.NumberOfFrames = 32, 1
        ds.FloatPixelData = rng.random(shape, np.float32).tobytes()
    else:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.PixelData = rng.integers(0, 4096, shape, np.uint16).tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, count: int = 6) -> Path:
    """A folder like an exported one: MR, SC and a map, and a record that is no DICOM file."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        kind = (MR, MR, SC, MAP)[number % 4]
        write_dicom(folder / f"{number:03d}.dcm", f"2.25.{1000 + number}", kind, number)
    (folder / "record.json").write_text("{}")
    return folder


def server_context(certificate):
    """TLS of a server with this certificate and key."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, certificate))
    return context
