"""Docstrings as they are written in the source, plain text with `names` in backticks, made safe for reStructuredText.

- Bars, asterisks and trailing underscores of formulas are characters, not markup.
- A `name` in backticks is a link where it is a documented name of chartae, and code everywhere else.
- What an annotation names is a link where it is documented, and plain text everywhere else. A reference that a page
  makes on purpose, such as {py:obj}`chartae.fit`, must lead somewhere: with -W the build fails otherwise.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.environment import BuildEnvironment
from sphinx.roles import XRefRole
from sphinx.util.nodes import make_refnode

#: code spans are left alone; everything between them is text
SPANS = re.compile(r"(``.+?``|`[^`]+`_{0,2})")
#: the first line of a table
RULER = re.compile(r"\s*=+( +=+)+\s*$")
DOMAIN, TYPE = "py", "chartae-name"


def escaped(text: str) -> str:
    """A line of text without markup, apart from its code spans and **strong** words."""
    parts = SPANS.split(text)
    for i in range(0, len(parts), 2):
        part = re.sub(r"(?<!\\)\|", r"\\|", parts[i])
        part = re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", part)
        bullet = re.match(r"\s*\* ", part)
        start = bullet.end() if bullet and i == 0 else 0
        pieces = re.split(r"(\*\*\w[^*]*?\w?\*\*(?!\w))", part[start:])
        pieces[::2] = [re.sub(r"(?<!\\)\*", r"\\*", piece) for piece in pieces[::2]]
        parts[i] = part[:start] + "".join(pieces)
    return "".join(parts)


def _is_code(paragraph: list[str]) -> bool:
    """Whether a paragraph of a module's docstring is an example without prompts."""
    text = "\n".join(line.strip() for line in paragraph)
    if not re.search(r"\w\(", text):
        return False
    try:
        ast.parse(text if not text.endswith(": ...") else text.replace(": ...", ": pass"))
    except SyntaxError:
        return False
    return True


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """The lines, cut before and after each run of empty ones."""
    for _, group in itertools.groupby(lines, key=lambda line: bool(line.strip())):
        yield list(group)


def _joined(lines: list[str]) -> list[str]:
    """Names of several parameters that share a line of Args and are wrapped, on one line."""
    joined: list[str] = []
    for line in lines:
        if joined and re.fullmatch(r"\s*(\w+, )*\w+,", joined[-1]) and re.match(r"\s*(\w+, )*\w+(,|:.*)$", line):
            joined[-1] += " " + line.lstrip()
        else:
            joined.append(line)
    return joined


def prepare(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Escape the text of a docstring; leave its examples alone, and set its tables as they are."""
    out: list[str] = []
    literal: int | None = None  # the indent of a line that ends with "::", while its block lasts
    for paragraph in _paragraphs(_joined(lines)):
        first = paragraph[0]
        indent = len(first) - len(first.lstrip())
        if literal is not None and first.strip() and indent <= literal:
            literal = None
        if not first.strip() or literal is not None or first.lstrip().startswith(">>>"):
            out += paragraph
        elif RULER.match(first) or (what == "module" and _is_code(paragraph)):
            out += [" " * indent + "::", "", *("   " + line for line in paragraph)]
        else:
            for line in paragraph:
                if (
                    line.lstrip().startswith(">>>")
                    and out
                    and out[-1].strip()
                    and not out[-1].lstrip().startswith(">>>")
                ):
                    out.append("")  # an example right below the text
                    out += paragraph[paragraph.index(line) :]
                    break
                out.append(escaped(line))
            if out[-1].rstrip().endswith("::"):
                literal = len(out[-1]) - len(out[-1].lstrip())
    lines[:] = out
    sections = any(re.fullmatch(r"\s*(Args|Returns|Raises|Yields|Attributes|Examples?):", line) for line in out)
    app.chartae_attribute = None if sections else list(out)  # type: ignore[attr-defined]


def restore(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Undo what napoleon makes of an attribute's docstring: the text before a colon is no type."""
    text: list[str] | None = getattr(app, "chartae_attribute", None)
    if what in ("attribute", "data", "property") and text is not None:
        lines[:] = text
    app.chartae_attribute = None  # type: ignore[attr-defined]


def signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, arguments: str | None, returned: str | None
) -> tuple[str | None, str | None] | None:
    """Show nothing where a class only inherits the constructor of a module, and defaults by their names."""
    if arguments == "(*args, **kwargs)" and what == "class":
        return "()", returned
    if arguments is None:
        return None
    return re.sub(r"<(?:class|function) '?(?:\w+\.)*(\w+)'?(?: at 0x\w+)?>", r"\1", arguments), returned


def skip(app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: object) -> bool | None:
    """Leave out methods that other packages define, such as scikit-learn's `set_fit_request`."""
    module = getattr(obj, "__module__", None) or "chartae"
    return True if module.split(".")[0] != "chartae" else None


class NameRole(XRefRole):
    """A word in single backticks."""

    def __init__(self) -> None:
        super().__init__(innernodeclass=nodes.literal)

    def process_link(
        self, env: BuildEnvironment, refnode: nodes.Element, has_explicit_title: bool, title: str, target: str
    ) -> tuple[str, str]:
        refnode["reftype"], refnode["refdomain"] = TYPE, ""
        refnode["module"] = env.ref_context.get("py:module", "")
        return title, target


def _documented(env: BuildEnvironment, target: str, module: str) -> str | None:
    """The documented name that a word means: the module's own first, else the only one that there is."""
    objects = env.get_domain(DOMAIN).objects  # type: ignore[attr-defined]
    target = target.removeprefix("ch.").removesuffix("()")
    target = target if not target.startswith("ch.") else target[3:]
    for candidate in (target, f"{module}.{target}", f"chartae.{target}"):
        if candidate in objects and "." in candidate:
            return candidate
    if not re.match(r"[A-Z]\w*$", target):
        return None  # a parameter, or plain code
    ends = {n for n, entry in objects.items() if n.endswith("." + target) and not entry.aliased and n.count(".") == 2}
    return ends.pop() if len(ends) == 1 else None


def _home(env: BuildEnvironment, target: str) -> str | None:
    """Where an object is documented that is named by another path, such as `chartae.KL` or the file of its class."""
    objects = env.get_domain(DOMAIN).objects  # type: ignore[attr-defined]
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:cut]))
            for part in parts[cut:]:
                value = getattr(value, part)
        except (ImportError, AttributeError):
            continue
        known: dict[int, str] = getattr(env, "chartae_documented", {})
        name = known.get(id(value))
        return name if name in objects else None
    return None


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> nodes.Element | None:
    """Links of words in backticks and of annotations; None for what a page names and nobody documents."""
    target = node.get("reftarget", "")
    if node.get("reftype") == TYPE:
        name = _documented(env, target, node.get("module", ""))
    elif node.get("refdomain") == DOMAIN:
        name = _home(env, target) if target.startswith("chartae.") else None
        name = name or _documented(env, target, node.get("py:module") or "")
        if name is None and "refwarn" in node and target.startswith("chartae."):
            return None
    else:
        return None
    if name is None:
        return contnode
    entry = env.get_domain(DOMAIN).objects[name]  # type: ignore[attr-defined]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("name", NameRole())
    app.connect("autodoc-process-docstring", prepare, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skip)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


__all__: Sequence[str] = ["escaped", "prepare", "setup"]
