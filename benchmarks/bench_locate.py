"""Parts of large photographs put back to the search: disturbed, and not there at all.

``locate`` runs all; ``locate:columns`` the core columns of GEOIMAGES_DATA,
``locate:drawn`` drawn photographs, ``locate:/a/folder`` photographs of your own.
"""

import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from skimage.feature import SIFT, match_descriptors
from skimage.measure import ransac
from skimage.transform import SimilarityTransform
from sklearn.frozen import FrozenEstimator

from geoimages import (
    Collection,
    PairwiseModel,
    PatternFeatures,
    locate,
    make_rocks,
    read_image,
)
from geoimages.collection.ground import rock_mask
from geoimages.collection.sources import is_picture_name

N_BOXES = int(os.environ.get("GEOIMAGES_BOXES", 40))  # of each kind
SIDES = 96, 300  # pixels of a box
_LARGEST = 8  # megapixels of a photograph that the baseline is tried on
_BASELINE = 5  # every fifth box is put to the baseline, too, which takes longest
_ALL = {"turned": True, "light": 0.15, "mirrored": True, "quality": 40}
KINDS = {
    "as cut": {},
    "turned by any angle": {"turned": True},
    "turned as a picture, its corners black": {"turned": True, "corners": True},
    "light × 0.85 to 1.15": {"light": 0.15},
    "scale 0.7 to 1.4": {"zooms": (0.7, 1.4)},
    "scale 0.5 to 2": {"zooms": (0.5, 2.0)},
    "mirrored": {"mirrored": True},
    "JPEG, quality 40": {"quality": 40},
    "all of it, scale 0.7 to 1.4": _ALL | {"zooms": (0.7, 1.4)},
    "all of it, scale 0.5 to 2": _ALL | {"zooms": (0.5, 2.0)},
}
ALL = "all of it, scale 0.7 to 1.4"


class Box(NamedTuple):
    """A part of a photograph, and how it is disturbed."""

    x: float
    y: float
    width: int
    height: int
    angle: float
    zoom: float
    light: float
    mirrored: bool
    quality: int | None
    corners: bool


def draw_box(photo, rock, rng, kind, sides=SIDES):
    """Draw a box at random, at least half of it rock: `Box`."""
    height, width = photo.shape[:2]
    high, wide = rng.integers(*sides, 2, endpoint=True)
    high, wide = min(high, height), min(wide, width)
    turned, corners = kind.get("turned", False), kind.get("corners", False)
    for _ in range(1000):
        angle = rng.uniform(0, 360) if turned else 0.0
        turn = 0 if corners else np.deg2rad(angle)
        c, s = abs(np.cos(turn)), abs(np.sin(turn))
        right, down = (c * wide + s * high) / 2, (s * wide + c * high) / 2
        if 2 * right > width or 2 * down > height:
            continue
        x = rng.integers(np.ceil(right), width - right, endpoint=True)
        y = rng.integers(np.ceil(down), height - down, endpoint=True)
        scale = np.array(rock.shape) / photo.shape[:2]
        top, bottom = (
            int((y + d) * scale[0]) for d in (-high / 2, max(high / 2, 2 / scale[0]))
        )
        left, end = (
            int((x + d) * scale[1]) for d in (-wide / 2, max(wide / 2, 2 / scale[1]))
        )
        if rock[max(0, top) : bottom, max(0, left) : end].mean() >= 0.5:
            break
    low, high_zoom = kind.get("zooms", (1.0, 1.0))
    light = kind.get("light", 0.0)
    return Box(
        float(x) + wide % 2 / 2,
        float(y) + high % 2 / 2,
        int(wide),
        int(high),
        angle,
        float(np.exp(rng.uniform(np.log(low), np.log(high_zoom)))),
        float(rng.uniform(1 - light, 1 + light)),
        bool(kind.get("mirrored") and (len(kind) == 1 or rng.random() < 0.5)),
        kind.get("quality"),
        corners,
    )


def cut(photo, box):
    """Cut a box out of its photograph and disturb it: (h, w, 3) uint8."""
    half = np.array([box.width, box.height]) / 2
    corners = np.array([box.x, box.y])
    if box.corners or not box.angle:
        low = np.rint(corners - half).astype(int)
        part = photo[low[1] : low[1] + box.height, low[0] : low[0] + box.width]
        image = Image.fromarray(part)
        if box.angle:
            image = image.rotate(box.angle, Image.Resampling.BICUBIC)
    else:
        reach = int(np.ceil(np.hypot(*half))) + 2
        low = np.floor(corners).astype(int) - reach
        image = Image.fromarray(photo).crop((*low, *(low + 2 * reach)))
        at = tuple(corners - low)
        image = image.rotate(box.angle, Image.Resampling.BICUBIC, center=at)
        image = image.transform(
            (box.width, box.height),
            Image.Transform.AFFINE,
            (1, 0, at[0] - half[0], 0, 1, at[1] - half[1]),
            Image.Resampling.BICUBIC,
        )
    if box.zoom != 1:
        size = [max(16, round(side * box.zoom)) for side in image.size]
        image = image.resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image) * box.light
    pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    pixels = pixels[:, ::-1] if box.mirrored else pixels
    if box.quality is None:
        return np.ascontiguousarray(pixels)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        file, "JPEG", quality=box.quality
    )
    return np.asarray(Image.open(file))


def overlap(row, box):
    """Intersection over union of an answer and a box."""
    x, y, width, height = row
    wide = min(x + width, box.x + box.width / 2) - max(x, box.x - box.width / 2)
    high = min(y + height, box.y + box.height / 2) - max(y, box.y - box.height / 2)
    inside = max(0, wide) * max(0, high)
    return inside / (width * height + box.width * box.height - inside)


class Baseline:
    """SIFT with scikit-image's defaults, the ratio test, and RANSAC per photograph."""

    def __init__(self, photos):
        self.known = [self._describe(photo) for photo in photos]

    @staticmethod
    def _describe(image):
        sift = SIFT()
        try:
            sift.detect_and_extract(np.asarray(Image.fromarray(image).convert("L")))
        except RuntimeError:  # no keypoints
            return np.empty((0, 2)), np.empty((0, 128), np.uint8)
        return sift.positions, sift.descriptors

    def find(self, image):
        """Return (photograph, (x, y, width, height), inliers) of the best, or None."""
        places, descriptors = self._describe(image)
        best = None
        for number, (known, theirs) in enumerate(self.known):
            if min(len(places), len(known)) < 4:
                continue
            pairs = match_descriptors(descriptors, theirs, max_ratio=0.8)
            if len(pairs) < 4:
                continue
            model, inliers = ransac(
                (places[pairs[:, 0], ::-1], known[pairs[:, 1], ::-1]),
                SimilarityTransform,
                min_samples=2,
                residual_threshold=4,
                max_trials=500,
                rng=0,
            )
            if model is None or inliers is None or (best and inliers.sum() <= best[2]):
                continue
            high, wide = image.shape[:2]
            x, y = model(np.array([[wide / 2, high / 2]]))[0]
            wide, high = wide * model.scale, high * model.scale
            box = x - wide / 2, y - high / 2, wide, high
            best = number, box, int(inliers.sum())
        return best


class Photographs:
    """Photographs, their tiles, and what is asked of them."""

    def __init__(self, names, photos, folder):
        self.names, self.photos, self.folder = names, photos, Path(folder)
        self.rock = []
        for photo in photos:
            small = Image.fromarray(photo).reduce(4)
            self.rock.append(rock_mask(np.asarray(small)))

    def tiles(self, left_out=()):
        """The photographs, or all but some, as tiles and a fitted model."""
        path = self.folder / f"tiles{'-'.join(map(str, left_out))}.h5"
        kept = [i for i in range(len(self.photos)) if i not in left_out]
        Collection.from_tiles(path, [self.names[i] for i in kept]).close()
        tiles = Collection(path, "r+")
        some = tiles[np.linspace(0, len(tiles) - 1, min(len(tiles), 1000)).astype(int)]
        features = FrozenEstimator(PatternFeatures().fit(some))
        model = PairwiseModel(features=features, image_shape=tiles.image_shape)
        return tiles, model.fit(tiles)

    def questions(self, kind, n, seed):
        """Boxes of photographs, drawn at random: (photograph, `Box`, picture)."""
        rng = np.random.default_rng(seed)
        for i in range(n):
            number = i % len(self.photos)
            box = draw_box(self.photos[number], self.rock[number], rng, kind)
            yield number, box, cut(self.photos[number], box)


class Locate:
    """Share of boxes whose first answer is the right place, IoU over 0.5."""

    def run(self, *parts):
        for part in parts or ("columns", "drawn"):
            with tempfile.TemporaryDirectory() as folder:
                photos = photographs(part, Path(folder))
                if photos is not None:
                    print(f"\n{self.__doc__} {part.rsplit('/')[-1]}:", end=" ")
                    measure(photos)


def photographs(part, folder):
    """Photographs of a part of the benchmark: `Photographs`, or None without them."""
    if part == "drawn":
        paths = []
        for i in range(4):
            path = folder / f"drawn{i}.png"
            images, _ = make_rocks(1, image_shape=(1600, 1200, 3), random_state=i)
            Image.fromarray(images[0]).save(path)
            paths.append(path)
    elif part == "columns":
        data = os.environ.get("GEOIMAGES_DATA")
        paths = sorted(Path(data, "core").glob("*.jpeg")) if data else []
    else:
        paths = sorted(p for p in Path(part).iterdir() if is_picture_name(p.name))
    if not paths:
        return None
    return Photographs(paths, [read_image(path) for path in paths], folder)


def measure(photos, seed=1000):
    """Print the table of a set of photographs."""
    names = [path.name for path in photos.names]
    megapixels = sum(photo.shape[0] * photo.shape[1] for photo in photos.photos) / 1e6
    print(f"{len(names)} photographs of {megapixels:.1f} megapixels together", end=", ")
    start = time.process_time()
    tiles, model = photos.tiles()
    print(f"{len(tiles):,} tiles; cut and described in", end=" ")
    locate(model, tiles, photos.photos[0][:200, :200])
    print(f"{time.process_time() - start:.0f} s\n")
    # Beyond, SIFT with its defaults takes gigabytes.
    largest = max(photo.size for photo in photos.photos) / 3e6
    baseline = Baseline(photos.photos) if largest < _LARGEST else None
    print("| disturbed | first | and `found` | SIFT, RANSAC | seconds | theirs |")
    print("|---|---|---|---|---|---|", flush=True)
    for number, (title, kind) in enumerate(KINDS.items()):
        first, found, theirs, seconds = [], [], [], np.zeros(2)
        questions = photos.questions(kind, N_BOXES, seed + number)
        for question, (photo, box, picture) in enumerate(questions):
            start = time.process_time()
            answer = locate(model, tiles, picture, 1)
            seconds[0] += time.process_time() - start
            right = False
            if len(answer):
                row = answer.iloc[0]
                place = row[["x", "y", "width", "height"]]
                right = row["photo"] == names[photo] and overlap(place, box) > 0.5
            first.append(right)
            found.append(right and bool(row["found"]))
            if not found[-1] and "-v" in sys.argv:
                print("  missed", names[photo], box, dict(row), flush=True)
            if question % _BASELINE or baseline is None:
                continue
            start = time.process_time()
            other = baseline.find(picture)
            seconds[1] += time.process_time() - start
            right = other is not None and other[0] == photo
            theirs.append(right and overlap(other[1], box) > 0.5)
        parts = [first, found, theirs]
        told = " | ".join(f"{np.mean(p):.2f}" if p else "" for p in parts)
        told += f" | {seconds[0] / N_BOXES:.2f} | "
        told += f"{seconds[1] / len(theirs):.2f}" if theirs else ""
        print(f"| {title} | {told} |", flush=True)
    tiles.close()
    if len(names) > 1:
        not_there(photos, seed)


def not_there(photos, seed):
    """Print how often what is not there is not found: of three photographs each is left
    out in turn, of more every other one.
    """
    n = len(photos.photos)
    parts = [[i] for i in range(n)] if n <= 3 else [range(0, n, 2), range(1, n, 2)]
    refused, theirs, least = [], [], []
    for turn, part in enumerate(parts):
        tiles, model = photos.tiles(part)
        others = [photo for i, photo in enumerate(photos.photos) if i not in part]
        size = max(photo.size for photo in others) / 3e6
        baseline = Baseline(others) if size < _LARGEST else None
        rng = np.random.default_rng(seed + 100 + turn)
        for i in range(max(8, 2 * N_BOXES // len(parts))):
            kind = KINDS["as cut"] if i % 2 else KINDS[ALL]
            number = part[i % len(part)]
            box = draw_box(photos.photos[number], photos.rock[number], rng, kind)
            picture = cut(photos.photos[number], box)
            answer = locate(model, tiles, picture, 1)
            refused.append(not answer["found"].any())
            least.append(answer["verification"].min() if len(answer) else 2.0)
            if i % _BASELINE or baseline is None:
                continue
            other = baseline.find(picture)
            # Four matches agree by chance; more are taken for an answer.
            theirs.append(other is None or other[2] <= 4)
        tiles.close()
    told = f"{np.mean(theirs):.3f}" if theirs else "not tried"
    print(
        f"\nNot there, so not found: {np.mean(refused):.3f} of {len(refused)} boxes, "
        f"least verification {min(least):.2f}; SIFT, RANSAC: {told}",
        flush=True,
    )


SUITES = [Locate]
