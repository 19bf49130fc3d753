"""How Sphinx makes the site from what ``build.py`` lays out: MyST pages, notebooks that run, and the reference."""

import os
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from api import GROUPS, escaped, places, sections

import lossim

project = "lossim"
author = "lossim developers"
copyright = "lossim developers, MIT licence"
version = release = lossim.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["files"]

# --- pages -----------------------------------------------------------------------------------------------------------
myst_enable_extensions = ["colon_fence", "html_image"]
myst_heading_anchors = 4

# --- notebooks: run in every build, without their outputs in the repository ----------------------------------------
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_execution_show_tb = True
nb_merge_streams = True
nb_ipywidgets_js = {}  # no script from elsewhere
os.environ.pop("MPLBACKEND", None)  # or pictures would not be shown

# --- reference --------------------------------------------------------------------------------------------------------
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("AnyLog", "BoolArray", "FloatArray", "IntArray")}
autodoc_default_options = {"members": True}
default_role = "code"
add_module_names = False
nitpicky = True
nitpick_ignore_regex = [  # types in signatures that have no page here, of Python, of numpy, and private ones; fields
    ("py:attr", r".*"),
    ("py:obj", r"typing\..*"),
    ("py:class", r"(?!lossim\.[a-z]).*"),
    ("py:class", r"lossim\.(\w+\.)?_.*"),
]
maximum_signature_line_length = 88
python_use_unqualified_type_names = True

# --- looks ------------------------------------------------------------------------------------------------------------
html_theme = "furo"
html_title = f"lossim {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


ANSWERS = {id(value) for name, value in places().values() if name.count(".") == 1 and name.rpartition(".")[2] not in
           {each for names in GROUPS.values() for each in names}}


def plain(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are prose with sections, a few roles and examples."""
    lines[:] = sections([escaped(line) for line in lines])


def signature(app: Any, what: str, name: str, value: Any, options: Any, arguments: str | None, returns: str | None
              ) -> tuple[str, str] | None:
    """Names of types as they are written; nobody calls the class of an answer, which shows none."""
    if what == "class" and id(value) in ANSWERS:
        return "", ""
    if what not in ("class", "function", "method"):
        return None
    short = [re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", part or "") for part in (arguments, returns)]
    return short[0], short[1]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", plain)
    app.connect("autodoc-process-signature", signature)
