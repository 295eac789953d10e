"""Numbers in tables do not break: the two sides of ± stay on one line."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class KeepTogether(SphinxPostTransform):
    """Replace the spaces around ± in table cells by spaces that do not break."""

    default_priority = 300

    def run(self, **kwargs: object) -> None:
        for entry in self.document.findall(nodes.entry):
            for text in list(entry.findall(nodes.Text)):
                if " ± " in text:
                    text.parent.replace(text, nodes.Text(text.replace(" ± ", "\u00a0±\u00a0")))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(KeepTogether)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
