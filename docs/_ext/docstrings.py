"""Docstrings as they are written in the source, plain text with `names` in backticks, made safe for reStructuredText.

- Bars, asterisks and trailing underscores of formulas are characters, not markup.
- A `name` in backticks is a link where it is a documented name of chartae, and code everywhere else.
- What an annotation names is a link where it is documented, and plain text everywhere else. A reference that a page
  makes on purpose, such as {py:obj}`chartae.fit`, must lead somewhere: with -W the build fails otherwise.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.roles import XRefRole
from sphinx.util.nodes import make_refnode

#: code spans are left alone; everything between them is text
SPANS = re.compile(r"(``.+?``|`[^`]+`_{0,2})")
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


def prepare(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Escape the text of a docstring, and leave its examples alone."""
    example = literal = False
    indent = 0
    for i, line in enumerate(lines):
        stripped = line.lstrip()
        if literal and stripped and len(line) - len(stripped) <= indent:
            literal = False
        if stripped.startswith(">>>"):
            if not example and i and lines[i - 1].strip():
                lines[i] = "\n" + line
            example = True
        elif not stripped:
            example = False
        if not example and not literal and stripped:
            lines[i] = escaped(line)
            if stripped.endswith("::"):
                literal, indent = True, len(line) - len(stripped)
    lines[:] = "\n".join(lines).split("\n")


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
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


__all__: Sequence[str] = ["escaped", "prepare", "setup"]
