"""Sphinx configuration; the reference pages of hooks, passes and ops are generated from the code before each build."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generated import write_pages

write_pages(Path(__file__).parent / "reference")

project = "tfgraphopt"
copyright = "2026, the tfgraphopt authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
