"""Draws how well SAME is decoded: ``python -m benchmarks.decoding.plot REPORT.json`` from a report of ``same``.

The points of samedec are those of an earlier run of samedec 0.4.2 on files that were made in the same way; it was not
run beside the others.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SAMEDEC_DB = {"awgn": (8.7, 9.9), "fm": (4.6, 5.6), "fading": (12.7, 21.4)}
"""samedec 0.4.2, where 50 and 90 % of the headers are exact. [dB]"""

_TITLES = {
    "awgn": "White noise",
    "fm": "Narrow FM",
    "fading": "Narrow FM, Rayleigh fading of 1 Hz",
}
_AXES = {"dB Eb/N0": "Eb/N0 of a burst, dB", "dB C/N": "C/N in 12.5 kHz, dB"}
_LIMITS = {
    "three bursts, coherent": ":",
    "three bursts, noncoherent": "--",
    "one burst, noncoherent": "-.",
}


def _draw_sweep(axes: Axes, name: str, report: dict[str, Any]) -> None:
    sweep = report["sweeps"][name]
    levels = sweep["levels"]
    if name == "awgn":
        for limit, style in _LIMITS.items():
            shares = [100.0 * share for share in report["limits"][limit]]
            axes.plot(report["limits"]["levels"], shares, style, color="0.55", label=f"limit: {limit}")
    for which, label, style in (
        ("guess", "Herald, best guess (shown as unverified)", "o--"),
        ("verified", "Herald, verified (given)", "o-"),
        ("peer", "multimon-ng", "s-"),
    ):
        if which in sweep:
            colour = "tab:orange" if which == "peer" else "tab:blue"
            axes.plot(levels, [100.0 * s for s in sweep[which]], style, color=colour, markersize=4, label=label)
    axes.plot(SAMEDEC_DB[name], (50.0, 90.0), "D", color="tab:green", label="samedec 0.4.2, 50 and 90 %, earlier run")
    axes.axhline(90.0, color="0.8", linewidth=0.8, zorder=0)
    axes.set(
        title=_TITLES[name],
        xlabel=_AXES[sweep["unit"]],
        ylim=(-2.0, 102.0),
        xlim=(min(levels), 16.0 if name == "awgn" else max(levels)),
    )
    axes.grid(alpha=0.3)


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw a report into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet

    sheet = Sheet(figsize=(13.0, 5.2), layout="constrained")
    FigureCanvasAgg(sheet)
    panels = sheet.subplots(1, len(_TITLES), sharey=True)
    for axes, name in zip(panels, _TITLES, strict=True):
        _draw_sweep(axes, name, report)
    panels[0].set_ylabel("headers of three bursts that are exact, %")
    handles, labels = panels[0].get_legend_handles_labels()
    sheet.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    sheet.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path("docs/images/sensitivity.png"))
