"""HTML representation of a collection in notebooks."""

from base64 import b64encode
from html import escape
from io import BytesIO

import numpy as np
import pandas as pd
from PIL import Image

_SIDE = 56  # pixels of a thumbnail
_GAP = 4
_EACH = 4  # thumbnails of a class
_MOST_CLASSES = 20
_MOST_BYTES = 1 << 26  # of the pictures that are read for it


def _strip(images):
    """Pictures side by side as an ``<img>`` that holds its PNG."""
    thumbnails = [Image.fromarray(image).convert("RGBA") for image in images]
    for thumbnail in thumbnails:
        thumbnail.thumbnail((_SIDE, _SIDE))
    width, height = thumbnails[0].size
    larger = max(1, _SIDE // max(width, height))
    step = width + max(1, _GAP // larger)
    strip = Image.new("RGBA", (step * len(images), height))
    for i, thumbnail in enumerate(thumbnails):
        strip.paste(thumbnail, (i * step, 0))
    file = BytesIO()
    strip.save(file, "PNG", optimize=True)
    return (
        f'<img alt="" width="{strip.width * larger}" height="{strip.height * larger}" '
        'style="image-rendering: pixelated; max-width: none" '
        f'src="data:image/png;base64,{b64encode(file.getvalue()).decode()}">'
    )


def _classes_of(labels):
    """Yield (class, positions of its pictures), in order, unlabeled ones last."""
    codes, names = pd.factorize(labels)
    members = np.split(
        np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1]
    )
    order = sorted(range(len(names)), key=lambda i: (names[i] == "", names[i]))
    for i in order:
        yield names[i], members[i]


def _row(name, n, strip):
    cells = [f"<td>{name}</td>", f'<td style="text-align: right">{n:,}</td>']
    return f"<tr>{''.join(cells)}<td>{strip}</td></tr>"


def _rows(collection):
    """The rows of the table, a class each, with a few of its pictures."""
    classes = list(_classes_of(collection.labels))
    shown, rest = classes[:_MOST_CLASSES], classes[_MOST_CLASSES:]
    left = max(1, _MOST_BYTES // int(np.prod(collection.image_shape)))
    each = min(_EACH, max(1, left // len(shown)))
    for name, members in shown:
        n = min(each, len(members), left)
        left -= n
        chosen = members[np.linspace(0, len(members) - 1, n).astype(int)]
        strip = _strip(collection[chosen]) if n else ""
        yield _row(escape(name) or "no label", len(members), strip)
    if rest:
        yield _row(f"{len(rest):,} more", sum(len(members) for _, members in rest), "")


def collection_html(collection, n_bytes, files, refused):
    """Summarize a collection as HTML: classes, sample pictures, files read.

    Text and lines inherit the colors of the page, light or dark.

    Parameters
    ----------
    collection : Collection
        Open.
    n_bytes : int
        Size of its file.
    files, refused : dict of str to int
        Number of files seen by status, and of those refused by reason.

    Returns
    -------
    html : str
    """
    height, width, channels = collection.image_shape
    masked = " with masks" if channels == 4 else ""
    about = (
        f"<b>{escape(collection.path.name)}</b>: {len(collection):,} pictures of "
        f"{height} × {width}{masked}, {n_bytes / 1e6:.1f} MB, keys such as "
        f"<code>{escape(str(collection.keys[0]))}</code>"
    )
    told = ", ".join(f"{n:,} {escape(name)}" for name, n in sorted(files.items()))
    if refused:
        reasons = sorted(refused.items())
        why = ", ".join(f"{escape(name)} {n:,}" for name, n in reasons)
        told += f" ({why})"
    seen = f"<p>{sum(files.values()):,} files seen: {told}</p>" if files else ""
    return (
        f"<div><p>{about}</p><table><thead><tr><th>class</th><th>pictures</th>"
        '<th style="text-align: left">some of them</th></tr></thead>'
        f"<tbody>{''.join(_rows(collection))}</tbody></table>{seen}</div>"
    )
