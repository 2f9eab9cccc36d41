"""Siemens raw data for tests: VD files written by twixtools, VB files of the structures that it defines.

twixtools has no writer for VB; that its reader takes ours is a test.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Readout = tuple[np.ndarray, Mapping[str, Any]]

MEAS = """<XProtocol>
{{ <ParamMap.""> {{
  <ParamDouble."flReadoutOSFactor"> {{ <Precision> 6 {factor} }}
  <ParamLong."iNoOfFourierColumns"> {{ {columns} }}
  <ParamLong."iNoOfFourierLines"> {{ {measured} }}
  <ParamLong."alRegridMode"> {{ {regrid} 1 }}
  <ParamLong."chronSliceIndices"> {{ {order} -1 -1 }}
  <ParamDouble."phaseOversampling"> {{ {over} }}
  <ParamDouble."flMagneticFieldStrength"> {{ <Precision> 6 2.893620 }}
  <ParamString."tPatientPosition"> {{ "HFS" }}
  <ParamString."tBodyPartExamined"> {{ "HEAD" }}
  {texts}
}} }}
"""
YAPS = """### ASCCONV BEGIN object=MrProtDataImpl@MrProtocolData version=41310008 ###
tProtocolName\t = \t"{name}"
sRXSPEC.alDwellTime.__attribute__.size\t = \t128
sRXSPEC.alDwellTime[0]\t = \t{dwell_ns}
alTR[0]\t = \t2500000
alTE[0]\t = \t80000
adFlipAngleDegree[0]\t = \t120.0
sSliceArray.lSize\t = \t{slices}
{slice_lines}sKSpace.lBaseResolution\t = \t{base}
sKSpace.lPhaseEncodingLines\t = \t{lines}
sKSpace.ucDimension\t = \t{dimension}
sKSpace.ucTrajectory\t = \t{trajectory}
sPat.ucRefScanMode\t = \t0x{reference:x}
{more}### ASCCONV END ###
"""


def protocol(
    base: int,
    lines: int,
    *,
    factor: float = 2.0,
    measured: int | None = None,
    pixel_mm: tuple[float, float] = (1.0, 1.0),
    positions: Sequence[Sequence[float]] | np.ndarray = ((0.0, 0.0, 0.0),),
    over: float = 0.0,
    **other: Any,
) -> dict[str, str]:
    """Parts of a protocol: images of base×lines pixels, the field of view without phase oversampling."""
    rows = []
    for number, position in enumerate(positions):
        one = f"sSliceArray.asSlice[{number}]"
        rows += [
            f"{one}.dThickness\t = \t{other.get('thickness', 5.0)}",
            f"{one}.dReadoutFOV\t = \t{base * pixel_mm[0]}",
        ]
        rows += [f"{one}.dPhaseFOV\t = \t{lines * pixel_mm[1] / (1 + over)}"]
        # As scanners do, coordinates of zero are left out.
        named = zip(("dSag", "dCor", "dTra"), position, strict=True)
        rows += [f"{one}.sPosition.{axis}\t = \t{value}" for axis, value in named if value]
    values = {
        "dimension": 2, "thickness": 5.0,
        "name": "gre", "dwell_ns": 5000, "trajectory": 1, "reference": 1, "regrid": 1, "order": "0",
        "more": "", "texts": "", **other,
    }  # fmt: skip
    values |= {"base": base, "lines": lines, "slices": len(positions), "columns": round(base * factor)}
    values |= {"slice_lines": "".join(row + "\n" for row in rows), "measured": measured or lines}
    values |= {"factor": f"{factor:.6f}", "over": f"<Precision> 6 {over:.6f}" if over else ""}
    return {"Config": "<XProtocol>\n{ }\n", "Meas": MEAS.format(**values), "MeasYaps": YAPS.format(**values)}


def protocol_bytes(texts: Mapping[str, str]) -> bytes:
    """The parts as a measurement begins with them, padded to 32 bytes as scanners do."""
    parts = b"".join(
        name.encode() + b"\0" + struct.pack("<I", len(data := text.encode("iso-8859-1"))) + data
        for name, text in texts.items()
    )
    parts += bytes(-(8 + len(parts)) % 32)
    return struct.pack("<II", 8 + len(parts), len(texts)) + parts


def quaternion(frame: Sequence[np.ndarray]) -> np.ndarray:
    """Of the rotation whose columns are (phase, read, slice), real part first; frame: read, phase, slice."""
    from scipy.spatial.transform import Rotation

    read, phase, normal = frame
    rotation = np.stack([phase, read, normal], axis=1)
    assert np.linalg.det(rotation) > 0, "Siemens' phase, read and slice are right-handed"
    return Rotation.from_matrix(rotation).as_quat()[[3, 0, 1, 2]]


def _fill(mdh: Any, fields: Mapping[str, Any], samples: int) -> None:
    """Set counters, members, flags, position and quaternion of a header."""
    from twixtools.mdh_def import mask_dict

    mdh.CenterCol = samples // 2
    mdh.SliceData.Quaternion[0] = 1.0
    for name, value in fields.items():
        if name == "flags":
            for one in value:
                mdh.EvalInfoMask |= 1 << mask_dict[one]
        elif name == "position":
            for axis, place in zip(("Sag", "Cor", "Tra"), value, strict=True):
                setattr(mdh.SliceData.SlicePos, axis, float(place))
        elif name == "quaternion":
            for i, part in enumerate(value):
                mdh.SliceData.Quaternion[i] = float(part)
        elif hasattr(mdh.Counter, name):
            setattr(mdh.Counter, name, value)
        elif name != "channels":
            setattr(mdh, name, value)


def write_twix(path: Path, measurements: Iterable[tuple[Mapping[str, str], Iterable[Readout]]]) -> Path:
    """Write a VD file with twixtools: of each measurement its protocol and readouts."""
    import twixtools
    from twixtools import mdb, mdh_def

    scans = []
    for texts, readouts in measurements:
        blocks = []
        for samples, fields in readouts:
            block = mdb.Mdb_local(np.ascontiguousarray(samples, np.complex64))
            _fill(block.mdh, fields, samples.shape[1])
            # Its own list holds one header as many times as there are coils.
            ids = fields.get("channels", range(len(samples)))
            block.channel_hdr = [mdh_def.Channel_header(ChannelId=i) for i in ids]
            blocks.append(block)
        scans.append({"hdr_str": np.frombuffer(protocol_bytes(texts), "S1"), "mdb": blocks})
    path.unlink(missing_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):
        twixtools.write_twix(scans, str(path))
    return path


def write_vb(path: Path, texts: Mapping[str, str], readouts: Iterable[Readout]) -> Path:
    """Write a VB file: one measurement, a header before each coil's samples."""
    from twixtools import mdh_def

    end = (np.zeros((1, 16)), {"flags": ["ACQEND"]})
    with open(path, "wb") as file:
        # The first number of a VB file is the protocol's length, which tells it from later ones: over 10,000.
        file.write(protocol_bytes({**texts, "Phoenix": " " * 10_000}))
        for number, (samples, fields) in enumerate([*readouts, end], 1):
            for coil, row in enumerate(np.ascontiguousarray(samples, np.complex64)):
                mdh = mdh_def.VB17_header(ScanCounter=number, ChannelId=coil, SamplesInScan=len(row))
                mdh.UsedChannels = len(samples)
                _fill(mdh, fields, len(row))
                mdh.FlagsAndDMALength = 128 + 8 * len(row)
                file.write(bytes(mdh) + row.tobytes())
    return path


def slab_readouts(
    kspace: np.ndarray,
    frame: Sequence[np.ndarray] | None = None,
    position: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    **fields: Any,
) -> list[Readout]:
    """Readouts of a 3-D scan (coil, readout, phase, partition) as Siemens stores it, partitions outermost."""
    place = {} if position is None else {"position": position}
    turned = {} if frame is None else {"quaternion": quaternion(frame)}
    lines, partitions = kspace.shape[-2:]
    found: list[Readout] = []
    for par in range(partitions):
        for lin in range(lines):
            if mask is None or mask[lin, par]:
                counters = {"Lin": lin, "Par": par, "CenterLin": lines // 2, "CenterPar": partitions // 2}
                found.append((kspace[..., lin, par], {**counters, **place, **turned, **fields}))
    return found


def readouts_of(
    kspace: np.ndarray,
    frame: Sequence[np.ndarray] | None = None,
    positions: np.ndarray | None = None,
    lines: Sequence[int] | None = None,
    **fields: Any,
) -> list[Readout]:
    """Readouts of k-space (slice, coil, readout, phase) as Siemens stores it, of all lines or some."""
    found: list[Readout] = []
    phase = kspace.shape[-1]
    turned = {} if frame is None else {"quaternion": quaternion(frame)}
    for s, one in enumerate(kspace):
        place = {} if positions is None else {"position": positions[s]}
        for line in range(phase) if lines is None else lines:
            counters = {"Lin": line, "Sli": s, "CenterLin": phase // 2}
            found.append((one[..., line], {**counters, **place, **turned, **fields}))
    return found
