"""Rows of core found on drawn trays: how well they lie, and how right depths are.

``python -m benchmarks core`` prints a line for each kind of tray, with core drawn by
this package, and for trays of the real columns below ``core`` of ``GEOIMAGES_DATA``:
``core:wood,real`` does those of that name, ``core:real-3`` the third column only.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.draw import polygon2mask

from geoimages import find_rows, make_tray, read_image
from geoimages.datasets.trays import TRAYS
from geoimages.pictures.perspective import mapped, to_front

_EACH = 20  # trays of each kind
_SEED = 6000  # of the first; those of other seeds were looked at when this was made
_ALONG = np.stack(np.meshgrid(np.linspace(0.01, 0.99, 15), [0.05, 0.5, 0.95]), axis=-1)


def overlap(found, true, shape):
    """Intersection over union of two quadrilaterals."""
    shrink = 600 / max(shape)
    size = [int(side * shrink) + 1 for side in shape[:2]]
    first, second = (polygon2mask(size, c[:, ::-1] * shrink) for c in (found, true))
    return (first & second).sum() / max(1, (first | second).sum())


def depth_error(found, true):
    """Largest error of depth on a row of one meter, in centimeters."""
    places = _ALONG.reshape(-1, 2)
    there = mapped(np.linalg.inv(to_front(true)), places)
    return 100 * np.abs(mapped(to_front(found), there)[:, 0] - places[:, 0]).max()


def score(image, true):
    """IoU and depth error (cm) of each true row: two of (n,); 0 and 100 where lost."""
    found = find_rows(image)
    ious = np.array(
        [max([overlap(f, row, image.shape) for f in found], default=0) for row in true]
    )
    if len(found) != len(true):
        return np.minimum(ious, 0.5), np.full(len(true), 100.0)
    pairs = zip(found, true, strict=True)
    return ious, np.array([depth_error(f, row) for f, row in pairs])


def columns(number=None):
    """The real columns, lying: list of pictures."""
    folder = Path(os.environ.get("GEOIMAGES_DATA", ""), "core")
    paths = sorted(folder.glob("column*.jpeg"))
    paths = paths if number is None else paths[number - 1 : number]
    return [np.rot90(read_image(path)) for path in paths]


def strips_of(pictures, n_rows, rng):
    """Cut strips for the rows of a tray out of columns."""
    aspect = rng.uniform(4, 8)
    strips = []
    for _ in range(n_rows):
        picture = pictures[rng.randint(len(pictures))]
        length = min(picture.shape[1], int(aspect * picture.shape[0]))
        left = rng.randint(picture.shape[1] - length + 1)
        strips.append(picture[:, left : left + length])
    first = np.array(strips[0].shape[:2])
    size = np.rint(first * rng.uniform(900, 1800) / first[1]).astype(int)
    strips[0] = np.asarray(Image.fromarray(strips[0]).resize(size[::-1].tolist()))
    return strips


class Trays:
    """Rows of core on drawn trays."""

    def run(self, *names):
        print(f"\n{self.__doc__}\n")
        print(
            "| trays | rows found (IoU > 0.9) | trays whole | IoU | depth within 2 cm |"
        )
        print("|---|---|---|---|---|")
        kinds = {kind: (kind, None) for kind in TRAYS}
        if columns():
            kinds["real"] = "the real columns", columns()
            for number in (1, 2, 3):
                kinds[f"real-{number}"] = f"real column {number}", columns(number)
        for name, (title, pictures) in kinds.items():
            if not names or name.replace(" ", "-") in names:
                print(self.row(title, pictures), flush=True)

    def row(self, kind, pictures):
        """A line of the table."""
        ious, errors, whole = [], [], []
        for seed in range(_SEED, _SEED + _EACH):
            rng = np.random.RandomState(seed)
            options = {"n_rows": 3 + seed % 4, "vertical": seed % 5 == 4}
            if pictures is not None:
                options["strips"] = strips_of(pictures, options["n_rows"], rng)
            else:
                options["kind"] = kind
            tray = make_tray(**options, random_state=rng)
            iou, error = score(tray.image, tray.rows)
            ious.append(iou)
            errors.append(error)
            whole.append((iou > 0.9).all() and (error < 2).all())
        ious, errors = np.concatenate(ious), np.concatenate(errors)
        return (
            f"| {_EACH} of {kind} | {(ious > 0.9).mean():.3f} of {len(ious)} | "
            f"{np.mean(whole):.3f} | {np.median(ious):.3f} | {(errors < 2).mean():.3f} |"
        )


SUITES = [Trays]
