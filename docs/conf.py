"""How Sphinx builds these pages: `sphinx-build -W docs docs/_build`."""

from importlib.metadata import metadata
from importlib.metadata import version as version_of
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx import addnodes
from sphinx.application import Sphinx

project = "py-api-saga"
author = "py-api-saga contributors"
project_copyright = author
version = release = version_of("py-api-saga")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",  # each name in the reference leads to its source
    "sphinx_copybutton",
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

copybutton_selector = "div.highlight-python pre, div.highlight-sh pre"  # what is typed, not shown

html_theme = "furo"
html_title = f"{project} {release}"
html_theme_options: dict[str, Any] = {"top_of_page_buttons": ["view", "edit"]}

# "Edit this page" leads to the repository that pyproject.toml names as `Source` among the urls of
# the project. As long as it names none there is no such link, and "view" shows the page's source.
_URLS = dict(line.split(", ", 1) for line in metadata("py-api-saga").get_all("Project-URL") or ())
if "Source" in _URLS:
    html_theme_options |= {
        "source_repository": _URLS["Source"],
        "source_branch": "main",
        "source_directory": "docs/",
    }


def within_the_topic(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: object
) -> None:
    """Let previous and next stay in the list of contents that the page is in."""
    for parent in app.env.toctree_includes:
        for listed in app.env.get_doctree(parent).findall(addnodes.toctree):
            topic = listed["includefiles"]
            if page not in topic:
                continue
            here = topic.index(page)
            if here == 0:
                context["prev"] = None
            if here == len(topic) - 1:
                context["next"] = None


def setup(app: Sphinx) -> None:
    """Show Mermaid as text: drawing it would load a script from elsewhere into every page."""
    app.add_lexer("mermaid", TextLexer)
    app.connect("html-page-context", within_the_topic)
