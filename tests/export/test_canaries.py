"""Protected information: a word in every text field of the raw file is in nothing that is written or said."""

from __future__ import annotations

import gzip
import logging
import re
from pathlib import Path

import h5py
import numpy as np
import pydicom
import pytest
from exported import FRAMES
from rawfiles import coil_kspace, header_xml, letter_f, write_fastmri, write_mrd
from twixfiles import protocol, readouts_of, write_twix
from typer.testing import CliRunner

from mrunfold.cli import main

WORD = "CANARY"
# Every text of the ISMRMRD schema that may hold a name, a place, a time or an identifier.
TEXTS = f"""
  <subjectInformation>
    <patientName>{WORD}^A</patientName><patientWeight_kg>71.2345</patientWeight_kg>
    <patientID>{WORD}1</patientID><patientBirthdate>1971-12-13</patientBirthdate>
    <patientGender>{WORD}</patientGender>
  </subjectInformation>
  <studyInformation>
    <studyDate>1999-08-17</studyDate><studyTime>13:57:11</studyTime><studyID>{WORD}2</studyID>
    <accessionNumber>{WORD}3</accessionNumber><referringPhysicianName>{WORD}^B</referringPhysicianName>
    <studyDescription>{WORD}4</studyDescription><studyInstanceUID>1.2.{WORD}.5</studyInstanceUID>
    <bodyPartExamined>{WORD}6</bodyPartExamined>
  </studyInformation>
  <measurementInformation>
    <measurementID>{WORD}7</measurementID><seriesDate>1999-08-17</seriesDate><seriesTime>13:57:11</seriesTime>
    <patientPosition>{WORD}8</patientPosition><initialSeriesNumber>7</initialSeriesNumber>
    <protocolName>{WORD}9</protocolName><sequenceName>{WORD}10</sequenceName>
    <seriesDescription>{WORD}11</seriesDescription>
    <measurementDependency>
      <dependencyType>{WORD}</dependencyType><measurementID>{WORD}</measurementID>
    </measurementDependency>
    <seriesInstanceUIDRoot>1.2.{WORD}.12</seriesInstanceUIDRoot>
    <frameOfReferenceUID>1.3.12.2.1107.5.2.{WORD}.19990817135711</frameOfReferenceUID>
    <referencedImageSequence>
      <referencedSOPInstanceUID>1.2.{WORD}.13</referencedSOPInstanceUID>
    </referencedImageSequence>
  </measurementInformation>
  <acquisitionSystemInformation>
    <systemVendor>{WORD}14</systemVendor><systemModel>{WORD}15</systemModel>
    <systemFieldStrength_T>1.5</systemFieldStrength_T>
    <institutionName>{WORD}16</institutionName><stationName>{WORD}17</stationName>
    <deviceID>{WORD}18</deviceID><deviceSerialNumber>{WORD}19</deviceSerialNumber>
    <coilLabel><coilNumber>0</coilNumber><coilName>{WORD}20</coilName></coilLabel>
  </acquisitionSystemInformation>
  <sequenceParameters>
    <TR>2500</TR><TE>80</TE><flipAngle_deg>120</flipAngle_deg><sequence_type>{WORD}21</sequence_type>
  </sequenceParameters>
  <userParameters>
    <userParameterString><name>{WORD}22</name><value>{WORD}23</value></userParameterString>
    <userParameterLong><name>{WORD}24</name><value>424242</value></userParameterLong>
    <userParameterBase64><name>{WORD}25</name><value>{WORD}</value></userParameterBase64>
  </userParameters>
"""
# What of it would give a person or a day away without the word.
TRACES = (WORD, "19990817", "1999-08-17", "13:57:11", "135711", "1971-12-13", "19711213", "71.2345", "424242")


def with_texts(xml: str) -> str:
    xml = re.sub(
        r"<acquisitionSystemInformation>.*?</acquisitionSystemInformation>", TEXTS, xml, flags=re.DOTALL
    )
    description = f"<trajectoryDescription><identifier>{WORD}26</identifier><comment>{WORD}27</comment>"
    xml = xml.replace("<trajectory>", f"{description}</trajectoryDescription><trajectory>")
    return xml.replace("<ismrmrdHeader", f"<!-- {WORD}28 --><ismrmrdHeader", 1)


def fastmri(folder: Path, kspace) -> Path:
    path = write_fastmri(folder / f"{WORD}file.h5", kspace)
    with h5py.File(path, "a") as file:
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = with_texts(header_xml(kspace, kspace.shape[-2:]))
        file.attrs["acquisition"] = f"{WORD}29"
        for name in ("patient_id", f"{WORD}30", "institution"):
            file.attrs[name] = f"{WORD}31"
        file["kspace"].attrs["note"] = f"{WORD}32"
        file[f"{WORD}33"] = f"{WORD}34"
    return path


def mrd(folder: Path, kspace) -> Path:
    positions = np.array([[0.0, 0, 0], [0, 0, -6]])
    path = write_mrd(folder / f"{WORD}file.h5", kspace, None, (2.0, 3.0), FRAMES["axial"], positions)
    with h5py.File(path, "a") as file:
        del file["dataset/xml"]
        file.create_dataset("dataset/xml", (1,), h5py.string_dtype())
        file["dataset/xml"][0] = with_texts(header_xml(kspace, kspace.shape[-2:], (2.0, 3.0)))
        file["dataset"].attrs["note"] = f"{WORD}31"
        file[f"dataset/{WORD}33"] = f"{WORD}34"
    return path


def radial(folder: Path, kspace) -> Path:
    """The texts of `mrd` in a stack of spokes: two partitions of a blob, seen by as many coils."""
    ismrmrd = pytest.importorskip("ismrmrd")
    coils, readout, spokes = kspace.shape[1:]
    xml = header_xml(kspace, (readout, readout), (2.0, 2.0)).replace("cartesian", "radial")
    path = folder / f"{WORD}file.h5"
    file = ismrmrd.Dataset(str(path))
    file.write_xml_header(with_texts(xml))
    r, rng = (np.arange(readout) - readout // 2) / readout, np.random.default_rng(0)
    for spoke in range(spokes):
        angle = np.pi * spoke / spokes
        points = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1).astype(np.float32)
        for partition in range(2):
            rows = (
                np.exp(-((r * 8) ** 2)) * np.exp(1j * np.arange(coils))[:, None]
                + 0.01 * (rng.standard_normal((2, coils, readout)).T @ [1, 1j]).T
            )
            one = ismrmrd.Acquisition.from_array(rows.astype(np.complex64), points)
            one.idx.kspace_encode_step_1, one.idx.kspace_encode_step_2 = spoke, partition
            one.position[:] = (0, 0, -6)
            one.read_dir[:], one.phase_dir[:], one.slice_dir[:] = FRAMES["axial"]
            file.append_acquisition(one)
    file.close()
    return path


def twix(folder: Path, kspace) -> Path:
    """Texts of Siemens' protocol, and the patient's name in the list of measurements."""
    positions = np.array([[0.0, 0, 0], [0, 0, -6]])
    names = (
        "tPatientName",
        "PatientID",
        "InstitutionName",
        "ReferringPhysician",
        "SeriesLOID",
        "tFrameOfReference",
    )
    lines = [f'<ParamString."{name}"> {{ "{WORD}{i}" }}' for i, name in enumerate(names)]
    lines += [
        '<ParamString."PatientBirthDay"> { "19711213" }',
        '<ParamDouble."flUsedPatientWeight"> { 71.2345 }',
    ]
    lines += ['<ParamString."StudyDate"> { "1999-08-17" }', '<ParamString."StudyTime"> { "13:57:11" }']
    more = f'tSequenceFileName\t = \t"{WORD}40"\nsPatPosition.t\t = \t"{WORD}41"\n'
    more += "sWipMemBlock.alFree[0]\t = \t424242\n"
    sizes = {"factor": 1.0, "pixel_mm": (2.0, 3.0), "positions": positions}
    texts = protocol(48, 40, **sizes, name=f"{WORD}42", more=more, texts="\n".join(lines))
    texts["Dicom"] = texts["Meas"].replace("HEAD", f"{WORD}43").replace("HFS", f"{WORD}44")
    read, phase, _ = FRAMES["axial"]
    rows = readouts_of(kspace.conj(), (read, phase, np.cross(phase, read)), positions)
    path = write_twix(folder / f"{WORD}file.dat", [(texts, rows)])
    data = bytearray(path.read_bytes())
    data[32:96] = f"{WORD}^A".encode().ljust(64, b"\0")
    path.write_bytes(data)
    return path


def texts_of(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


@pytest.mark.parametrize("raw", [fastmri, mrd, twix, radial])
def test_no_text_of_the_raw_file_is_anywhere(tmp_path, caplog, raw):
    path = raw(tmp_path, coil_kspace(np.stack([letter_f((48, 40))] * 2)))
    assert all(trace.encode() in path.read_bytes() for trace in (WORD, "1999-08-17", "424242"))
    caplog.set_level(logging.DEBUG)
    method = ["--method", "zero_filled", "--no-cache"]
    commands = [
        ["recon", str(path), *method, "--dicom", "--out", str(tmp_path / "result")],
        ["export", str(tmp_path / "result"), "--dicom", "--enhanced", "--nifti", "--bids", "--suffix", "T2w",
         "--out", str(tmp_path / "export")],
        ["batch", str(path), *method, "--dicom", "--out", str(tmp_path / "batch")],
    ]  # fmt: skip
    said = ""
    for command in commands:
        result = CliRunner().invoke(main.app, command)
        assert result.exit_code == 0, result.output
        said += result.output + result.stderr
    # The file's name is the user's own, and only the run record, the manifest and the terminal repeat it.
    name = path.stem
    said = (said + caplog.text).replace(str(path), "").replace(name, "")
    assert [trace for trace in TRACES if trace in said] == []
    found, named = [], set()
    for file in sorted(p for folder in ("result", "export", "batch") for p in (tmp_path / folder).rglob("*")):
        if file.is_file():
            content = texts_of(file)
            named |= {file.name} if name.encode() in content else set()
            content = content.replace(name.encode(), b"")
            # Dates are looked for where they would be text: pixels hold any bytes.
            pixels = file.suffix in (".dcm", ".gz", ".png", ".h5")
            found += [(file.name, t) for t in ((WORD,) if pixels else TRACES) if t.encode() in content]
    assert found == []
    assert named <= {"record.json", "manifest.jsonl", "SHA256SUMS"}
    for file in sorted(tmp_path.rglob("*.dcm")):
        one = pydicom.dcmread(file)
        one.walk(lambda _, e: None if e.tag == 0x7FE00010 else _silent(e))


@pytest.mark.parametrize("raw", [fastmri, mrd, twix])
def test_no_text_of_the_raw_file_is_in_a_page_a_study_or_the_list_of_a_push(tmp_path, caplog, raw):
    path = raw(tmp_path, coil_kspace(np.stack([letter_f((48, 40))] * 2)))
    caplog.set_level(logging.DEBUG)
    mask = ["--mask", "random", "--accel", "2", "--calibration", "10"]
    # Named by the user, who is told to: folders are given names, and the key and the terminal repeat them.
    results, page, study = tmp_path / "results", tmp_path / "page.html", tmp_path / "study"
    commands = [
        ["recon", str(path), *mask, "--method", "sense", "--param", "max_iter=2", "--no-cache", "--dicom",
         "--out", str(results / "one")],
        ["view", str(results / "one"), "--no-open", "--out", str(page)],
        ["view", str(results / "one"), "--no-open", "--names", "--out", str(tmp_path / "named.html")],
        ["review", str(results), "--blinded", "--reference", "--out", str(study)],
    ]  # fmt: skip
    said = "".join(_said(command) for command in commands) + _pushed(results / "one")
    assert [t for t in TRACES if t in (said + caplog.text).replace(str(path), "")] == []
    written = [page, tmp_path / "named.html", results / "one.push.jsonl"]
    written += [p for p in study.rglob("*") if p.is_file()]
    assert len(written) == 6
    for file in written:
        text = file.read_text(encoding="utf-8")
        # Volumes are base64, programs and licences are the same in every page.
        text = re.sub(r'id="volume-\d+">[^<]*|<script>.*?</script>|<!--.*?-->', "", text, flags=re.DOTALL)
        assert [trace for trace in TRACES if trace in text] == [], file.name
        assert path.stem not in text, file.name


def _said(command: list[str]) -> str:
    result = CliRunner().invoke(main.app, command)
    assert result.exit_code == 0, result.output
    return result.output + result.stderr


def _pushed(folder: Path) -> str:
    """Push to a server in this process that takes everything; return what the command says."""
    pynetdicom = pytest.importorskip("pynetdicom", reason="no pynetdicom: pip install '.[clinical]'")
    entity = pynetdicom.AE("PACS")
    for file in sorted(folder.rglob("*.dcm")):
        entity.add_supported_context(pydicom.dcmread(file).SOPClassUID, ["1.2.840.10008.1.2.1"])
    taken = [(pynetdicom.evt.EVT_C_STORE, lambda _: 0)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=taken)
    try:
        return _said(["push", str(folder), "--to", f"PACS@127.0.0.1:{server.socket.getsockname()[1]}"])
    finally:
        server.shutdown()


def _silent(element) -> None:
    if element.VR not in ("SQ", "OW", "OF"):
        assert not [trace for trace in TRACES if trace in str(element.value)], element


def test_a_name_in_a_damaged_result_gets_no_further(tmp_path):
    """Texts of recon.h5 pass only where they are terms that raw data are read for."""
    from exported import make_header, random_volumes, write_result

    from mrunfold.errors import InputError
    from mrunfold.export import header_facts, open_reconstruction

    header = make_header((12, 9), 1)
    facts = header_facts(header, [0])
    for change in (
        {"contrast": {"body_part": WORD}},
        {"contrast": {"patient_name": WORD}},
        {"acquisition": WORD},
        {"patient": WORD},
        {WORD: 1},
    ):
        path = write_result(tmp_path / "recon.h5", header, random_volumes(header), header=facts | change)
        with pytest.raises(InputError, match="'header' is damaged") as caught, open_reconstruction(path):
            pass
        assert WORD not in str(caught.value)
