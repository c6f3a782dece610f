"""How Sphinx builds the site: ``scripts/docs`` runs it."""

import importlib
import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generate

generate.write()

project = "papisim"
author = "The papisim authors"
copyright = "2026, the papisim authors"
try:
    release = metadata.version("papisim")
except metadata.PackageNotFoundError:
    release = "from a checkout"

# Imported before autodoc does, under which pydantic cannot build models that allow further fields.
importlib.import_module("papisim.api.schema")

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
suppress_warnings = ["ref.python"]  # several packages have a Run, a Phase or a Part
exclude_patterns = ["_build", "_extra", "notebooks/.ipynb_checkpoints"]

# the reference is made from the docstrings; torch is the one dependency that reading them must not need
apidoc_modules = [
    {
        "path": str(Path(__file__).parent.parent / "papisim"),
        "destination": "reference/api",
        "exclude_patterns": ["**/__main__.py"],
        "separate_modules": False,
        "automodule_options": {"members", "show-inheritance"},
        "max_depth": 2,
    }
]
autodoc_mock_imports = ["torch", "transformers"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_extra_path = ["_extra"]
html_title = "papisim"
html_show_sourcelink = False
