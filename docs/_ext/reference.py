"""The API reference, a page a package, from `__all__`; and the command line's, from ``chartae VERB --help``.

The pages are written into docs/api before Sphinx reads its sources, and only where they have changed.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from docstrings import escaped
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

#: packages that users do not import
HIDDEN = {"cli"}
#: modules that the pages use beside the packages
MODULES = ("chartae.data.kinds", "chartae.draw.pictures", "chartae.draw.structures", "chartae.records.results")


def public_modules() -> list[ModuleType]:
    """`chartae`, its packages that list public names, and the modules that those name in turn."""
    import chartae

    packages = [importlib.import_module(f"chartae.{m.name}") for m in pkgutil.iter_modules(chartae.__path__)
                if m.ispkg and m.name not in HIDDEN]  # fmt: skip
    listed = [chartae]
    for package in packages:
        names = getattr(package, "__all__", ())
        if not names and package.__name__ not in (f"chartae.{n}" for n in chartae.__all__):
            continue
        listed.append(package)
        listed += [value for name in names if inspect.ismodule(value := getattr(package, name))]
    listed += [importlib.import_module(name) for name in MODULES]
    return [listed[0], *sorted(set(listed[1:]), key=lambda m: m.__name__)]


def _comment(module: ModuleType, name: str) -> str:
    """The `#:` comment of a constant, looked up in the file that defines it."""
    prefix = module.__name__ + "."
    files = [module.__name__, *sorted(n for n in sys.modules if n.startswith(prefix))]
    for file in files:
        try:
            docs = ModuleAnalyzer.for_module(file).find_attr_docs()
        except Exception:  # a module without source
            continue
        if ("", name) in docs:
            return " ".join(docs["", name]).strip()
    return ""


def _title(text: str, line: str) -> list[str]:
    return [text, line * len(text), ""]


def summary(value: object) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
    return escaped(re.split(r"(?<=[.:]) (?=[A-Z])", paragraph)[0])


def _kind(value: object) -> str:
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if inspect.isroutine(value) else "data"


class Reference:
    """Which name is documented on which page: each object once, where it is at home."""

    def __init__(self, modules: list[ModuleType]) -> None:
        self.modules = modules
        self.home: dict[int, str] = {}
        # the package that holds the file of an object comes before one that only passes it on
        for own in (True, False):
            for module in modules[1:] + modules[:1]:
                for name in getattr(module, "__all__", ()):
                    value = getattr(module, name)
                    where = getattr(value, "__module__", None) or module.__name__
                    if inspect.ismodule(value) or (own and not f"{where}.".startswith(f"{module.__name__}.")):
                        continue
                    if own and module.__name__ == "chartae" and where.count(".") > 1 and where.split(".")[1] in (
                        m.__name__.split(".")[1] for m in modules[1:]
                    ):  # fmt: skip
                        continue
                    if _kind(value) == "data":
                        continue
                    self.home.setdefault(id(value), f"{module.__name__}.{name}")

    def page(self, module: ModuleType) -> str:
        """The page of a module, as reStructuredText."""
        path = module.__name__
        lines = [*_title(path, "="), f".. automodule:: {path}", ""]
        described: list[str] = []
        elsewhere: list[tuple[str, str]] = []
        constants: list[str] = []
        for name in sorted(getattr(module, "__all__", ()), key=str.lower):
            value = getattr(module, name)
            if inspect.ismodule(value):
                elsewhere.append((name, value.__name__))
            elif _kind(value) == "data":
                constants.append(name)
            elif (home := self.home[id(value)]) != f"{path}.{name}":
                elsewhere.append((name, home))
            else:
                described.append(name)
        if described:
            lines += [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in described), ""]
        if elsewhere:
            lines += [f"Also importable from ``{path}``; each is described on the page of its package:", ""]
            lines += [".. list-table::", "   :widths: 1 3", ""]
            for name, home in elsewhere:
                role = "py:mod" if home in (m.__name__ for m in self.modules) else "py:obj"
                lines += [f"   * - :{role}:`{name} <{home}>`", f"     - {summary(getattr(module, name))}"]
            lines.append("")
        for name in described:
            kind = _kind(getattr(module, name))
            lines += [*_title(name, "-"), f".. auto{kind}:: {path}.{name}"]
            lines += ["   :members:", ""] if kind != "function" else [""]
        if constants:
            lines += [*_title("Constants", "-")]
            for name in constants:
                lines += [f".. py:data:: {path}.{name}", "", f"   {escaped(_comment(module, name)) or name}", ""]
        return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def write_pages(app: Sphinx) -> None:
    """Write docs/api/*.rst."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    modules = public_modules()
    reference = Reference(modules)
    app.chartae_reference = reference  # type: ignore[attr-defined]
    kept = {folder / f"{module.__name__}.rst" for module in modules} | {folder / "index.rst"}
    for module in modules:
        _write(folder / f"{module.__name__}.rst", reference.page(module))
    first = {m.__name__: escaped((m.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")) for m in modules}
    index = [
        *_title("API reference", "="),
        "Every public name, by package. Public names are those of ``__all__``; they are kept for two releases after a",
        "``DeprecationWarning``. ``import chartae as ch`` gives the names of the first page, and every package by its",
        "name, such as ``ch.terms``.", "",
        ".. list-table::", "   :widths: 1 3", "",
    ]  # fmt: skip
    for module in modules:
        index += [f"   * - :doc:`{module.__name__}`", f"     - {first[module.__name__]}"]
    index += ["", ".. toctree::", "   :hidden:", ""]
    index += [f"   {m.__name__}" for m in modules]
    _write(folder / "index.rst", "\n".join([*index, ""]))
    for stale in set(folder.glob("*.rst")) - kept:
        stale.unlink()


def remember(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Let `docstrings.resolve` find the documented name of an object."""
    env.chartae_documented = app.chartae_reference.home  # type: ignore[attr-defined]


BOX = str.maketrans({"│": " ", "╰": " ", "╯": " ", "─": " ", "╭": " ", "╮": " "})


def help_text(*words: str) -> str:
    """What `chartae WORDS --help` prints, without the frames around its groups."""
    environment = {**os.environ, "COLUMNS": "84", "NO_COLOR": "1", "TERM": "dumb"}
    answer = subprocess.run(
        [sys.executable, "-m", "chartae", *words, "--help"], env=environment, capture_output=True, text=True, check=True
    )
    lines = []
    for line in answer.stdout.splitlines():
        if line.startswith("╭"):
            lines += ["", line.translate(BOX).strip() + ":"]
        elif not line.startswith("╰"):
            lines.append(re.sub(r"^ ", "", line.translate(BOX).rstrip()))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class Verbs(SphinxDirective):
    """A section for each verb, with its help."""

    def run(self) -> list[nodes.Node]:
        from chartae.cli.main import VERBS

        sections: list[nodes.Node] = []
        for name in VERBS:
            section = nodes.section(ids=[f"chartae-{name}"], names=[f"chartae {name}"])
            section += nodes.title("", "", nodes.literal(text=f"chartae {name}"))
            text = help_text(name)
            section += nodes.literal_block(text, text, language="text")
            self.state.document.note_explicit_target(section, section)
            sections.append(section)
        self.env.note_reread()
        return sections


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    app.connect("env-before-read-docs", remember)
    app.add_directive("verbs", Verbs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
