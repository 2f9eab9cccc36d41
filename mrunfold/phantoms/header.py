"""The ISMRMRD header of a simulated Cartesian scan."""

from __future__ import annotations

__all__ = ["simulated_header"]

XML = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <acquisitionSystemInformation><receiverChannels>{coils}</receiverChannels></acquisitionSystemInformation>
  <experimentalConditions><H1resonanceFrequency_Hz>123200000</H1resonanceFrequency_Hz></experimentalConditions>
  <encoding>
    <encodedSpace>{encoded}</encodedSpace>
    <reconSpace>{recon}</reconSpace>
    <encodingLimits>{limits}</encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
</ismrmrdHeader>
"""
SPACE = (
    "<matrixSize><x>{}</x><y>{}</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>{}</x><y>{}</y><z>{}</z></fieldOfView_mm>"
)
LIMIT = "<{name}><minimum>0</minimum><maximum>{last}</maximum><center>{center}</center></{name}>"


def simulated_header(
    coils: int,
    encoded: tuple[int, int],
    encoded_mm: tuple[float, float],
    recon: tuple[int, int],
    recon_mm: tuple[float, float],
    thickness: float,
    lines: tuple[int, int] | None,
    slices: int | None = None,
) -> str:
    """Return the XML of slices of one encoding, protons at 123.2 MHz.

    encoded, recon: matrix (readout, phase) as sampled and as shown; …_mm: their fields of view; thickness:
    mm; lines: how many phase lines were sampled and which of them is the centre, None to leave it unsaid;
    slices: how many, None to leave it unsaid.
    """
    limits = []
    if lines is not None:
        limits.append(LIMIT.format(name="kspace_encoding_step_1", last=lines[0] - 1, center=lines[1]))
    if slices is not None:
        limits.append(LIMIT.format(name="slice", last=slices - 1, center=0))
    return XML.format(
        coils=coils,
        encoded=SPACE.format(*encoded, *encoded_mm, thickness),
        recon=SPACE.format(*recon, *recon_mm, thickness),
        limits="".join(limits),
    )
