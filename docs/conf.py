"""How Sphinx builds these pages: `sphinx-build -W docs docs/_build`."""

from importlib.metadata import version as version_of

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "py-api-saga"
author = "py-api-saga contributors"
project_copyright = author
version = release = version_of("py-api-saga")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "_generated"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
default_role = "py:obj"  # single backticks in docstrings are code, and links where there is one
napoleon_custom_sections = ["Source"]
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"{project} {release}"


def setup(app: Sphinx) -> None:
    """Show Mermaid as text: drawing it would load a script from elsewhere into every page."""
    app.add_lexer("mermaid", TextLexer)
