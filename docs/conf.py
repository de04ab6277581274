"""Sphinx: Markdown in, HTML out; warnings are errors (`make docs`)."""

project = "ModelFaucet"
author = "The ModelFaucet contributors"
copyright = "The ModelFaucet contributors. CC BY 4.0"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "ModelFaucet"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
