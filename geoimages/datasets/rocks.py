"""Drawn rocks, as arrays or as a zip of class folders."""

import math
import numbers
import string
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement

from ..files import atomic_path, progress
from . import photographing
from .drawing import N_UNIFORMS, N_VARIETIES, TEXTURES, draw_rocks, oversampling

_TEXTURES = tuple(sorted(TEXTURES))
_VIEWS = ("surface", "photograph", "cut-out")
_BATCH_POINTS = 1 << 19
_MAX_SEED = np.iinfo(np.int32).max


def _check_count(name, value, least):
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is a whole number, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}.")
    return int(value)


def _check_drawn_shape(image_shape, view="surface"):
    try:
        shape = tuple(image_shape)
    except TypeError:
        shape = ()
    whole = all(isinstance(s, numbers.Integral) for s in shape)
    channels = (3, 4) if view == "cut-out" else (3,)
    if len(shape) != 3 or not whole or shape[2] not in channels or min(shape[:2]) < 16:
        masked = ", or 4 channels to have the mask," if view == "cut-out" else ""
        raise ValueError(
            f"image_shape must be (height, width, 3){masked} with sides of at least "
            f"16 pixels, got {image_shape!r}."
        )
    return tuple(int(s) for s in shape)


def _check_view(view):
    if view not in _VIEWS:
        raise ValueError(f"view must be one of {', '.join(_VIEWS)}, got {view!r}.")
    return view


def _check_n_classes(n_classes):
    n_classes = _check_count("n_classes", n_classes, 1)
    most = len(_TEXTURES) * N_VARIETIES
    if n_classes > most:
        raise ValueError(f"n_classes must be at most {most}, got {n_classes!r}.")
    return n_classes


def _drawn_classes(n_classes):
    """Name, texture and variety of each class."""
    if n_classes <= len(_TEXTURES):
        return [(name, name, None) for name in _TEXTURES[:n_classes]]
    varieties = [
        (f"{name}_{variety + 1}", name, variety)
        for variety in range(N_VARIETIES)
        for name in _TEXTURES
    ]
    return varieties[:n_classes]


def _rock_batches(n_samples, n_classes, image_shape, view, seeds):
    """Draw rocks of three seeds a batch at a time, yielding (images, labels).

    What is drawn does not depend on the size of the batches, and the first pictures
    are the same however many follow.
    """
    order, pattern, sensor = (np.random.RandomState(seed) for seed in seeds)
    scene, grain = (np.random.RandomState([*seeds, stream]) for stream in (0, 1))
    classes = _drawn_classes(n_classes)
    # Each run holds every class once, in random order: shuffled, and balanced to
    # within one wherever it ends.
    runs = order.random_sample((math.ceil(n_samples / n_classes), n_classes))
    numbers = runs.argsort(axis=1).ravel()[:n_samples]
    labels = np.array([name for name, _, _ in classes])[numbers]
    h, w, channels = image_shape
    step = max(1, _BATCH_POINTS // (h * w * oversampling(h, w) ** 2))
    for start in range(0, n_samples, step):
        batch = numbers[start : start + step]
        uniforms = pattern.random_sample((len(batch), N_UNIFORMS))
        noise = sensor.standard_normal((len(batch), h, w, 3)).astype(np.float32)
        images = np.empty((len(batch), h, w, 3), np.uint8)
        for number in np.unique(batch):
            here = batch == number
            _, texture, variety = classes[number]
            images[here] = draw_rocks(texture, uniforms[here], noise[here], variety)
        if view != "surface":
            uniforms = scene.random_sample((len(batch), photographing.N_UNIFORMS))
            noise = grain.standard_normal(images.shape).astype(np.float32)
            images = photographing.photograph_rocks(images, uniforms, noise, view)
        yield images[..., :channels], labels[start : start + step]


def make_rocks(
    n_samples=600,
    *,
    image_shape=(28, 28, 3),
    n_classes=6,
    view="surface",
    random_state=None,
):
    """Draw pictures of six classes of rock-like texture.

    The classes differ in texture: ``andesite`` has light laths (phenocrysts) in a
    fine ground, ``gneiss`` bands, ``marble`` veins over a cloudy ground, ``quartzite``
    interlocking grains, ``rhyolite`` folded flow lines and ``schist`` a fine wavy
    foliation with glints of mica. Orientation, scale, light, noise and color are
    random; the colors of the classes overlap, so that neither color nor a comparison
    of raw pixels is enough to tell them apart.

    Parameters
    ----------
    n_samples : int, default=600
        Number of pictures. The classes are shuffled, and their sizes differ by one
        at most.
    image_shape : tuple of int, default=(28, 28, 3)
        (height, width, 3), in pixels; sides of at least 16. Patterns are drawn in
        units of the longer side: a larger picture of the same `random_state` shows
        the same rocks, finer drawn. (height, width, 4) gives cut-outs with their mask.
    n_classes : int, default=6
        Number of classes, 1 to 30. Beyond six, the textures are divided into
        varieties, which differ in grain size, spacing, contrast and commonest color
        and overlap in each: ``andesite_1`` to ``schist_1``, then ``andesite_2`` and so
        on. A class is the same for every `n_classes` above six.
    view : {"surface", "photograph", "cut-out"}, default="surface"
        ``"surface"`` fills the picture evenly, as a tile does. ``"photograph"`` shows
        what collections hold: hand samples with broken faces on a ground and, one in
        three, close-ups; in uneven light of some color, with shadows, out of focus
        by up to 0.6 % of the longer side, half of them beside a scale bar.
        ``"cut-out"`` shows the samples alone, on white; meant for sides of 64 pixels
        or more, as ``"photograph"`` is.
    random_state : int, RandomState or None, default=None
        Seed. The first pictures of a seed are the same for every `n_samples`.

    Returns
    -------
    images : ndarray of shape (n_samples, height, width, 3 or 4), uint8
        The pictures.
    labels : ndarray of shape (n_samples,), str
        Class of each picture.

    Raises
    ------
    ValueError
        If `n_samples`, `n_classes` or `view` is out of range, or `image_shape` is not
        one of color pictures of at least 16 pixels a side.
    TypeError
        If a number is not a whole number.

    See Also
    --------
    write_rocks : Write the same pictures as a zip of JPEG files.

    Examples
    --------
    >>> from geoimages import make_rocks
    >>> images, labels = make_rocks(12, random_state=0)
    >>> images.shape, images.dtype
    ((12, 28, 28, 3), dtype('uint8'))
    >>> sorted(set(labels.tolist()))
    ['andesite', 'gneiss', 'marble', 'quartzite', 'rhyolite', 'schist']

    Photographs of hand samples, of thirty classes:

    >>> images, labels = make_rocks(
    ...     30, image_shape=(96, 96, 3), n_classes=30, view="photograph", random_state=0
    ... )
    >>> len(set(labels.tolist()))
    30
    """
    n_samples = _check_count("n_samples", n_samples, 1)
    n_classes, view = _check_n_classes(n_classes), _check_view(view)
    image_shape = _check_drawn_shape(image_shape, view)
    seeds = check_random_state(random_state).randint(_MAX_SEED, size=3)
    images = np.empty((n_samples, *image_shape), np.uint8)
    names, start = [], 0
    for batch, labels in _rock_batches(n_samples, n_classes, image_shape, view, seeds):
        stop = start + len(batch)
        images[start:stop] = batch
        names.append(labels)
        start = stop
    return images, np.concatenate(names)


def _encode_jpeg(image, quality):
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _cut_short(jpeg):
    """Lose the second half of the picture's data, as a broken copy does."""
    scan = jpeg.rfind(b"\xff\xda")
    return jpeg[: scan + (len(jpeg) - scan) // 2]


_DAMAGES = (
    _cut_short,
    lambda jpeg: b"",
    lambda jpeg: b"This picture was moved to the archive server.\r\n",
    lambda jpeg: jpeg[64:],  # the head is lost
)


def write_rocks(
    path,
    n_samples=600,
    *,
    image_shape=(28, 28, 3),
    n_classes=6,
    view="surface",
    random_state=None,
    quality=95,
    n_damaged=0,
):
    """Write drawn rocks as the zip of class folders that a user would have.

    The pictures are those of `make_rocks`, as ``rocks/<class>/<ID>.jpg``, where an ID
    is five letters and digits such as ``012L6``. They are written as they are drawn:
    memory does not grow with their number.

    Parameters
    ----------
    path : str or path-like
        The zip to write; its folder must exist. A file of that name is replaced once
        the new one is whole.
    n_samples : int, default=600
        Number of pictures.
    image_shape : tuple of int, default=(28, 28, 3)
        (height, width, 3), in pixels.
    n_classes : int, default=6
        Number of classes, 1 to 30, as in `make_rocks`.
    view : {"surface", "photograph", "cut-out"}, default="surface"
        What the pictures show, as in `make_rocks`.
    random_state : int, RandomState or None, default=None
        Seed. The same seed writes the same bytes.
    quality : int, default=95
        JPEG quality, 1 to 100.
    n_damaged : int, default=0
        Number of damaged files to add, as old archives have them: in turn a picture
        that was cut short, an empty file, a text file named ``.jpg`` and a picture
        without its head.

    Returns
    -------
    path : Path
        The zip.

    Raises
    ------
    FileNotFoundError
        If the folder of `path` does not exist.
    ValueError
        If a number, `view` or `image_shape` is out of range.
    TypeError
        If a number is not a whole number.

    See Also
    --------
    make_rocks : Draw the same pictures as arrays.

    Examples
    --------
    >>> import pathlib, tempfile, zipfile
    >>> from geoimages import write_rocks
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> path = write_rocks(folder / "rocks.zip", 3, random_state=0)
    >>> len(zipfile.ZipFile(path).namelist())
    3
    """
    path = Path(path)
    n_samples = _check_count("n_samples", n_samples, 1)
    n_damaged = _check_count("n_damaged", n_damaged, 0)
    quality = _check_count("quality", quality, 1)
    if quality > 100:
        raise ValueError(f"quality must be in [1, 100], got {quality!r}.")
    n_classes, view = _check_n_classes(n_classes), _check_view(view)
    image_shape = _check_drawn_shape(image_shape)
    # The first three seeds are those that make_rocks draws.
    *seeds, seed = check_random_state(random_state).randint(_MAX_SEED, size=4)
    batches = _rock_batches(n_samples, n_classes, image_shape, view, seeds)
    names = _picture_names(n_samples + n_damaged, seed)
    whole = []
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:

        def add(label, name, content):
            # A fixed time: the same seed gives the same bytes.
            member = zipfile.ZipInfo(f"rocks/{label}/{name}.jpg", (1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            member.create_system = 3
            archive.writestr(member, content)

        bar = progress(desc="drawing rocks", total=n_samples, unit="picture")
        with bar:
            for images, labels in batches:
                for image, label in zip(images, labels, strict=True):
                    jpeg = _encode_jpeg(image, quality)
                    add(label, next(names), jpeg)
                    if len(whole) < n_damaged:
                        whole.append((label, jpeg))
                    bar.update()
        for i in range(n_damaged):
            label, jpeg = whole[i % len(whole)]
            add(label, next(names), _DAMAGES[i % len(_DAMAGES)](jpeg))
    return path


def _picture_names(n, seed):
    """Yield different names of five letters and digits."""
    digits = string.digits + string.ascii_uppercase
    for number in sample_without_replacement(36**5, n, random_state=seed).tolist():
        yield "".join(digits[number // 36**place % 36] for place in (4, 3, 2, 1, 0))
