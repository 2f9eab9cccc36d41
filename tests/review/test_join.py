"""Readers' files and the key: one table, or one line that says which file is not as the page saved it."""

from __future__ import annotations

import csv
import itertools
import json

import numpy as np
import pytest
from reviewed import phantom, write_result
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.review.join import join_ratings
from mrunfold.review.study import write_study

QUESTIONS = ("Sharpness", 'Noise, "grain"')
COMMENT = 'dark, "ringing";\nä'
METHODS = ("unfold", "sense", "tv")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("join")
    for number, method in enumerate(METHODS):
        volume = phantom(1, (24, 20), number)["reconstruction"]
        write_result(folder / "in" / method, {"reconstruction": volume}, method)
    return write_study(folder / "in", folder / "out", seed=2, questions=QUESTIONS)


def key_of(study) -> list[dict[str, str]]:
    with open(study.key, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def saved(study, reader: str, ratings: dict[str, tuple[str, str]], comment=COMMENT, seconds="12.5") -> str:
    """What study.js saves: every field in quotes, CRLF, a row a case in the order shown to this reader."""
    name = json.loads((study.key.parent / "study.json").read_text())["study"]
    rows = [["study", "reader", "position", "case", *QUESTIONS, "preference", "comment", "seconds"]]
    order = np.random.default_rng(len(reader) + ord(reader[-1])).permutation(len(key_of(study)))
    for position, number in enumerate(order, start=1):
        row = key_of(study)[number]
        given = ratings[row["method"]]
        rows.append([name, reader, str(position), row["case"], *given, "", comment, seconds])
    quoted = [",".join('"' + v.replace('"', '""') + '"' for v in row) for row in rows]
    return "\r\n".join(quoted) + "\r\n"


ONE = {"unfold": ("5", "4"), "sense": ("1", ""), "tv": ("2", "3")}
TWO = {"unfold": ("4", "4"), "sense": ("2", "1"), "tv": ("3", "3")}


def write(path, text: str):
    path.write_bytes(text.encode())
    return path


def table(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_rating_stands_beside_the_method_it_was_for(study, tmp_path):
    files = [write(tmp_path / f"{r}.csv", saved(study, r, v)) for r, v in (("R-1", ONE), ("R-2", TWO))]
    done = join_ratings(study.key.parent, files, tmp_path / "all.csv")
    assert (done.rows, done.readers, done.open) == (6, ("R-1", "R-2"), 1)
    rows = table(tmp_path / "all.csv")
    found = {(r["reader"], r["method"]): tuple(r[q] for q in QUESTIONS) for r in rows}
    assert found == {(n, m): v[m] for (n, v), m in itertools.product((("R-1", ONE), ("R-2", TWO)), METHODS)}
    for row in rows:
        assert row["result"] == f"{row['method']}/recon.h5"
        assert (row["comment"], row["seconds"], row["stack"]) == (COMMENT, "12.5", "1")
        assert len(row["result_sha256"]) == 64


def test_the_command(study, tmp_path):
    for package in ("statsmodels", "pingouin"):
        pytest.importorskip(package, reason="agreement needs mrunfold[study]")
    one = write(tmp_path / "one.csv", "\ufeff" + saved(study, "R-1", ONE))  # as some spreadsheets begin files
    out = tmp_path / "t.csv"
    command = ["review", "--join", str(study.key), str(one), "--out", str(out)]
    done = CliRunner().invoke(main.app, command)
    assert done.exit_code == 0, done.output
    assert "3 rows of 1 readers" in done.stdout
    assert "1 ratings were left open" in done.stdout
    assert len(table(out)) == 3
    lines = table(tmp_path / "t.agreement.csv")
    assert {"difference of methods", "seconds a case"} <= {line["measure"] for line in lines}
    assert "not for diagnosis" in (tmp_path / "t.agreement.html").read_text()
    assert CliRunner().invoke(main.app, command).exit_code == 2  # not replaced by chance
    assert CliRunner().invoke(main.app, [*command, "--overwrite"]).exit_code == 0
    beside = CliRunner().invoke(main.app, ["review", "--join", str(study.key.parent), str(one)])
    assert beside.exit_code == 0
    for path in study.key.parent.glob("ratings*"):
        path.unlink()
    for wrong in (["--blinded"], ["--seed", "3"], ["--question", "Q"], ["--pairs"], ["--repeat", "1"]):
        assert CliRunner().invoke(main.app, [*command, "--overwrite", *wrong]).exit_code == 2


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"R-1"', '"R-2"', "more than one reader"),
        ('"5"', '"6"', "'Sharpness' is not 1 to 5"),
        ('"5"', '"5.0"', "'Sharpness' is not 1 to 5"),
        ('"12.5"', '"nan"', "seconds"),
        ('"12.5"', '"-1"', "seconds"),
        ('"Sharpness"', '"Noise"', "columns of study"),
        (",", ";", "columns of study|no readable CSV"),
        ('"5"', '"5', "no readable CSV"),
        ('"5",', "", "rows differ in length"),
    ],
)
def test_a_file_that_was_changed_is_refused(study, tmp_path, old, new, reason):
    text = saved(study, "R-1", ONE)
    path = write(tmp_path / "one.csv", text.replace(old, new) if old == "," else text.replace(old, new, 1))
    with pytest.raises(InputError, match=reason) as caught:
        join_ratings(study.key.parent, [path], tmp_path / "all.csv")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["one.csv"]


def test_other_studies_and_second_files_are_refused(study, tmp_path):
    text = saved(study, "R-1", ONE)
    one, two = (write(tmp_path / name, text) for name in ("one.csv", "two.csv"))
    with pytest.raises(InputError, match="both of reader R-1"):
        join_ratings(study.key.parent, [one, two], tmp_path / "all.csv")
    code = key_of(study)[0]["case"]
    other = write(tmp_path / "other.csv", text.replace(code, "ZZZZ"))
    with pytest.raises(InputError, match="not in the key"):
        join_ratings(study.key.parent, [other], tmp_path / "all.csv")
    swapped = text.replace('"1","', '"0","', 1)
    with pytest.raises(InputError, match="3 cases once"):
        join_ratings(study.key.parent, [write(tmp_path / "s.csv", swapped)], tmp_path / "all.csv")
    fewer = write(tmp_path / "fewer.csv", "\r\n".join(text.split("\r\n")[:-2]) + "\r\n")
    with pytest.raises(InputError, match="3 cases once"):
        join_ratings(study.key.parent, [fewer], tmp_path / "all.csv")
    with pytest.raises(InputError, match="no key of a study"):
        join_ratings(one, [one], tmp_path / "all.csv")
    with pytest.raises(InputError, match="no such file"):
        join_ratings(tmp_path, [one], tmp_path / "all.csv")
    alone = write(tmp_path / "key.csv", study.key.read_text())
    with pytest.raises(InputError, match=r"study\.json is missing"):
        join_ratings(alone, [one], tmp_path / "all.csv")


@pytest.mark.parametrize(
    ("comment", "seconds", "refused"),
    [(COMMENT, "12.5", True), (COMMENT, "3.0", True), ("", "12.5", True), ("", "3.0", False)],
)
def test_another_readers_answers_are_no_second_opinion(study, tmp_path, comment, seconds, refused):
    """A copy has the same comments, or the same times; readers who only agree have neither."""
    one = write(tmp_path / "one.csv", saved(study, "R-1", ONE, comment))
    two = write(tmp_path / "two.csv", saved(study, "R-2", ONE, comment, seconds))
    if refused:
        with pytest.raises(InputError, match=r"R-1 .* R-2 hold the same answers"):
            join_ratings(study.key.parent, [one, two], tmp_path / "all.csv")
        assert not (tmp_path / "all.csv").exists()
    else:
        assert join_ratings(study.key.parent, [one, two], tmp_path / "all.csv").rows == 6


def test_a_reader_in_other_letters_is_the_same_reader(study, tmp_path):
    one = write(tmp_path / "one.csv", saved(study, "R-a", ONE))
    two = write(tmp_path / "two.csv", saved(study, "r-A", TWO))
    with pytest.raises(InputError, match="both of reader"):
        join_ratings(study.key.parent, [one, two], tmp_path / "all.csv")


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", " =", "\t", "\r"])
def test_no_comment_becomes_a_formula(study, tmp_path, begin):
    comment = begin + 'HYPERLINK("http://x","y")'
    one = write(tmp_path / "one.csv", saved(study, "R-1", ONE, comment))
    join_ratings(study.key.parent, [one], tmp_path / "all.csv")
    assert {row["comment"] for row in table(tmp_path / "all.csv")} == {"'" + comment}


def test_a_question_is_no_formula(study, tmp_path):
    with pytest.raises(InputError, match="formula in a spreadsheet"):
        write_study(study.key.parents[2] / "in", tmp_path / "out", questions=("=1+1",))


def test_damage_never_leaves_half_a_table(study, tmp_path):
    whole = saved(study, "R-1", ONE).encode()
    rng = np.random.default_rng(0)
    for number in range(100):
        data = bytearray(whole)
        if number % 2:
            del data[rng.integers(len(data)) :]
        else:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (tmp_path / "one.csv").write_bytes(data)
        try:
            join_ratings(study.key.parent, [tmp_path / "one.csv"], tmp_path / "all.csv", overwrite=True)
        except InputError:
            continue
        assert len(table(tmp_path / "all.csv")) == 3
    assert {p.name for p in tmp_path.iterdir()} <= {"one.csv", "all.csv"}


def test_a_question_is_no_name_of_a_column(study, tmp_path):
    with pytest.raises(InputError, match="'method' is the name of a column"):
        write_study(study.key.parents[2] / "in", tmp_path / "out", questions=("Sharpness", "method"))
