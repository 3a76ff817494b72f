import importlib.metadata
import sys

project = "autoconfig"
release = importlib.metadata.version("ld-autoconfig")
version = release
copyright = "the autoconfig contributors"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {release}"

myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# The pages are built without a network, hence without the inventories of other projects: names from outside this
# package cannot be resolved. Names of this package must be.
_outside = "|".join([*sorted(sys.stdlib_module_names), "attr", "attrs", "requests", "urllib3", "sseclient"])
nitpick_ignore_regex = [
    (r"py:.*", rf"(?:{_outside})\..*"),
    (r"py:mod", rf"(?:{_outside})"),
    (r"py:.*", r"bool|bytes|dict|float|frozenset|int|list|None|object|set|str|tuple|type|optional"),
    (r"py:(?:class|exc)", r"[A-Z]\w*(?:Error|Exception|Exit|Interrupt)"),  # built-in exceptions
]
