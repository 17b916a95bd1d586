"""How the documentation is built: `make docs` writes docs/_build/html."""

import re
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

import directives  # noqa: E402
from numpydoc.docscrape_sphinx import SphinxDocString  # noqa: E402

about = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
project = about["name"]
author = about["authors"][0]["name"]
version = release = about["version"]
project_copyright = f"{author}. MIT licence"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "examples", "speed_table.md"]
templates_path = ["_templates"]
# A name in backticks is linked where it is one of ours, and code where it is not.
default_role = "py:obj"

# Pages.
myst_heading_anchors = 4
myst_links_external_new_tab = False

# The reference.
add_module_names = False
autosummary_generate = True
autodoc_default_options = {"members": True, "inherited-members": True}
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_attributes_as_param_list = True
numpydoc_validation_checks = {
    # Sections: known, in their order, and a docstring everywhere.
    *("GL01", "GL02", "GL03", "GL05", "GL06", "GL07", "GL08", "GL10"),
    # The first line: one sentence.
    *("SS01", "SS02", "SS03", "SS04", "SS06"),
    # Parameters: all of them, in the order of the signature.
    *("PR01", "PR02", "PR03", "PR05", "PR06", "PR08", "PR09", "PR10"),
    *("RT04", "RT05", "YD01"),
}
# Results, which the package makes and nobody else: their attributes are described.
numpydoc_validation_exclude = {r"\.(Comparison|Preference|RetrievalScores)$"}
smartquotes = False
toc_object_entries_show_parents = "hide"


def skip_member(app, what, name, member, skip, options):
    """Leave out what scikit-learn and dataclasses bring, and how engines are stored."""
    module = getattr(member, "__module__", None) or getattr(
        getattr(member, "fget", None), "__module__", ""
    )
    inner = r"set_\w+_request|arrays|from_arrays|prepared|prepared_for"
    if not str(module).startswith("geoimages") or re.fullmatch(inner, name):
        return True
    return None


_process_param = SphinxDocString._process_param


def _describe_param(self, param, desc, fake_autosummary):
    """Keep what a class says of a property; numpydoc takes the property's summary."""
    shown, summary = _process_param(self, param, desc, fake_autosummary)
    return shown, desc or summary


SphinxDocString._process_param = _describe_param

# The gallery.
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "backreferences_dir": "api/examples",
    "doc_module": ("geoimages",),
    "image_scrapers": ("figures.show",),
    "image_srcset": ["2x"],
    "ignore_repr_types": r"matplotlib|Text",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "show_memory": False,
    "min_reported_time": 600,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "parallel": False,
}

# The looks.
html_title = project
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["geoimages.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navigation_depth": 3,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "primary_sidebar_end": [],
    "back_to_top_button": True,
}
html_sidebars = {"start": [], "house": []}
copybutton_selector = "div:not(.highlight-output) > div.highlight pre"


def setup(app):
    """Add what conf.py makes itself."""
    app.connect("autodoc-skip-member", skip_member)
    app.add_directive("house", directives.House)
    app.add_directive("commands", directives.Commands)
