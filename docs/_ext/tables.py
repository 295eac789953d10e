"""Numbers in tables do not break: the two sides of ± stay on one line."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class KeepTogether(SphinxPostTransform):
    """Replace the spaces of cells of numbers, and those around ±, by spaces that do not break."""

    default_priority = 300

    def run(self, **kwargs: object) -> None:
        for entry in self.document.findall(nodes.entry):
            numbers = re.fullmatch(r"[-\d\s.,±/%+]+", entry.astext()) and len(entry.astext()) < 40
            for text in list(entry.findall(nodes.Text)):
                kept = text.replace(" ", "\u00a0") if numbers else text.replace(" ± ", "\u00a0±\u00a0")
                if kept != text:
                    text.parent.replace(text, nodes.Text(kept))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(KeepTogether)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
