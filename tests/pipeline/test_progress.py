"""Lines of progress where no bar can be drawn: seldom, with the time that is left."""

from __future__ import annotations

import io

from mrunfold.pipeline.progress import ProgressLines, progress_lines


def lines_of(seconds_each: float, total: int) -> list[str]:
    """What a run prints whose slices take so long, by a clock of its own."""
    now, stream = [0.0], io.StringIO()
    lines = ProgressLines(stream, clock=lambda: now[0])
    for done in range(total + 1):
        lines(done, total)
        now[0] += seconds_each
    return stream.getvalue().splitlines()


def test_short_work_prints_nothing():
    assert lines_of(0.1, 15) == []


def test_long_work_says_what_is_left():
    lines = lines_of(10.0, 30)
    assert lines[0] == "slice 2 of 30, 10.0 s each, 0:04:50 left"
    assert 5 <= len(lines) < 30
    assert all("left" in line for line in lines)


def test_many_slices_print_few_lines():
    assert len(lines_of(1.0, 1000)) < 30


def test_quiet_prints_nothing(capsys):
    with progress_lines(quiet=True) as lines:
        lines(1, 2)
    assert capsys.readouterr().err == ""
