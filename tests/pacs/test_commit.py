"""Storage commitment: asked for where it is offered, and what is said where there is no answer."""

from __future__ import annotations

import socket

import pytest
from dicomfiles import write_series
from test_push import Pacs, free_port, run
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.pacs import Commitment, parse_peer, push
from mrunfold.pacs.peer import Tls


def test_an_answer_on_the_connection_that_asked(tmp_path):
    folder = write_series(tmp_path / "series", 4)
    with Pacs(commits="same") as pacs:
        assert run(folder, pacs.to).committed == 0  # not asked for without `verify`
        done = run(folder, pacs.to, verify=True)
        assert (done.sent, done.before, done.committed, done.notes) == (0, 4, 4, ())


def test_an_answer_on_a_connection_of_the_pacs(tmp_path):
    folder = write_series(tmp_path / "series", 3)
    port = free_port()
    with Pacs(commits=port) as pacs:
        done = run(folder, pacs.to, verify=True, commitment=Commitment(20, port))
        assert (done.sent, done.committed) == (3, 3)
        assert (pacs.called_back, pacs.to_others) == (0x0000, 0x0110)
    with socket.socket() as s:  # nobody listens any more
        assert s.connect_ex(("127.0.0.1", port))


def test_what_is_not_kept_is_named(tmp_path):
    folder = write_series(tmp_path / "series", 3)

    class Forgetful(Pacs):
        def commits_to(self, wanted):
            del self.stored["2.25.1001"]
            return super().commits_to(wanted)

    with (
        Forgetful(commits="same") as pacs,
        pytest.raises(
            InputError, match=r"not commit to keep 1 of 3 files, the first .*001\.dcm: it does not hold"
        ),
    ):
        run(folder, pacs.to, verify=True)


def test_an_answer_that_names_too_little_commits_to_no_more(tmp_path):
    folder = write_series(tmp_path / "series", 3)

    class Terse(Pacs):
        def commits_to(self, wanted):
            wanted.ReferencedSOPSequence = wanted.ReferencedSOPSequence[:2]
            return super().commits_to(wanted)

    with (
        Terse(commits="same") as pacs,
        pytest.raises(InputError, match=r"keep 1 of 3 .*answer does not name it"),
    ):
        run(folder, pacs.to, verify=True)


@pytest.mark.parametrize(
    ("commits", "said"),
    [
        (None, "it offers none"),
        ("silent", "did not answer within 0.3 s"),
        ("0x0110", "refuses the request"),
        ("abort", "ends the connection"),
    ],
)
def test_without_an_answer_it_is_a_note_or_an_error_where_a_port_was_given(tmp_path, commits, said):
    folder = write_series(tmp_path / "series", 2)
    with Pacs(commits=commits) as pacs:
        done = run(folder, pacs.to, verify=True, commitment=Commitment(0.3))
        assert (done.sent, done.committed) == (2, 0)
        assert said in done.notes[0]
        with pytest.raises(InputError, match=said):
            run(folder, pacs.to, verify=True, commitment=Commitment(0.3, free_port()))


def test_it_can_be_left_out(tmp_path):
    folder = write_series(tmp_path / "series", 2)
    with Pacs(commits="silent") as pacs:
        assert run(folder, pacs.to, verify=True, commitment=Commitment(0)).notes == ()


def test_a_port_that_cannot_be_had_is_said(tmp_path):
    folder = write_series(tmp_path / "series", 1)
    with Pacs(commits="silent") as pacs, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="cannot listen at port"):
            run(folder, pacs.to, verify=True, commitment=Commitment(1, taken.getsockname()[1]))


def test_a_connection_back_is_encrypted_too(tmp_path, certificate):
    from test_push import server_context

    folder = write_series(tmp_path / "series", 1)
    with Pacs(commits="silent", tls=server_context(certificate)) as pacs:
        peer = parse_peer(pacs.to, tls=Tls(certificate[0]))
        with pytest.raises(InputError, match="give `cert` and `key`"):
            push(folder, peer, timeout=5, verify=True, commitment=Commitment(0.3, free_port()))


def test_the_command(tmp_path):
    folder = write_series(tmp_path / "series", 2)
    with Pacs(commits="same") as pacs:
        done = CliRunner().invoke(main.app, ["push", str(folder), "--to", pacs.to, "--verify"])
        assert done.exit_code == 0, done.output
        assert "stored 2 files, 2 are committed to be kept; list:" in done.stdout
    for wrong in (["--to", "A@h:1"], ["--dicomweb", "http://h", "--verify"]):
        done = CliRunner().invoke(main.app, ["push", str(folder), *wrong, "--commitment-port", "9"])
        assert done.exit_code == 2
