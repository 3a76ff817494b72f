import importlib.metadata
import pkgutil
import re
import sys
from pathlib import Path

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

import autoconfig
import autoconfig.clients
import autoconfig.metrics
import autoconfig.otel
import autoconfig.testing
import autoconfig.testing.flags

PUBLIC = (
    autoconfig,
    autoconfig.clients,
    autoconfig.metrics,
    autoconfig.otel,
    autoconfig.testing,
    autoconfig.testing.flags,
)

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
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
html_show_sphinx = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

add_module_names = False
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 60
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = False  # attributes that can be linked to

# The examples run against an emulator on this machine; examples.py has what they need for that.
doctest_path = [str(Path(__file__).parent)]
doctest_global_setup = "from examples import *"

# The pages are built without a network, so without the inventories of other projects. Names from outside this package
# cannot be resolved, and names of this package must be.
_outside = "|".join(
    [
        *sorted(sys.stdlib_module_names),
        *(
            "attr",
            "attrs",
            "ldclient",
            "msgspec",
            "opentelemetry",
            "prometheus_client",
            "pytest",
            "redis",
            "requests",
            "sseclient",
            "urllib3",
        ),
    ]
)
nitpick_ignore_regex = [
    (r"py:.*", rf"(?:{_outside})\..*"),
    (r"py:mod", rf"(?:{_outside})"),
    (r"py:.*", r"bool|bytes|dict|float|frozenset|int|list|None|object|set|str|tuple|type|optional"),
    (r"py:(?:class|exc)", r"[A-Z]\w*(?:Error|Exception|Exit|Interrupt)"),  # built-in exceptions
    # Of opentelemetry and redis: the name alone where a type is imported for type checkers only.
    (r"py:class", r"Meter|Redis"),
    (r"py:class", r"autoconfig\.(?:receiver\.T|ready_made\.registry\.ExpiryCallback)"),  # type variables
    # How sources other than the service's stream are made, which is no public interface.
    (
        r"py:class",
        r"autoconfig\.(?:stream\.source\.SourceMaker|stream\.cancel\.CancelToken|redis\.source\.FleetStream)",
    ),
]


def name_as_imported(app, doctree):
    """Let annotations, which name the module that a class is defined in, name and link what users import."""
    for node in doctree.findall(addnodes.pending_xref):
        module, _, name = node.get("reftarget", "").rpartition(".")
        if node.get("refdomain") != "py" or not (module.startswith("autoconfig.") or module == ""):
            continue
        for public in PUBLIC:
            if name in public.__all__:
                if node.astext() == node["reftarget"]:
                    node.children = [nodes.Text(name)]
                node["reftarget"], node["reftype"] = f"{public.__name__}.{name}", "obj"


def check_yaml(app, doctree):
    """Parse the samples in YAML; tests check those in other languages."""
    for block in doctree.findall(nodes.literal_block):
        if block.get("language") == "yaml":
            yaml.safe_load(block.astext())


def document_data(app, what, name, obj, options, lines):
    """Give constants and type aliases, which autodoc looks up where they are imported, the text of their definition."""
    if what == "data":
        for module in pkgutil.walk_packages(autoconfig.__path__, "autoconfig."):
            if not module.name.endswith("__main__"):
                texts = ModuleAnalyzer.for_module(module.name).find_attr_docs()
                if text := texts.get(("", name.rpartition(".")[2])):
                    lines[:] = text


def shorten_defaults(app, what, name, obj, options, signature, returned):
    """Hide what tells readers nothing: defaults such as ``<object at …>`` or ``NOTHING``, a protocol's arguments."""
    if signature == "(*args, **kwargs)":
        return "", returned
    return (re.sub(r"<[^<>]*>|(?<!\.)\bNOTHING\b", "...", signature) if signature else signature), returned


def skip_fields(app, what, name, obj, skip, options):
    """Leave the fields of named tuples to the list of attributes in the docstring."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def check_completeness(app, env):
    """Warn of public names that no page describes."""
    described = env.domains["py"].objects
    for module in PUBLIC:
        for name in set(module.__all__) - {"__version__"}:
            if f"{module.__name__}.{name}" not in described:
                logging.getLogger(__name__).warning("%s.%s is on no page", module.__name__, name)


def setup(app):
    app.connect("doctree-read", name_as_imported)
    app.connect("doctree-read", check_yaml)
    app.connect("env-check-consistency", check_completeness)
    app.connect("autodoc-process-docstring", document_data, priority=600)  # after napoleon
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-signature", shorten_defaults)
