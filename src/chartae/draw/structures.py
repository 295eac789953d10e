"""Structural formulas of molecules: from SMILES to a uint8 picture. Needs RDKit (``chartae[molecules]``)."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from chartae.draw import pictures

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["molecules"]

_GREY, _RED = (110, 110, 106), (213, 94, 0)


@cache
def _rdkit() -> SimpleNamespace:
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem.Draw import rdMolDraw2D
    except ImportError as e:
        raise ImportError("pictures of molecules need RDKit. Install it by pip install 'chartae[molecules]'.") from e
    if not hasattr(rdMolDraw2D, "MolDraw2DCairo"):
        raise ImportError("this RDKit was built without Cairo, so it cannot draw pictures. Install a wheel of rdkit.")
    return SimpleNamespace(chem=Chem, quiet=rdBase.BlockLogs, draw=rdMolDraw2D)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _formula(molecule: Mol, side: int) -> Image.Image:
    draw = _rdkit().draw
    canvas = draw.MolDraw2DCairo(side, side)
    options = canvas.drawOptions()
    # bonds of a fixed length, so that small molecules are not enlarged to fill the square
    options.fixedBondLength, options.padding, options.bondLineWidth = 0.16 * side, 0.06, max(1.0, side / 130)
    draw.PrepareAndDrawMolecule(canvas, molecule)
    canvas.FinishDrawing()
    return Image.open(io.BytesIO(canvas.GetDrawingText())).convert("RGB")


def _crossed(text: str, side: int) -> Image.Image:
    """A square with the text of an invalid string in front of a cross."""
    image = Image.new("RGB", (side, side), "white")
    draw, size, margin = ImageDraw.Draw(image), max(8, side // 15), side // 20
    low, high = margin, side - margin
    for a, b in (((low, low), (high, high)), ((low, high), (high, low))):
        draw.line([a, b], fill=(*_RED,), width=max(1, side // 120))
    font = _font(size)
    width = max(4, int((side - 4 * margin) / font.getlength("C=(0)") * 5))  # in characters
    lines = textwrap.wrap(text, width)[: (side - 4 * margin) // (size + 2)] or ["(empty)"]
    if "".join(lines) != "".join(text.split()) and text:
        lines[-1] = lines[-1][: width - 1] + "…"
    top = (side - len(lines) * (size + 2)) // 2
    for k, line in enumerate(lines):
        at = ((side - font.getlength(line)) / 2, top + k * (size + 2))
        box = draw.textbbox(at, line, font)
        draw.rectangle((box[0] - 2, box[1] - 1, box[2] + 2, box[3] + 1), fill="white")
        draw.text(at, line, _GREY, font)
    return image


def molecules(
    strings: Sequence[str], legends: Sequence[str] | None = None, columns: int = 8, side: int = 180
) -> NDArray[np.uint8]:
    """Draw the structural formulas of SMILES in a grid, row by row.

    A string that is not a valid molecule is written out and crossed; text that does not fit is cut off.

    Args:
        strings: n SMILES, n >= 1.
        legends: n lines of text, one below each formula; none by default.
        columns: number of formulas in a row, >= 1, at most n; default 8.
        side: side of each formula's square in pixels, >= 40; default 180.

    Returns:
        A uint8 picture (H, W, 3); `pictures.save_png` writes it to a file.

    Raises:
        TypeError: `strings` is a single string.
        ValueError: there are no strings, the numbers of strings and legends differ, or a number is out of its range.
        ImportError: RDKit is not installed, or was built without Cairo.

    >>> from chartae.draw.structures import molecules
    >>> molecules(["CCO", "c1ccccc1", "C1CC"], columns=2, side=60).shape
    (126, 126, 3)
    """
    if isinstance(strings, str):
        raise TypeError(f"strings is the single string {strings[:40]!r}; expected a list of SMILES")
    if not len(strings):
        raise ValueError("strings is empty; expected at least one SMILES")
    if legends is not None and len(legends) != len(strings):
        raise ValueError(f"there are {len(legends)} legends for {len(strings)} strings; expected one for each string")
    if side < 40:
        raise ValueError(f"side is {side}; expected at least 40 pixels")
    rdkit, size = _rdkit(), max(8, side // 14)
    below = 0 if legends is None else size + 8
    cells = np.full((len(strings), side + below, side, 3), 255, np.uint8)
    block = rdkit.quiet()  # RDKit's warnings about invalid SMILES, until `block` is deleted
    try:
        for i, text in enumerate(strings):
            molecule = rdkit.chem.MolFromSmiles(text) if text else None
            image = _crossed(text, side) if molecule is None else _formula(molecule, side)
            cells[i, :side] = np.asarray(image)
            if legends is not None:
                strip, font, line = Image.new("RGB", (side, below), "white"), _font(size), legends[i]
                while line and font.getlength(line) > side - 4:
                    line = line[:-2].rstrip("…") + "…" if len(line) > 2 else ""
                ImageDraw.Draw(strip).text(((side - font.getlength(line)) / 2, 2), line, _GREY, font)
                cells[i, side:] = np.asarray(strip)
    finally:
        del block
    return pictures.grid(cells.transpose(0, 3, 1, 2), columns)
