"""Formulas as MathML: they render in the browser without JavaScript, without LaTeX and without a network.

Browsers need a font with mathematical measures. ziamath brings STIX Two Math (SIL Open Font License), which is copied
into the site.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import ziamath
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

#: operators that latex2mathml does not know by name
OPERATORS = ("KL", "ELBO")
THIN = '<mspace width="0.167em" />'
FUNCTIONS = "log|exp|det|min|max|tr|KL|softmax"


def _mathml(latex: str, display: str) -> str:
    for name in OPERATORS:
        latex = re.sub(rf"\\{name}\b", rf"\\operatorname{{{name}}}", latex)
    mathml = convert(latex.strip(), display=display)
    # a thin space around log, as TeX sets it; not beside a parenthesis or a sign
    name = rf"<m[io]>(?:{FUNCTIONS})</m[io]>"
    mathml = re.sub(rf"({name})(?!<mo)", rf"\1{THIN}", mathml)
    mathml = re.sub(rf"(</(?:mi|mn|mfrac|mstyle|msup|munder)>|&#x02207;</mo>)({name})", rf"\1{THIN}\2", mathml)
    # the bars of a norm are equally long, also where one of them carries an exponent
    return mathml.replace("<mo>&#x02016;</mo>", '<mo stretchy="false">&#x02016;</mo>')


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    # each paragraph of LaTeX, and each line that ends in \\, is a row of its own
    rows = [row for row in re.split(r"\n\s*\n|\\\\\s*\n", node.astext()) if row.strip()]
    self.body.append('<div class="formula">' + "".join(_mathml(row, "block") for row in rows) + "</div>\n")
    raise nodes.SkipNode


def copy_font(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        font = Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"
        shutil.copy(font, Path(app.outdir) / "_static" / font.name)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("build-finished", copy_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
