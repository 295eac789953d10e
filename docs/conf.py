"""How the site is built: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import chartae  # noqa: E402

project = "chartae"
author = "The chartae developers"
copyright = "the chartae developers"
release = getattr(chartae, "__version__", "")
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "mathml",
    "docstrings",
    "reference",
    "measured",
    "gallery",
    "tables",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
nitpicky = True

# -- pages ------------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "remove"

# -- the reference ----------------------------------------------------------------------------------------------------

default_role = "name"
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_attr_annotations = False
napoleon_preprocess_types = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False
toc_object_entries = False

# -- the site ---------------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = "chartae"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["chartae.css"]
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors = False
