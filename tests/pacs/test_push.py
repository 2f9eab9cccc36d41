"""Pushing by C-STORE to servers of pynetdicom's in this process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from dicomfiles import MAP, MR, SC, server_context, write_dicom, write_series
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.pacs import find_instances, ledger_path, parse_peer, parse_url, push
from mrunfold.pacs.peer import Tls

pynetdicom = pytest.importorskip(
    "pynetdicom", reason="pynetdicom is not installed: pip install '.[clinical]'"
)


FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve, FIND


WELL_KNOWN = "1.2.840.10008.1.20.1.1"
COMMITS = "1.2.840.10008.1.20.1"  # Storage Commitment Push Model


class Pacs:
    """An application entity that keeps what it gets; `fail(n)` decides the n-th store, None is success.

    commits: how it answers for storage commitment: on the connection that asked ("same"), on one of its own
    to this port (a number), never ("silent"), with a status (a hexadecimal text), by "abort"; None: it offers
    none.
    """

    def __init__(
        self, fail=lambda n: None, takes=(MR, SC, MAP), tls=None, title="PACS", finds=True, commits=None
    ):
        self.stored, self.calls, self.associations = {}, 0, 0
        entity = pynetdicom.AE(title)
        entity.require_called_aet = True
        for sop_class in takes:
            entity.add_supported_context(sop_class, ["1.2.840.10008.1.2.1"])

        def on_store(event):
            number, self.calls = self.calls, self.calls + 1
            outcome = fail(number)
            if outcome == "die":
                event.assoc.abort()
                return 0xC000
            if outcome is not None and not 0xB000 <= outcome < 0xB100:
                return outcome
            data = event.dataset
            data.file_meta = event.file_meta
            self.stored.setdefault(str(data.SOPInstanceUID), []).append(data)
            return outcome or 0

        def on_accept(event):
            self.associations += 1

        def on_find(event):
            from pydicom.dataset import Dataset

            for copies in list(self.stored.values()):
                if event.identifier.SeriesInstanceUID == copies[0].SeriesInstanceUID:
                    answer = Dataset()
                    answer.SOPInstanceUID = copies[0].SOPInstanceUID
                    yield 0xFF00, answer

        def on_action(event):
            wanted = event.action_information
            answer = self.commits_to(wanted)
            kind = 2 if "FailedSOPSequence" in answer else 1
            if commits == "abort":
                event.assoc.abort()
            if commits == "same":
                threading.Timer(
                    0.2, event.assoc.send_n_event_report, (answer, kind, COMMITS, WELL_KNOWN)
                ).start()
            elif isinstance(commits, int):
                threading.Timer(0.2, self.call_back, (commits, answer, kind)).start()
            return int(commits, 16) if str(commits).startswith("0x") else 0, None

        if commits is not None:
            entity.add_supported_context(COMMITS)
        if finds:
            entity.add_supported_context(FIND)
        handlers = [(pynetdicom.evt.EVT_C_STORE, on_store), (pynetdicom.evt.EVT_ACCEPTED, on_accept)]
        handlers += [(pynetdicom.evt.EVT_C_FIND, on_find), (pynetdicom.evt.EVT_N_ACTION, on_action)]
        self.server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls
        )
        self.to = f"{title}@127.0.0.1:{self.server.socket.getsockname()[1]}"

    def commits_to(self, wanted):
        """The answer to a request: what it holds it commits to, the rest it does not hold."""
        from pydicom.dataset import Dataset

        answer = Dataset()
        answer.TransactionUID = wanted.TransactionUID
        there = [i for i in wanted.ReferencedSOPSequence if i.ReferencedSOPInstanceUID in self.stored]
        gone = [i for i in wanted.ReferencedSOPSequence if i.ReferencedSOPInstanceUID not in self.stored]
        for item in gone:
            item.FailureReason = 0x0112
        if there:
            answer.ReferencedSOPSequence = there
        if gone:
            answer.FailedSOPSequence = gone
        return answer

    def call_back(self, port, answer, kind):
        entity = pynetdicom.AE("PACS")
        entity.add_requested_context(COMMITS)
        role = pynetdicom.build_role(COMMITS, scp_role=True)
        association = entity.associate("127.0.0.1", port, ae_title="MRUNFOLD", ext_neg=[role])
        assert association.is_established
        other = type(answer)()
        other.TransactionUID = "2.25.1"  # of somebody else: it is none of ours
        self.to_others = association.send_n_event_report(other, 1, COMMITS, WELL_KNOWN)[0].Status
        self.called_back = association.send_n_event_report(answer, kind, COMMITS, WELL_KNOWN)[0].Status
        association.release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(folder, to, **options):
    return push(folder, parse_peer(to), pause=0, timeout=5, sleep=lambda _: None, **options)


def test_datasets_and_pixels_arrive_as_they_are(tmp_path):
    import pydicom

    folder = write_series(tmp_path / "series", 8)
    with Pacs() as pacs:
        done = run(folder, pacs.to)
        assert (done.sent, done.before) == (8, 0)
        assert pacs.associations == 1
        for path in folder.glob("*.dcm"):
            sent = pydicom.dcmread(path)
            (got,) = pacs.stored[str(sent.SOPInstanceUID)]
            assert got == sent
            pixels = (d.get("PixelData") or d.FloatPixelData for d in (sent, got))
            assert len(set(pixels)) == 1


def test_a_second_push_sends_nothing_and_a_resend_is_harmless(tmp_path):
    folder = write_series(tmp_path / "series")
    with Pacs() as pacs:
        run(folder, pacs.to)
        again = run(folder, pacs.to)
        assert (again.sent, again.before, pacs.calls) == (0, 6, 6)
        ledger_path(folder).unlink()
        assert run(folder, pacs.to).sent == 6
        assert len(pacs.stored) == 6


def test_another_destination_gets_everything(tmp_path):
    folder = write_series(tmp_path / "series")
    with Pacs() as one, Pacs() as other:
        run(folder, one.to)
        assert run(folder, other.to).sent == 6


def test_a_pacs_that_dies_in_the_middle_is_tried_again(tmp_path):
    folder = write_series(tmp_path / "series", 8)
    pauses = []
    with Pacs(lambda n: "die" if n in (3, 4) else None) as pacs:
        done = push(folder, parse_peer(pacs.to), pause=1, timeout=5, sleep=pauses.append)
    assert done.sent == 8
    assert pacs.associations == 3
    assert pauses == [1, 1]  # after something new, and after nothing
    assert {uid: len(got) for uid, got in pacs.stored.items()} == {f"2.25.{1000 + n}": 1 for n in range(8)}


def test_a_push_that_gave_up_goes_on_where_it_was(tmp_path):
    folder = write_series(tmp_path / "series", 8)
    pauses = []
    with Pacs(lambda n: "die" if n >= 5 else None) as pacs:
        with pytest.raises(InputError, match=r"5 of 8 files are stored.*run the same command again"):
            push(folder, parse_peer(pacs.to), retries=3, pause=1, timeout=5, sleep=pauses.append)
        assert pauses == [1, 1, 2, 4]
    with Pacs() as pacs_again:
        ledger = ledger_path(folder)
        ledger.write_text(ledger.read_text().replace(pacs.to, pacs_again.to))  # the same one, come back
        done = run(folder, pacs_again.to)
    assert (done.sent, done.before) == (3, 5)
    assert not set(pacs.stored) & set(pacs_again.stored)
    assert len({*pacs.stored, *pacs_again.stored}) == 8


def test_a_push_that_is_killed_goes_on(tmp_path):
    folder = write_series(tmp_path / "series", 8)
    ledger = ledger_path(folder)
    gate = threading.Event()
    with Pacs(lambda n: None if n < 3 else gate.wait(20) and None) as pacs:
        code = "from mrunfold.cli.main import run; run()"
        command = [sys.executable, "-c", code, "push", str(folder), "--to", pacs.to]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not ledger.exists() or ledger.read_bytes().count(b"\n") < 3:
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
        gate.set()
        done = run(folder, pacs.to)
        assert (done.before, done.sent) == (3, 5)
        assert sorted(pacs.stored) == [f"2.25.{1000 + n}" for n in range(8)]
        # Only the one that was on its way may have come twice, and it is the same.
        twice = [got for got in pacs.stored.values() if len(got) > 1]
        assert all(len(got) == 2 and got[0] == got[1] for got in twice)
        assert len(twice) <= 1


def test_a_full_pacs_is_tried_again_and_a_refused_file_is_not(tmp_path):
    folder = write_series(tmp_path / "series")
    with Pacs(lambda n: 0xA700 if n == 1 else None) as pacs:
        assert run(folder, pacs.to).sent == 6
        assert len(pacs.stored) == 6
    ledger_path(folder).unlink()
    with Pacs(lambda n: 0xC123 if n == 2 else None) as pacs:
        with pytest.raises(InputError, match=r"refused 1 of 6 files.*0xC123.*the others are stored"):
            run(folder, pacs.to)
        assert (pacs.calls, len(pacs.stored)) == (6, 5)
        assert run(folder, pacs.to).sent == 1  # the refused one, and no other


def test_remarks_are_passed_on(tmp_path):
    folder = write_series(tmp_path / "series", 2)
    with Pacs(lambda n: 0xB000) as pacs:
        assert run(folder, pacs.to).notes == ("stored, but some attributes were coerced",)


def test_what_the_pacs_does_not_take_is_named(tmp_path):
    folder = write_series(tmp_path / "series", 4)
    with Pacs(takes=(MR, SC)) as pacs:
        for sent in (3, 0):  # it is finished, now and later
            done = run(folder, pacs.to)
            ((reason, count),) = done.refused
            assert "takes no Parametric Map Storage" in reason
            assert (count, done.sent, len(pacs.stored)) == (1, sent, 3)


def test_a_wrong_title_is_said_at_once(tmp_path):
    folder = write_series(tmp_path / "series", 1)
    with Pacs() as pacs, pytest.raises(InputError, match=r"rejects the association.*'OTHER'.*'MRUNFOLD'"):
        push(folder, parse_peer(pacs.to.replace("PACS", "OTHER")), sleep=pytest.fail)


def test_nobody_there(tmp_path):
    folder = write_series(tmp_path / "series", 1)
    result = CliRunner().invoke(
        main.app, ["push", str(folder), "--to", f"A@127.0.0.1:{free_port()}", "--retries", "0"]
    )
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "0 of 1 files are stored" in result.stderr


def test_tls(tmp_path, certificate):
    folder = write_series(tmp_path / "series", 2)
    with Pacs(tls=server_context(certificate)) as pacs:
        tls = Tls(certificate[0])
        assert push(folder, parse_peer(pacs.to, tls=tls), timeout=5).sent == 2
        ledger_path(folder).unlink()
        with pytest.raises(InputError, match=r"certificate is not trusted.*`ca`"):  # none of the system's
            push(folder, parse_peer(pacs.to, tls=Tls()), sleep=pytest.fail, timeout=5)
        assert len(pacs.stored) == 2


def test_a_port_that_speaks_no_tls_is_said(tmp_path, certificate):
    folder = write_series(tmp_path / "series", 1)
    with Pacs() as pacs, pytest.raises(InputError, match=r"TLS failed|no answer|ended the connection"):
        push(folder, parse_peer(pacs.to, tls=Tls(certificate[0])), retries=0, timeout=2)


# --- files, lists, options ---


def test_damaged_files_are_found_before_anything_is_sent(tmp_path):
    folder = write_series(tmp_path / "series", 3)
    path = folder / "001.dcm"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    with Pacs() as pacs:
        for length in [200, len(whole) // 2, len(whole) - 1, *rng.integers(133, len(whole), 20)]:
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match=r"damaged|same SOP"):
                run(folder, pacs.to)
        assert pacs.calls == 0


def test_flipped_bits_are_refused_or_pushed_and_nothing_else(tmp_path):
    path = write_dicom(tmp_path / "one.dcm", "2.25.1")
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.integers(132, len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            (instance,) = find_instances(path)
        except InputError:
            continue
        assert instance.path == path


def test_two_contents_under_one_uid(tmp_path):
    folder = write_series(tmp_path / "series", 2)
    write_dicom(folder / "other.dcm", "2.25.1000", seed=9)
    with pytest.raises(InputError, match=r"same SOP Instance UID"):
        find_instances(folder)
    (folder / "other.dcm").write_bytes((folder / "000.dcm").read_bytes())
    assert len(find_instances(folder)) == 2


def test_a_file_that_changed_under_its_uid_is_not_lost(tmp_path):
    folder = write_series(tmp_path / "series", 2)
    with Pacs() as pacs:
        run(folder, pacs.to)
        write_dicom(folder / "000.dcm", "2.25.1000", seed=9)
        with pytest.raises(InputError, match=r"has changed since it was sent"):
            run(folder, pacs.to)


def test_a_torn_last_line_is_cut_and_any_other_is_an_error(tmp_path):
    folder = write_series(tmp_path / "series", 3)
    with Pacs() as pacs:
        run(folder, pacs.to)
        ledger = ledger_path(folder)
        lines = ledger.read_bytes()
        ledger.write_bytes(lines[:-20])
        assert run(folder, pacs.to).sent == 1
        assert ledger.read_bytes() == lines
        ledger.write_bytes(b"{\n" + lines)
        with pytest.raises(InputError, match=r"line 1 is not readable"):
            run(folder, pacs.to)


def test_the_list_holds_nothing_of_a_patient(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    path = write_dicom(folder / "CANARY.dcm", "2.25.7")
    path.write_bytes(path.read_bytes().replace(b"unknown", b"CANARYX"))
    with Pacs() as pacs:
        run(folder, pacs.to)
    assert "CANARY" not in ledger_path(folder).read_text()
    assert set(json.loads(ledger_path(folder).read_text())) == {"to", "uid", "sha256"}


@pytest.mark.parametrize(
    "text", ["PACS", "PACS@host", "PACS@host:0", "@h:1", "A\\B@h:1", "A@:1", "A@h:99999"]
)
def test_a_peer_that_is_none(text):
    with pytest.raises(InputError, match=r"AET@host:port|title"):
        parse_peer(text)


@pytest.mark.parametrize(
    "text", ["host/dicom-web", "ftp://h", "http://u:p@h/x", "http://h/x?a=b", "http://h:x/"]
)
def test_a_url_that_is_none(text):
    with pytest.raises(InputError, match=r"`dicomweb`"):
        parse_url(text)


def test_names_of_peers():
    assert parse_peer("A B@[::1]:104").host == "::1"
    assert not parse_peer("A@localhost:104").open_to_others
    assert parse_peer("A@pacs.example:104").open_to_others
    assert not parse_peer("A@pacs.example:104", tls=Tls()).open_to_others
    assert parse_url("http://pacs.example/x").open_to_others


@pytest.mark.parametrize(
    "arguments", [[], ["--to", "A@h:1", "--dicomweb", "http://h"], ["--to", "A@h:1", "--cert", "x"]]
)
def test_options_that_do_not_go_together(tmp_path, arguments):
    assert CliRunner().invoke(main.app, ["push", str(tmp_path), *arguments]).exit_code == 2
    assert isinstance(CliRunner().invoke(main.app, ["push", "x", *arguments]).exception, SystemExit)
