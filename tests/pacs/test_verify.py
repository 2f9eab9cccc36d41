"""What the PACS holds is asked of the PACS; what it refuses, and rejects, is said and ends well."""

from __future__ import annotations

import json

import pytest
from dicomfiles import MAP, MR, SC, write_dicom, write_series
from test_push import Pacs, run
from test_stow import Service, web
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.export.manifest import check_sums, write_sums
from mrunfold.pacs import ledger_path, parse_peer, push


def test_a_pacs_that_lost_everything_is_asked_and_gets_it_again(tmp_path):
    """The list says that all is stored, and the PACS was emptied: "stored 0 files" was wrong."""
    folder = write_series(tmp_path / "series")
    with Pacs() as pacs:
        run(folder, pacs.to)
        done = run(folder, pacs.to)
        assert (done.sent, done.before, done.asked) == (0, 6, True)
        pacs.stored.clear()
        done = run(folder, pacs.to)
        assert (done.sent, done.before, len(pacs.stored)) == (6, 0, 6)
        assert "6 files that the list names were not there" in done.notes[0]
        del pacs.stored["2.25.1002"]
        assert run(folder, pacs.to).sent == 1


def test_one_that_cannot_be_asked_is_said(tmp_path):
    folder = write_series(tmp_path / "series", 2)
    with Pacs(finds=False) as pacs:
        run(folder, pacs.to)
        done = run(folder, pacs.to)
        assert (done.sent, done.before, done.asked) == (0, 2, False)
        assert "only the list says" in done.notes[0]
        with pytest.raises(InputError, match=r"cannot be asked.*`verify`"):
            run(folder, pacs.to, verify=True)
        pacs.stored.clear()
        assert run(folder, pacs.to, again=True).sent == 2
        assert len(pacs.stored) == 2


def test_verify_looks_after_sending_too(tmp_path):
    folder = write_series(tmp_path / "series", 3)
    with Pacs() as pacs:
        assert run(folder, pacs.to, verify=True).sent == 3
        pacs.stored = type("Forgets", (dict,), {"setdefault": lambda *_: []})()
        with pytest.raises(InputError, match="confirmed 3 files and does not find them"):
            run(folder, pacs.to, verify=True, again=True)


def test_again_sends_what_the_list_names(tmp_path):
    folder = write_series(tmp_path / "series", 3)
    with Pacs() as pacs:
        run(folder, pacs.to)
        result = CliRunner().invoke(main.app, ["push", str(folder), "--to", pacs.to, "--again"])
        assert result.exit_code == 0, result.output
        assert "stored 3 files;" in result.stdout
        assert pacs.calls == 6


def test_the_command_says_what_was_refused_and_ends_well(tmp_path):
    folder = write_series(tmp_path / "series", 4)
    with Pacs(takes=(MR, SC)) as pacs:
        for said in ("stored 3 files;", "stored 0 files, 3 were there before, as the list says"):
            result = CliRunner().invoke(main.app, ["push", str(folder), "--to", pacs.to])
            assert result.exit_code == 0
            assert result.stderr.startswith("refused: 1 files: it takes no Parametric Map Storage")
            assert said in result.stdout
        result = CliRunner().invoke(main.app, ["push", str(folder), "--to", pacs.to, "--quiet", "--verify"])
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr.startswith("refused: 1 files")


def test_a_pacs_that_takes_nothing_is_no_fault_of_the_network(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    write_dicom(folder / "map.dcm", "2.25.5", MAP)
    with (
        Pacs(takes=(MR,)) as pacs,
        pytest.raises(InputError, match="took nothing: it takes no Parametric Map"),
    ):
        push(folder, parse_peer(pacs.to), timeout=5, sleep=pytest.fail)


def test_a_class_that_is_refused_by_status_is_a_class(tmp_path):
    folder = write_series(tmp_path / "series", 4)
    with Pacs(lambda n: 0x0122 if n == 3 else None) as pacs:
        done = run(folder, pacs.to)
    assert (done.sent, sum(count for _, count in done.refused)) == (3, 1)


@pytest.mark.parametrize(
    ("result", "source", "diagnostic", "tries"), [(1, 1, 1, 1), (1, 1, 7, 1), (2, 1, 1, 1), (2, 3, 2, 3)]
)
def test_a_rejection_is_an_answer(tmp_path, monkeypatch, result, source, diagnostic, tries):
    """It is not tried again, but where the PACS says that it is busy."""
    from pynetdicom.acse import ACSE

    folder = write_series(tmp_path / "series", 1)
    heard = []

    def reject(self, *_):
        heard.append(1)
        self.send_reject(result, source, diagnostic)
        self.assoc.kill()

    pauses = []
    with Pacs() as pacs:
        monkeypatch.setattr(ACSE, "_negotiate_as_acceptor", reject)
        with pytest.raises(InputError, match=r"rejects the association|busy"):
            push(folder, parse_peer(pacs.to), retries=2, timeout=5, sleep=pauses.append)
    assert (len(heard), len(pauses)) == (tries, tries - 1)


def test_a_part_of_an_export_leaves_the_export_as_it_was(tmp_path):
    out = tmp_path / "scan_export"
    folder = write_series(out / "dicom" / "001_reconstruction", 3)
    write_sums(out)
    with Pacs() as pacs:
        for part in (folder, out / "dicom", folder / "000.dcm", out):
            run(part, pacs.to)
            check_sums(out)
            assert ledger_path(part) == tmp_path / "scan_export.push.jsonl"
        assert pacs.calls == 3  # one list: nothing is sent twice
    # What an earlier version left inside is no part of the export.
    (out / "dicom.push.jsonl").write_text(json.dumps({}))
    check_sums(out)
    (out / "other.txt").write_text("x")
    with pytest.raises(InputError, match="not listed"):
        check_sums(out)


def test_qido_is_asked_too(tmp_path):
    folder = write_series(tmp_path / "series", 3)
    with Service() as service:
        web(folder, service.url)
        assert web(folder, service.url).asked
        service.stored.clear()
        done = web(folder, service.url)
        assert (done.sent, len(service.stored)) == (3, 3)
        service.answers = False
        done = web(folder, service.url)
        assert (done.sent, done.asked) == (0, False)
