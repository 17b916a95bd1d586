"""How the time of a search grows with the collection, exact and partitioned."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

from . import data
from .contest import in_own_process
from .contestants import K_ROWS, Size

FIGURE = Path(__file__).parent.parent / "images" / "growth.png"
SIZES = [10**4, 10**5, 10**6, 10**7]
_PROJECTED = [10**7, 10**8, 10**9]
_WAYS = {
    "exact": ("ours_exact", 1, "#b0413e"),
    "nearest clusters": ("ours_partitioned", 0.5, "#2f6690"),
}


def _amount(seconds):
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _draw(times, path):
    """Draw times against sizes, and where they lead."""
    fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for name, (_, power, color) in _WAYS.items():
        values = 1e3 * np.array(times[name])
        ax.loglog(SIZES, values, "o-", color=color, label=name)
        further = values[-1] * (np.array(_PROJECTED) / SIZES[-1]) ** power
        grows = "n" if power == 1 else "√n"
        ax.loglog(_PROJECTED, further, "--", color=color, alpha=0.6)
        ax.annotate(
            f"as {grows}",
            (_PROJECTED[-1], further[-1]),
            xytext=(-4, -26),
            textcoords="offset points",
            ha="right",
            color=color,
        )
    ax.set(
        xlabel="pictures in the collection (128 float32 each)",
        ylabel="ms a candidate, one core",
        title=f"Time to find the {K_ROWS} nearest",
    )
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)
    plt.close(fig)


class Growth:
    """Latency against the size of the collection."""

    def run(self):
        """Measure, draw the figure and write the table that the docs show."""
        times, recalls = {name: [] for name in _WAYS}, []
        for n_rows in tqdm(SIZES, "sizes", disable=None):
            data.features(n_rows, Size.n_queries)
            for name, (contestant, _, _) in _WAYS.items():
                measured = in_own_process(f"{contestant}@{n_rows}")
                times[name].append(measured.value)
            recalls.append(measured.figures["recall"])
        lines = [
            "| pictures | " + " | ".join(times) + " | its recall |",
            "|---|---|---|---|",
        ]
        for i, n_rows in enumerate(SIZES):
            cells = [f"{n_rows:,}".replace(",", " ")]
            cells += [_amount(values[i]) for values in times.values()]
            lines.append("| " + " | ".join([*cells, f"{recalls[i]:.3f}"]) + " |")
        print("\n".join(lines))
        print(json.dumps(times))
        data.show_in_docs("growth", "\n".join(lines))
        _draw(times, FIGURE)


SUITES = [Growth]
