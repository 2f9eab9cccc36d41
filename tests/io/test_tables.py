"""Cells that a spreadsheet must not run."""

from __future__ import annotations

import pytest

from mrunfold.io.tables import safe_cell


@pytest.mark.parametrize(
    "text", ["=1", "+a", "-a", "@a", "\t=1", "\r=1", "  =1", "-1+2", "-", "=HYPERLINK(1)"]
)
def test_what_begins_like_a_formula_is_text(text):
    assert safe_cell(text) == "'" + text
    assert safe_cell(safe_cell(text)) == "'" + text  # once is enough


@pytest.mark.parametrize("value", ["a=b", "", "1", "-1.5", "+2", "-1e-5", -3, 2.5, True, "'=1", "nan"])
def test_everything_else_stays(value):
    assert safe_cell(value) == value


def test_none_is_an_empty_cell():
    assert safe_cell(None) == ""
