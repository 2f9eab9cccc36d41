"""Sphinx settings of the docs site; `make docs` builds it into build/site, and a warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import docstrings
import pages

from mrunfold import __version__

project = "mrunfold"
author = copyright = "mrunfold developers"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["site", "**/.ipynb_checkpoints"]
highlight_language = "none"  # an indented block is a command or an equation; Python is fenced and says so
nitpicky = False

html_theme = "furo"
html_title = "mrunfold"
html_copy_source = False
html_show_sphinx = False

myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests execute the notebooks, and compare what they print with what is stored
# Of all exported names, in the order of `__all__`; what a docstring does not explain is not listed.
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_inherit_docstrings = False
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88


def setup(app: Any) -> None:
    """Connect what builds pages that are not in docs/, and what reads docstrings as they are typed."""
    app.connect("config-inited", pages.generate)
    app.connect("source-read", pages.read)
    app.connect("autodoc-process-docstring", docstrings.process)
