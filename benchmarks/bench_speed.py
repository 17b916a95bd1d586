"""The table of speed and memory: ours beside the obvious alternative, in one run."""

from dataclasses import dataclass

from tqdm import tqdm

from . import data
from .contest import contest
from .contestants import Size

_MEMORY = "memory"
_PYTHON = "Python"


@dataclass
class Row:
    """One line of the table."""

    what: str
    ours: str
    against: str
    rivals: tuple  # the fastest counts
    must: float
    aim: float
    bound: str


TURNS = "four stored rotations of each"
ROWS = [
    Row(
        "one candidate in four rotations, correlation",
        "ours_by_rotations",
        "the original's way, " + TURNS,
        ("original",),
        200,
        300,
        _MEMORY,
    ),
    Row(
        "the same",
        "ours_by_rotations",
        "faiss `IndexFlatIP`, " + TURNS,
        ("faiss_flat",),
        6,
        8,
        _MEMORY,
    ),
    Row(
        "rotations stored in ours, too",
        "ours_with_stored_rotations",
        "the original's way",
        ("original",),
        120,
        200,
        _MEMORY,
    ),
    Row(
        "the same",
        "ours_with_stored_rotations",
        "faiss `IndexFlatIP`",
        ("faiss_flat",),
        3,
        6,
        _MEMORY,
    ),
    Row(
        "256 candidates at once, in four rotations",
        "ours_batch",
        "faiss `IndexFlatIP`, by matrix products, " + TURNS,
        ("faiss_batch",),
        2,
        3,
        "arithmetic",
    ),
    Row(
        "one candidate in four rotations, euclidean",
        "ours_by_rotations_euclidean",
        "the original's way, " + TURNS,
        ("original_euclidean",),
        20,
        60,
        _MEMORY,
    ),
    Row(
        "one candidate in four rotations, cityblock",
        "ours_by_rotations_cityblock",
        "the original's way, " + TURNS,
        ("original_cityblock",),
        15,
        60,
        "arithmetic",
    ),
    Row(
        "memory of the fitted model",
        "ours_memory_by_rotations",
        "the original's rows, " + TURNS,
        ("original_memory",),
        25,
        31,
        "one byte a value",
    ),
    Row(
        "the same, rotations stored in ours, too",
        "ours_memory_with_stored_rotations",
        "the original's rows",
        ("original_memory",),
        7.5,
        31,
        "one byte a value, each picture once",
    ),
    Row(
        "elbow, 1 to 10 clusters, rotations stored",
        "ours_elbow",
        "k-means of float64 rows",
        ("original_elbow",),
        80,
        200,
        "memory",
    ),
    Row(
        "nearest clusters, {rows} × 128",
        "ours_partitioned",
        "float32 product in NumPy",
        ("numpy_product",),
        20,
        40,
        _PYTHON,
    ),
    Row(
        "the same",
        "ours_partitioned",
        "exact search of this package",
        ("ours_exact",),
        10,
        20,
        _PYTHON,
    ),
    Row(
        "the same",
        "ours_partitioned",
        "faiss IVF at the same recall, the fastest of three",
        ("faiss_ivf", "faiss_ivf_more_lists", "faiss_ivf_bytes"),
        0.7,
        1,
        _PYTHON,
    ),
    Row(
        "exact, {many} × 128",
        "ours_exact_many",
        "reading the rows once",
        ("read_many",),
        0.5,
        1,
        "memory",
    ),
    Row(
        "zip to `.h5`",
        "ours_etl",
        "the original's way",
        ("original_etl",),
        20,
        60,
        "arithmetic: decoding JPEG",
    ),
]


def _groups(rows):
    """Contestants of rows that follow each other and share some: lists of names."""
    groups = []
    for row in rows:
        names = [row.ours, *row.rivals]
        if not groups or not set(names) & set(groups[-1]):
            groups.append([])
        groups[-1] += [name for name in names if name not in groups[-1]]
    return groups


def _count(n):
    return f"{n:,}".replace(",", " ")


def _amount(value, name):
    """A time or a size as a person would write it."""
    if "memory" in name:
        return f"{value / 1e6:,.0f} MB"
    if value < 1:
        return f"{1e3 * value:.3g} ms"
    return f"{value:.3g} s"


def _line(row, measured, size):
    """A row of the table in Markdown."""
    rival = min(row.rivals, key=lambda name: measured[name].value)
    ours, theirs = measured[row.ours], measured[rival]
    ratio = theirs.value / ours.value
    what = row.what.format(rows=_count(size.n_rows), many=_count(size.n_many))
    notes = [
        f"recall {them.figures['recall']:.3f}{whose}"
        for them, whose in ((ours, ""), (theirs, " of faiss"))
        if "recall" in them.figures
    ]
    cells = [
        what,
        _amount(ours.value, row.ours),
        row.against,
        _amount(theirs.value, rival),
        f"**{ratio:.3g}**" if ratio < 100 else f"**{ratio:.0f}**",
        f"{row.must:g}",
        f"{row.aim:g}",
        "; ".join([row.bound, *notes]),
    ]
    return "| " + " | ".join(cells) + " |"


class Speed:
    """Speed and memory beside the obvious alternatives, one core each."""

    def run(self):
        """Measure, print the table and write it where the docs show it."""
        size = Size()
        data.pictures()
        for n_rows in (size.n_rows, size.n_many):
            data.features(n_rows, size.n_queries)
        lines = [
            "| what | geoimages | beside | it takes | ratio | must | aim | bound by |",
            "|---|---|---|---|---|---|---|---|",
        ]
        measured = {}
        for names in tqdm(_groups(ROWS), "contests", disable=None):
            measured |= contest(names)
        lines += [_line(row, measured, size) for row in ROWS]
        print("\n".join(lines))
        n = _count(len(data.pictures()))
        lines.append(f"\n{n} pictures of 28 × 28; medians; one core each.")
        data.show_in_docs("speed", "\n".join(lines))


SUITES = [Speed]
