"""Answers as the page takes them: JSON, tables and sheets."""

import json
import threading
from base64 import b64encode
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO

import numpy as np

from ..collection.text import printable, to_csv
from ..search import METRICS
from ..workflows import UNLIKE
from .pictures import encode

MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "pdf": "application/pdf",
    "png": "image/png",
    "record.json": "application/json",
}
"""Forms in which an answer can be taken away."""
_NO_SHARES = {
    *("similarity", "orientation", "mirrored", "verification", "same"),
    *METRICS,
}
_WORDS = {"conv": "learned filters", "hog": "edges", "fisher": "patches"}
_drawing = threading.Lock()  # matplotlib's fonts and text are the whole process's


def _known(value):
    """A number of a table, or None where there is none."""
    return None if value is None or value != value else float(value)


def as_page(shelf, answer, classifier):
    """What the page shows of an answer: dict."""
    table, rocks = answer.matches, shelf.rocks
    distance = table.columns[0]
    blocks = [name for name in table if name not in _NO_SHARES]
    rows = shelf.rows(shelf.positions(table.index))
    for row, (_, match) in zip(rows, table.iterrows(), strict=True):
        row |= {
            "similarity": float(match["similarity"]),
            "distance": float(match[distance]),
            "same": _known(match.get("same")),
            "orientation": _known(match.get("orientation")),
            "mirrored": bool(match.get("mirrored", False)),
            "shares": [max(0.0, float(match[name])) for name in blocks],
        }
    data, kind = encode(answer.picture, 512)
    classes = answer.classes["probability"]
    return {
        "version": shelf.version,
        "picture": f"data:{kind};base64,{b64encode(data).decode()}",
        "shape": list(rocks.image_shape[:2]),
        "distance": distance,
        "blocks": [{"name": name, "word": _WORDS.get(name, name)} for name in blocks],
        "found": answer.found,
        "matches": rows,
        "notes": answer.notes,
        "classes": [
            {"name": printable(str(name)), "probability": float(value)}
            for name, value in classes.items()
        ],
        "novelty": _known(answer.novelty),
        "unlike": bool(answer.novelty > UNLIKE),
        "classifier": classifier is not None,
        "calibrated": bool(getattr(classifier, "is_calibrated_", True)),
    }


def record(shelf, question, answer):
    """What was asked, of what, with which versions, and the answer: dict."""
    table = answer.matches.reset_index()
    return {
        "asked": question.as_dict(),
        "picture": printable(question.key) if question.key else "sent by the visitor",
        "collection": shelf.rocks.path.name,
        "collection_version": shelf.version,
        "pictures": len(shelf.rocks),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            name: version(name) for name in ("geoimages", "numpy", "scikit-learn")
        },
        "found": answer.found,
        "classes": answer.classes["probability"].to_dict(),
        "novelty": _known(answer.novelty),
        "notes": answer.notes,
        "matches": json.loads(table.to_json(orient="records", double_precision=15)),
    }


def take_away(shelf, question, answer, form):
    """Return an answer in a form of `MEDIA`: bytes."""
    if form == "csv":
        about = shelf.table.loc[answer.matches.index, ["label", *shelf.known]]
        table = answer.matches.merge(
            about,
            how="left",
            left_index=True,
            right_index=True,
            suffixes=("", "_metadata"),
        )
        return to_csv(table).encode()
    about = record(shelf, question, answer)
    if form == "record.json":
        return json.dumps(about, indent=2, ensure_ascii=False).encode()
    asked = ", ".join(f"{name} {value}" for name, value in about["asked"].items())
    line = (
        f"{about['collection']}, {len(shelf.rocks):,} pictures · {asked} · "
        f"{about['time']} · geoimages {about['versions']['geoimages']}"
    )
    from ..visualize import Plots  # half a second, which no answer need wait for

    file = BytesIO()
    with _drawing:
        figure = Plots.plot_matches(answer.matches, shelf.rocks, [answer.picture])
        height = figure.get_figheight()
        figure.text(0.5, -0.12 / height, line, ha="center", fontsize=6, color="#555555")
        options = {"metadata": {"Title": line}} if form == "pdf" else {}
        figure.savefig(
            file, format=form, dpi=150, bbox_inches="tight", pad_inches=0.2, **options
        )
    return file.getvalue()


def table_of(shelf, keys):
    """A list of pictures as CSV, with their labels and metadata: bytes."""
    positions = np.array(shelf.positions(keys), int)
    return to_csv(shelf.table.iloc[positions][["label", *shelf.known]]).encode()
