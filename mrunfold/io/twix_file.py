"""The layout of Siemens raw data (twix .dat), VB and VD to XA: measurements, protocols, headers of readouts.

The structures are those of the package twixtools.  Its own loop over a file is not used: it takes sizes as
they are declared, so that a truncated file yields readouts that nobody measured and one whose length lies
never ends; and it keeps an object a coil of each readout.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.source import open_regular

__all__ = ["Measurement", "TwixFile", "flag", "looks_like_twix"]

MAX_READOUTS = 1_000_000
MAX_PROTOCOL_BYTES = 64 << 20
MAX_MEASUREMENTS = 64
VB = 10_000  # the first number of a file: below it a later version, from it the length of a VB protocol
RAID_ENTRY = struct.Struct("<IIQQ")  # measurement and file number, where it begins, its length
RAID_ENTRY_BYTES = 152
BUFFER_NAME = re.compile(rb"(\w{1,60})\x00")
COPY = "it is truncated or damaged, copy it again"


def looks_like_twix(start: bytes) -> bool:
    """Return whether a file that begins with `start` is Siemens raw data."""
    if len(start) < 12:
        return False
    first, second = struct.unpack("<II", start[:8])
    if not 1 <= second <= MAX_MEASUREMENTS:  # measurements of a later file, parts of a VB protocol
        return False
    return first < VB or BUFFER_NAME.match(start[8:80]) is not None


def flag(mask: np.ndarray, *names: str) -> np.ndarray:
    """Return which readouts of `mask`, their EvalInfoMask uint64, carry one of the flags, bool (readout,)."""
    from twixtools.mdh_def import mask_dict

    wanted = np.uint64(sum(1 << mask_dict[name] for name in names))
    return (mask & wanted) != 0


@dataclass(frozen=True)
class Measurement:
    """One measurement of a file: its protocol's texts by name, headers and places of its readouts.

    mdh: structured (readout,), fields as twixtools names them; place: byte in the file where the first
    coil's header lies (readout,); channel_header: bytes of the header before each coil's samples.
    """

    protocol: dict[str, str]
    mdh: np.ndarray
    place: np.ndarray
    channel_header: int

    def __len__(self) -> int:
        return len(self.place)


class TwixFile:
    """An open twix file; raises InputError where it is not what it says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = _unbuffered(open_regular(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            self.ve, self.extents = self._extents()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def _read(self, begin: int, size: int, what: str) -> bytes:
        if begin < 0 or begin + size > self._size:
            raise InputError(f"{self.path}: {what} would end behind the file's end; {COPY}")
        data = bytearray()
        while len(data) < size:
            self._file.seek(begin + len(data))
            more = self._file.read(size - len(data))
            if not more:
                raise InputError(f"{self.path}: ends within {what}; {COPY}")
            data += more
        return bytes(data)

    def _extents(self) -> tuple[bool, list[tuple[int, int]]]:
        """Return whether the file is of VD or later, and where each measurement begins and ends."""
        first, second = struct.unpack("<II", self._read(0, 8, "its header"))
        if first >= VB:
            return False, [(0, self._size)]
        if not 1 <= second <= MAX_MEASUREMENTS:
            raise InputError(f"{self.path}: declares {second} measurements, which no twix file has; {COPY}")
        table = self._read(8, RAID_ENTRY_BYTES * second, "its list of measurements")
        entries = [RAID_ENTRY.unpack_from(table, i * RAID_ENTRY_BYTES)[2:] for i in range(second)]
        extents = []
        for number, (begin, length) in enumerate(entries, start=1):
            later = [other for other, _ in entries if other > begin]
            # Scanners leave the length of a measurement that was exported while it ran at 0.
            end = begin + length if length else min(later, default=self._size)
            if not 8 + len(table) <= begin < end <= self._size:
                raise InputError(
                    f"{self.path}: Siemens raw data whose measurement {number} of {second} would lie at "
                    f"bytes {begin} to {end}, and the file has {self._size}; {COPY}"
                )
            extents.append((begin, end))
        return True, extents

    def protocol(self, which: int) -> tuple[dict[str, str], int]:
        """Return the texts of a measurement's protocol by their names, and where its readouts begin."""
        begin, end = self.extents[which]
        what = f"the protocol of measurement {which + 1}"
        length, count = struct.unpack("<II", self._read(begin, 8, what))
        if not 8 <= length <= min(end - begin, MAX_PROTOCOL_BYTES) or count > MAX_MEASUREMENTS:
            raise InputError(f"{self.path}: {what} cannot have {length} bytes in {count} parts; {COPY}")
        block = self._read(begin, length, what)
        texts, at = {}, 8
        for _ in range(count):
            named = BUFFER_NAME.match(block, at)
            if named is None or named.end() + 4 > length:
                raise InputError(f"{self.path}: {what} has a part without a name; {COPY}")
            (size,) = struct.unpack_from("<I", block, named.end())
            at = named.end() + 4 + size
            if at > length:
                raise InputError(f"{self.path}: {what} has a part of {size} bytes in {length}; {COPY}")
            texts[named[1].decode("ascii")] = block[named.end() + 4 : at].decode("iso-8859-1")
        return texts, begin + length

    def measurement(self, which: int) -> Measurement:
        """Return a measurement; of its readouts the headers alone are read."""
        from twixtools import mdh_def

        texts, at = self.protocol(which)
        end = self.extents[which][1]
        head = np.dtype(mdh_def.Scan_header if self.ve else mdh_def.VB17_header)
        before, channel = (head.itemsize, 32) if self.ve else (0, head.itemsize)
        heads = bytearray()
        places: list[int] = []
        while at + head.itemsize <= end:
            raw = self._read(at, head.itemsize, f"readout {len(places)}")
            mdh = np.frombuffer(raw, head)[0]
            if flag(mdh["EvalInfoMask"], "ACQEND") or not any(raw):
                break
            synchronised = bool(flag(mdh["EvalInfoMask"], "SYNCDATA"))
            # The length that a header declares is of several readouts where they were packed.
            length = before + int(mdh["UsedChannels"]) * (channel + 8 * int(mdh["SamplesInScan"]))
            length = int(mdh["FlagsAndDMALength"]) % (1 << 25) if synchronised else length
            if length < head.itemsize or at + length > end:
                raise InputError(f"{self.path}: readout {len(places)} would end behind byte {end}; {COPY}")
            if not synchronised and mdh["UsedChannels"] and mdh["SamplesInScan"]:
                heads += raw
                places.append(at + before)
            at += length
            if len(places) > MAX_READOUTS:
                raise InputError(f"{self.path}: more than {MAX_READOUTS} readouts in a measurement; split it")
        return Measurement(texts, np.frombuffer(bytes(heads), head), np.array(places, np.int64), channel)

    def samples(self, one: Measurement, number: int) -> np.ndarray:
        """Return a readout's samples, complex64 (coil, samples)."""
        return self._channels(one, number)["data"]

    def channel_ids(self, one: Measurement, number: int) -> list[int]:
        """Return the numbers of the coils of a readout, in its order."""
        from twixtools import mdh_def

        header = np.dtype(mdh_def.Channel_header if self.ve else mdh_def.VB17_header)
        heads = np.frombuffer(self._channels(one, number)["head"].tobytes(), header)
        return [int(i) for i in heads["ChannelId"]]

    def _channels(self, one: Measurement, number: int) -> np.ndarray:
        coils, samples = (int(one.mdh[name][number]) for name in ("UsedChannels", "SamplesInScan"))
        each = np.dtype([("head", f"V{one.channel_header}"), ("data", "<c8", (samples,))])
        data = self._read(int(one.place[number]), coils * each.itemsize, f"readout {number}")
        return np.frombuffer(data, each)


def _unbuffered(file: BinaryIO) -> BinaryIO:
    """Return the file without its buffer: headers lie far apart."""
    return file.detach() if isinstance(file, BufferedReader) else file  # type: ignore[return-value]
