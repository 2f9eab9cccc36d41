"""A blinded study: what readers get says nothing, and the key says everything."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from pagevolumes import nifti_of
from reviewed import AXIAL, DIGEST, phantom, write_result
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.review.study import write_study

METHODS = ("unfold", "sense", "zero_filled", "l1_wavelet")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "results"
    for number, method in enumerate(METHODS):
        volumes = {n: v for n, v in phantom(3, (24, 20), number).items() if n in ("reconstruction", "target")}
        for scan in range(3):
            changes = {"input_sha256": f"{scan:02d}" * 32, "flags": ["CANARY flag"]}
            write_result(folder / method / f"CANARY_{scan}", volumes, method, frame=AXIAL, **changes)
    return folder


def key_of(study):
    with open(study.key, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def outside_scripts(page: str) -> str:
    """The page without its programs and their licences, which are the same in every page."""
    programs = r'<script>.*?</script>|<script type="text/plain" class="run">.*?</script>'
    return re.sub(rf"{programs}|<style>.*?</style>|<!--.*?-->", "", page, flags=re.S)


def test_the_page_names_nobody_and_nothing(results, tmp_path):
    study = write_study(results, tmp_path / "out", seed=1)
    text = outside_scripts(study.page.read_text(encoding="utf-8"))
    text = (
        re.sub(r'id="(volume-\d+|niivue)">[^<]*', "", text).replace("mrunfold", "").replace("preference", "")
    )
    for word in (*METHODS, "CANARY", "reference", "target", DIGEST[:8], "0101", "seed"):
        assert word.lower() not in text.lower(), word
    data = json.loads(re.search(r'id="page-data">(.*?)</script>', text, re.S)[1])
    for case in data["cases"]:
        assert case["places"] == [[0, 1, 2]]
        assert (case["lps"], case["words"], case["flags"], case["metrics"]) == (None, [], [], [])
    assert [p.name for p in study.page.parent.iterdir()] == ["study.html"]


def test_the_key_leads_from_each_case_to_its_result(results, tmp_path):
    import h5py

    study = write_study(results, tmp_path / "out", seed=1, reference=True)
    text = study.page.read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="page-data">(.*?)</script>', text, re.S)[1])
    key = key_of(study)
    assert len(key) == study.cases == 12 + 3
    assert [row["case"] for row in key] == [case["title"] for case in data["cases"]]
    assert len({row["case"] for row in key}) == 15
    assert sum(row["method"] == "reference" for row in key) == 3
    for n, (row, case) in enumerate(zip(key, data["cases"], strict=True)):
        image = nifti_of(text, case["panels"][0]["volume"], n)
        with h5py.File(results / row["result"]) as file:
            expected = file[row["dataset"]][()]
        shown = image.get_fdata().transpose(2, 1, 0)
        np.testing.assert_allclose(shown, expected / expected.max(), atol=0.51 / 4095)
        assert row["method"] in (*METHODS, "reference")


def test_the_seed_is_kept_and_makes_the_same_study(results, tmp_path):
    one = write_study(results, tmp_path / "one")
    kept = json.loads((one.key.parent / "study.json").read_text())
    assert kept["seed"] == one.seed
    again = write_study(results, tmp_path / "again", seed=one.seed)
    other = write_study(results, tmp_path / "other", seed=one.seed + 1)
    assert again.page.read_bytes() == one.page.read_bytes()
    assert key_of(again) == key_of(one)
    assert [r["result"] for r in key_of(other)] != [r["result"] for r in key_of(one)]
    # Another order of codes too: the same name would join two studies.
    assert {r["case"] for r in key_of(other)} != {r["case"] for r in key_of(one)}


def test_every_order_is_as_likely(results, tmp_path):
    places = []
    for seed in range(12):
        out = tmp_path / str(seed)
        key = key_of(write_study(results / "unfold", out, seed=seed, questions=("Q",)))
        places.append([row["result"] for row in key].index("CANARY_0/recon.h5"))
    assert set(places) == {0, 1, 2}


def test_the_command_says_what_to_give_away_and_what_to_keep(results, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(
        main.app, ["review", str(results), "--blinded", "--out", str(out), "--seed", "3"]
    )
    assert done.exit_code == 0, done.output
    assert f"give to readers: {out}/for_readers/study.html" in done.stdout
    assert "seed 3" in done.stdout
    again = CliRunner().invoke(main.app, ["review", str(results), "--blinded", "--out", str(out)])
    assert again.exit_code == 2  # a key is never overwritten
    assert CliRunner().invoke(main.app, ["review", str(results)]).exit_code == 2


def test_bad_input_leaves_nothing(results, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no results"):
        write_study(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.h5").write_bytes(b"no")
    with pytest.raises(InputError):
        write_study(tmp_path / "bad", tmp_path / "out")
    for questions in ((), ("a", "a"), ("x" * 90,)):
        with pytest.raises(InputError, match="question"):
            write_study(results, tmp_path / "out", questions=questions)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "empty"]


def data_of(study) -> dict:
    text = study.page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="page-data">(.*?)</script>', text, re.S)[1])


def test_repeats_pairs_and_training(results, tmp_path):
    study = write_study(results, tmp_path / "out", seed=4, repeats=3, pairs=True, training=True)
    cases, key = data_of(study)["cases"], key_of(study)
    # 3 scans of 4 methods: one scan aside, 8 scored, 3 of them twice, 6 pairs of each scan.
    kinds = [case["kind"] for case in cases]
    assert kinds == ["training"] * 4 + ["score"] * 11 + ["pair"] * 12
    aside = {row["input_sha256"] for row in key if row["kind"] == "training"}
    assert len(aside) == 1
    assert not [row for row in key if row["kind"] != "training" and row["input_sha256"] in aside]
    assert len({case["title"] for case in cases}) == len(cases)
    for number, case in enumerate(cases):
        mine = [row for row in key if row["case"] == case["title"]]
        if case["after"] is not None:  # the same image under another code, in the page once
            shown = cases[case["after"]]
            (before,) = [row for row in key if row["case"] == shown["title"]]
            assert (mine[0]["result"], mine[0]["repeat_of"]) == (before["result"], shown["title"])
            assert [p["volume"] for p in case["panels"]] == [p["volume"] for p in shown["panels"]]
            assert case["panels"][0]["title"] == f"Case {case['title']}"
        if case["kind"] == "pair":
            assert [row["side"] for row in mine] == ["A", "B"]
            assert mine[0]["input_sha256"] == mine[1]["input_sha256"]
            assert mine[0]["method"] != mine[1]["method"]
            assert len(case["panels"]) == 2
        assert {row["position"] for row in mine} == {str(number + 1)}
    pairs = [tuple(r["method"] for r in key if r["case"] == c["title"]) for c in cases if c["kind"] == "pair"]
    assert pairs != [tuple(sorted(pair)) for pair in pairs]  # sides are drawn


def test_what_cannot_be_planned_is_said(results, tmp_path):
    with pytest.raises(InputError, match="`repeats` 13 is more than the 12"):
        write_study(results, tmp_path / "out", repeats=13)
    with pytest.raises(InputError, match="`pairs` needs two results of one scan"):
        write_study(results / "unfold", tmp_path / "out", pairs=True)
    with pytest.raises(InputError, match="only one; give results of another"):
        write_study(results / "unfold" / "CANARY_0", tmp_path / "out", training=True)
    assert not list(tmp_path.iterdir())
