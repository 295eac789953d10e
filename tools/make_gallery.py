"""Make the pictures of docs/gallery/ with the commands of docs/gallery/pictures.toml.

CHARTAE_DATA=FOLDER python tools/make_gallery.py            # all of them
CHARTAE_DATA=FOLDER python tools/make_gallery.py fashion    # some, by name
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from PIL import Image

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
#: the widest picture, in pixels, and its colours
WIDTH, COLOURS = 720, 64


def shrink(source: Path, target: Path) -> None:
    """Write a picture as a PNG with a palette, small enough to be committed."""
    with Image.open(source) as image:
        image = image.convert("RGB")
        if image.width > WIDTH:
            image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
        times = max(1, WIDTH // 2 // image.width)  # pictures of few pixels are enlarged
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)


def main(names: list[str]) -> None:
    pictures = tomllib.loads((GALLERY / "pictures.toml").read_text())["picture"]
    environment = dict(os.environ)
    if "CHARTAE_DATA" in environment:
        environment["CHARTAE_DATA"] = str(Path(environment["CHARTAE_DATA"]).resolve())
    finished: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for picture in pictures:
            wanted = not names or picture["name"] in names
            if not wanted or "image" in picture:
                continue
            for command in picture["commands"]:
                if command not in finished:
                    words = [sys.executable, "-m", "chartae", *shlex.split(command)[1:]]
                    subprocess.run(words, cwd=folder, env=environment, check=True)
                    finished.add(command)
            target = GALLERY / f"{picture['name']}.png"
            shrink(Path(folder) / picture["file"], target)
            print(f"{target.name}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
