"""The gallery: pictures of docs/gallery/, each with the commands that made it, from docs/gallery/pictures.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Gallery(SphinxDirective):
    """Every picture: its title, its caption and its commands; a missing one breaks the build."""

    def run(self) -> list[nodes.Node]:
        table = Path(self.env.srcdir) / "gallery" / "pictures.toml"
        self.env.note_dependency(str(table))
        content: list[nodes.Node] = []
        for picture in tomllib.loads(table.read_text())["picture"]:
            file = picture.get("image", f"gallery/{picture['name']}.png")
            commands = "\n".join(picture["commands"])
            text = f"![{picture['alt']}]({file})\n\n{picture['caption']}\n\n```sh\n{commands}\n```\n"
            section = nodes.section(ids=[f"picture-{picture['name']}"], names=[picture["title"].lower()])
            section += nodes.title("", picture["title"])
            section += self.parse_text_to_nodes(text)
            self.state.document.note_explicit_target(section, section)
            content.append(section)
        return content


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("gallery", Gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
