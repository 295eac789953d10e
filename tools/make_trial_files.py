"""Write a file of every kind that users bring: `python tools/make_trial_files.py OUT`.

`OUT/wide.csv` is a table with an index and wavelengths as header, `OUT/photos/` a folder of pictures of mixed sizes,
`OUT/runs/broken` a run whose training failed; the other files are in `OUT/trial/`, one for each kind of difficulty. Try
them as a new user would::

    python tools/make_trial_files.py .
    chartae inspect wide.csv
    chartae fit wide.csv --no-label --recipe vae --epochs 1 --out runs/t
    chartae postmortem runs/broken
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

ROWS = 200


def _text(rows: Iterable[Sequence[object]], delimiter: str = ",") -> str:
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows)


def wide(rng: np.random.Generator) -> str:
    """Spectra: an index without a name, wavelengths as header, and a column y."""
    wavelengths = np.arange(400, 700, 10)
    centres = rng.uniform(450, 650, (ROWS, 1))
    spectra = np.exp(-(((wavelengths - centres) / 40) ** 2)) + rng.normal(0, 0.01, (ROWS, len(wavelengths)))
    rows = [(i, *np.round(row, 4), int(row.argmax() > 15)) for i, row in enumerate(spectra)]
    return _text([["", *wavelengths, "y"], *rows])


def tables(rng: np.random.Generator) -> dict[str, str | bytes]:
    """Tables by the names of their files."""
    x = np.round(rng.normal(size=(ROWS, 4)) @ np.triu(np.ones((4, 4))), 3)
    plain = _text([["a", "b", "c", "d"], *x])
    german = _text([["a", "b", "c", "d"], *[[str(v).replace(".", ",") for v in row] for row in x]], ";")
    labels = rng.choice(["oak", "ash", "NA", "?"], ROWS, p=[0.45, 0.45, 0.05, 0.05])
    return {
        "years.csv": _text([[2001, 2002, 2003, 2004], *x]),
        "no-header.csv": _text(x),
        "zipped.csv.gz": gzip.compress(plain.encode()),
        "tabs.tsv": plain.replace(",", "\t"),
        "tabs.tsv.gz": gzip.compress(plain.replace(",", "\t").encode()),
        "german.csv": german,
        "excel.csv": b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode() + b",,,\r\n",
        "utf-16.csv": plain.encode("utf-16"),
        "quoted.csv": _text([["a", "b", '"a note\non two lines"'], *[[*row[:2], '"x\ny"'] for row in x]]),
        "numpy.csv": "# a,b,c,d\n" + _text(x),
        "r.csv": _text([["a", "b", "c", "d"], *[(f'"row {i}"', *row) for i, row in enumerate(x)]]),
        "x-and-y.csv": _text([["x", "y"], *x[:, :2]]),
        "labels.csv": _text([["a", "b", "label"], *[(*row[:2], label) for row, label in zip(x, labels, strict=True)]]),
        "weights.csv": _text([["id", "a", "b", "w"], *[(i, *row[:2], 1 + i % 3) for i, row in enumerate(x)]]),
        "units.csv": _text([["metres", "grams"], *[(row[0] / 1000, row[1] * 1000) for row in x]]),
        "few.csv": _text([["a", "b", "c", "d"], *x[:60]]),
        "thousands.csv": _text([["a", "price"], *[(row[0], f'"1,{abs(int(100 * row[1])) % 1000:03}"') for row in x]]),
        "percent.csv": _text([["a", "share"], *[(row[0], f"{abs(row[1]):.1f}%") for row in x]]),
        "missing.csv": _text([["a", "b"], *[("" if i % 50 == 7 else row[0], row[1]) for i, row in enumerate(x)]]),
        "spiral.csv": _text([["x", "y"], *x[:, :2]]),
    }  # fmt: skip


def strings(rng: np.random.Generator) -> dict[str, str | bytes]:
    """Molecules by the names of their files."""
    sizes = rng.integers(1, 12, ROWS)
    smiles = ["C" * n + str(rng.choice(["O", "N", "=O", "(C)C", "c1ccccc1"])) for n in sizes]
    names = [f"ZINC{i:06}" for i in range(ROWS)]
    gaps = [("" if i % 40 == 5 else s, "" if i % 25 == 3 else s.count("C")) for i, s in enumerate(smiles)]
    pairs = list(zip(names, smiles, strict=True))
    return {
        "pairs.csv": _text([["smiles", "carbons"], *gaps]),
        "id-smiles.csv": _text([["id", "smiles"], *pairs]),
        "structures.csv": _text([["code", "structure"], *pairs]),
        "identifiers.txt": "\n".join(names) + "\n",
        "header.smi": _text([["smiles", "name"], *[(s, n) for n, s in pairs]], " "),
        "names-first.smi": _text(pairs, " "),
        "mark.smi": b"\xef\xbb\xbf" + _text([(s, n) for n, s in pairs], "\t").encode(),
    }


def broken(folder: Path) -> None:
    """A run whose loss became NaN: a fit with a learning rate beyond all reason."""
    import chartae as ch

    with suppress(ch.training.NonFinite):
        ch.fit(
            "rae-l2", "digits", latent_dim=4, epochs=2, lr=1e30, densities=(), progress=False, device="cpu",
            out=folder, overwrite=True,
        )  # fmt: skip
        raise SystemExit(f"the fit in {folder} did not fail; expected a loss that is not finite")


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path, help="folder to write to")
    out = parser.parse_args().out
    rng = np.random.default_rng(0)
    trial = out / "trial"
    trial.mkdir(parents=True, exist_ok=True)
    (out / "wide.csv").write_text(wide(rng), encoding="utf-8")
    for name, content in (tables(rng) | strings(rng)).items():
        (trial / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if importlib.util.find_spec("trial_pictures"):  # beside this file
        importlib.import_module("trial_pictures").pictures(out)
    broken(out / "runs" / "broken")
    print(f"{sum(1 for path in out.rglob('*') if path.is_file())} files are in {out}")


if __name__ == "__main__":
    main()
