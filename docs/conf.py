"""How Sphinx builds these pages: Markdown, nothing from the network, warnings are errors (`make docs`)."""

project = "goafetch"
author = "The goafetch developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
autosummary_generate = False  # the docstrings stand on the same page
autodoc_member_order = "bysource"
exclude_patterns = ["_build", "performance-table.md"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "goafetch"
html_copy_source = False
