"""The configuration of Sphinx for `make docs`. The pages are Markdown that can be read without it as well."""

from importlib.metadata import version as version_of
from pathlib import Path

project = "hivekeys"
version = release = version_of("hivekeys")
author = "the hivekeys authors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_build", "ansible", "ci", "completion", "systemd"]
nitpicky = True
highlight_language = "none"  # blocks are mostly what a terminal shows

myst_heading_anchors = 4  # headings have the anchors that they have on GitHub
html_theme = "furo"
html_title = "hivekeys"
html_copy_source = False
html_show_sphinx = False
html_search_scorer = str(Path(__file__).with_name("search.js"))  # headings of the runbook first
