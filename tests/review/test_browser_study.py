"""A reading study in a real browser: two readers on one computer, cases again, pairs, practice."""

from __future__ import annotations

import csv
import json
import time

import pytest
from browser import HARMLESS, READY
from reviewed import phantom, write_result

from mrunfold.review.join import join_ratings
from mrunfold.review.study import write_study

pytestmark = pytest.mark.clinical
QUESTIONS = ("Sharpness", 'Noise, "grain"')
COMMENT = '=dark, "ringing"; ä'


def make(folder, scans: int, **options):
    for number, method in enumerate(("unfold", "sense")):
        for scan in range(scans):
            volume = phantom(2, (24, 20), seed=10 * scan + number)["std"]
            changes = {"input_sha256": f"{scan:02d}" * 32}
            write_result(
                folder / "in" / method / f"CANARY_{scan}", {"reconstruction": volume}, method, **changes
            )
    return write_study(folder / "in", folder / "out", seed=5, questions=QUESTIONS, **options)


def text(browser, identifier: str) -> str:
    return browser.run(f"return document.getElementById('{identifier}').textContent")


def enter(browser, code: str, begin: str = "begin") -> None:
    browser.run("document.getElementById('reader').value = ''; document.getElementById('reader').focus()")
    browser.press(*code)
    browser.run("document.getElementById('begin').click()")
    if begin != "begin":
        browser.run(f"document.getElementById('{begin}').click()")
    browser.wait("!document.getElementById('start').open && since > 0 && !window.mrunfold.waiting")


def answer(browser, number: int) -> None:
    """Answer the case in view by keyboard."""
    if browser.run("return isPair(order[place])"):
        browser.run("document.getElementsByName('preference')[0].focus()")
        browser.press(str(1 + number % 5))
    else:
        for question in range(2):
            browser.run(f"document.getElementsByName('q{question}')[0].focus()")
            browser.press(str(1 + (number + question) % 5))
    browser.run("document.activeElement.blur()")


def forward(browser) -> None:
    wanted = min(browser.run("return place") + 1, browser.run("return order.length") - 1)
    browser.press("n")
    browser.wait(f"place === {wanted} && since > 0 && !window.mrunfold.waiting")


def saved(browser, downloads, study, reader: str):
    browser.run("document.getElementById('save').click()")
    path = (
        downloads / f"study-{json.loads((study.key.parent / 'study.json').read_text())['study']}-{reader}.csv"
    )
    for _ in range(100):
        if path.exists():
            break
        time.sleep(0.1)
    with open(path, encoding="utf-8", newline="") as file:
        return path, list(csv.DictReader(file))


def test_two_readers_share_a_computer_and_nothing_else(browser, downloads, tmp_path):
    study = make(tmp_path, 3)
    browser.requests()
    browser.console()
    browser.open(study.page, READY)
    browser.run("document.getElementById('begin').click()")
    assert "Give your reader code" in text(browser, "start-note")
    enter(browser, "R-7")
    orders = [browser.run("return order")]
    for number in range(6):
        if number != 1:  # the second case is left open
            answer(browser, number)
            browser.run("document.getElementById('comment').focus()")
            browser.press(*COMMENT)
            browser.run("document.activeElement.blur()")
        forward(browser)
    one, rows = saved(browser, downloads, study, "R-7")
    assert [r["position"] for r in rows] == [str(n) for n in range(1, 7)]
    assert {r["reader"] for r in rows} == {"R-7"}
    assert [(r["Sharpness"], r["comment"]) for r in rows[:3]] == [
        ("1", "'" + COMMENT),
        ("", ""),
        ("3", "'" + COMMENT),
    ]
    assert all(float(r["seconds"]) > 0 for r in rows)
    # The next reader comes to the same page, or opens it anew: no answer, no code, another order.
    for again in ("leave", "open"):
        if again == "leave":
            browser.run("document.getElementById('leave').click()")
        else:
            browser.open(study.page, READY)
        assert browser.run("return document.getElementById('start').open")
        assert browser.run("return document.getElementById('reader').value") == ""
        assert browser.run("return document.querySelectorAll('#form input:checked').length") == 0
        assert browser.run("return document.getElementById('comment').value") == ""
    enter(browser, "R-8")
    assert browser.run("return answers.every((a) => !a.comment && a.ratings.every((v) => v === ''))")
    assert "0 of 6 cases" in text(browser, "progress")
    orders.append(browser.run("return order"))
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]
    answer(browser, 2)
    two, rows = saved(browser, downloads, study, "R-8")
    assert [r["Sharpness"] for r in rows] == ["3", *[""] * 5]
    assert {r["comment"] for r in rows} == {""}
    done = join_ratings(study.key.parent, [one, two], tmp_path / "all.csv")
    assert (done.rows, done.open) == (12, 2 + 10)
    # A reader who comes back says so, and finds his answers in his order.
    browser.open(study.page, READY)
    enter(browser, "R-7", "continue")
    assert "5 of 6 cases" in text(browser, "progress")
    assert browser.run("return order") == orders[0]
    assert [m for m in browser.console() if HARMLESS not in m] == []
    assert not [u for u in browser.requests() if not u.startswith(("file:", "data:", "blob:"))]


def test_practice_scores_cases_again_and_pairs(browser, downloads, tmp_path):
    study = make(tmp_path, 3, repeats=2, pairs=True, training=True)
    browser.open(study.page, READY)
    enter(browser, "R-1")
    kinds = browser.run("return order.map((i) => page.cases[i].kind)")
    assert kinds == ["training"] * 2 + ["score"] * 6 + ["pair"] * 2
    later = browser.run(
        "return order.every((i, p) => page.cases[i].after === null || order.indexOf(page.cases[i].after) < p)"
    )
    assert later
    assert "To practise" in text(browser, "case-kind")
    for number in range(10):
        pair = browser.run("return isPair(order[place])")
        assert browser.run("return window.mrunfold.panels.length") == (2 if pair else 1)
        assert browser.run("return document.getElementById('questions').hidden") is pair
        answer(browser, number)
        forward(browser)
    assert "10 of 10" in text(browser, "progress")
    path, rows = saved(browser, downloads, study, "R-1")
    assert [bool(r["preference"]) for r in rows] == [False] * 8 + [True] * 2
    done = join_ratings(study.key.parent, [path], tmp_path / "all.csv")
    assert (done.rows, done.open) == (10, 0)
    # Orders differ from reader to reader, and what is shown again is never next to itself.
    orders = browser.run("return [...Array(40).keys()].map((n) => orderOf(`X${n}`))")
    after = browser.run("return page.cases.map((c) => c.after)")
    assert len({tuple(order) for order in orders}) > 30
    for order in orders:
        for number, first in enumerate(after):
            if first is not None:
                assert order.index(number) - order.index(first) >= 2
