"""The HTML page of a diagnosis."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from chartae.evaluation.diagnosis import Diagnosis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plot", "page"]

#: a value of the page's table
Cell: TypeAlias = float | str | None
#: a title and its plot
Plot: TypeAlias = "tuple[str, Figure]"


def _format(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22221f; background: #fcfcfa; margin: 2rem auto; max-width: 64rem;
       padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1rem; margin: 0 0 .3rem }
.pictures { display: flex; flex-wrap: wrap; gap: 1.5rem; margin-top: 1.5rem } figure { margin: 0; flex: 0 1 30rem }
img { max-width: 100%; height: auto } table { border-collapse: collapse } td { padding: .15rem 1.2rem .15rem 0 }
.note { border-left: 3px solid #d55e00; padding: .3rem .8rem; background: #fff4ea }
"""


#: key of `consistency` -> heading of its row
CONSISTENCY = {
    "code": "‖mu(f(z)) − z‖, z from the prior",
    "reconstruction": "‖f(mu(x)) − x‖",
    "variance_over_predicted": "posterior variance / predicted, median",
    "code_relative": "‖e(d(z)) − z‖ / spread of codes",
}


def _rows(results: Diagnosis) -> dict[str, Cell]:
    """The rows of the page's table: heading -> value."""
    active = results["codes"]["active"]
    rows: dict[str, Cell] = {"test points": results["points"]}
    if "geometry" in results:
        shape = results["geometry"]
        rows |= {
            "IMA contrast, mean (nats)": shape["contrast"],
            "IMA contrast, median": shape["contrast_median"],
            "IMA contrast before training, mean": shape["untrained_contrast"],
            "condition number, median": shape["condition"],
        }
    rows["active code dimensions"] = f"{sum(active)} of {len(active)}"
    rows |= {CONSISTENCY[name]: value for name, value in results["consistency"].items()}
    if "recovery" in results:
        recovery = results["recovery"]
        if "mcc" in recovery:
            rows["MCC with the true factors"] = (
                f"{recovery['mcc']:.3f} (chance {recovery['chance']:.3f}, random rotation {recovery['rotation']:.3f})"
            )
        rows |= {f"affine R², {name}": value for name, value in recovery["affine_r2"].items()}
    return rows


def page(results: Diagnosis, plots: Sequence[Plot]) -> str:
    """The diagnosis as one self-contained HTML page.

    Args:
        results: the diagnosis.
        plots: titles and figures, in order.
    """
    rows = _rows(results).items()
    cells = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(_format(v))}</td></tr>" for k, v in rows)
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in results["warnings"])
    shown = "".join(
        f'<figure><h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" src="{_uri(figure)}"></figure>'
        for title, figure in plots
    )
    title = f"{results['recipe']} on {results['data']}: what it has learnt"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{html.escape(title)}</h1>'
        f"{notes}<table>{cells}</table><div class='pictures'>{shown}</div></html>\n"
    )


def _uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png", facecolor="#fcfcfa")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
