"""Pictures to try the package on: drawn rocks, and the public collection."""

import http.client
import json
import math
import numbers
import os
import re
import ssl
import string
import time
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.random import sample_without_replacement
from tqdm.auto import tqdm

from ..collection.sources import is_picture_name, open_source
from ..collection.store import vectors_frame
from ..files import atomic_path, progress
from ..pictures.reading import ImageReadError, read_image
from .drawing import N_UNIFORMS, TEXTURES, draw_rocks, oversampling

GEOLOGICAL_SIMILARITY_URL = (
    "http://aws-proserve-data-science.s3.amazonaws.com/geological_similarity.zip"
)

_GEOLOGICAL_SIMILARITY_DESCR = """\
Geological similarity
---------------------
Small JPEG pictures, 28 x 28 pixels RGB in the public archive, each in a folder that is
named after a rock: andesite, gneiss, marble, quartzite, rhyolite, schist.

Despite the folder names these look like aerial land-cover tiles, of the kind of the
SAT-6 set ("gneiss" looks like buildings, "marble" like water, "schist" like roads,
"rhyolite" like trees, "andesite" and "quartzite" like grassland and bare ground).
Treat the names as labels: a score on this set says nothing about telling rocks apart.

Neighboring tiles of one scene fall on both sides of a random split, so that scores
flatter every method, and a few tiles are identical in every pixel. Color alone goes far
here; a model that leans on it fails when the light changes.
"""

_CLASSES = tuple(sorted(TEXTURES))
_BATCH_POINTS = 1 << 19
_MAX_SEED = np.iinfo(np.int32).max


def _check_count(name, value, least):
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is a whole number, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}.")
    return int(value)


def _check_drawn_shape(image_shape):
    try:
        shape = tuple(image_shape)
    except TypeError:
        shape = ()
    whole = all(isinstance(s, numbers.Integral) for s in shape)
    if len(shape) != 3 or not whole or shape[2] != 3 or min(shape[:2]) < 16:
        raise ValueError(
            "image_shape must be (height, width, 3) with sides of at least 16 pixels, "
            f"got {image_shape!r}."
        )
    return tuple(int(s) for s in shape)


def _rock_batches(n_samples, image_shape, seeds):
    """Draw rocks of three seeds a batch at a time, yielding (images, labels).

    What is drawn does not depend on the size of the batches, and the first pictures
    are the same however many follow.
    """
    order, pattern, sensor = (np.random.RandomState(seed) for seed in seeds)
    # Each run of six pictures holds every class once, in random order: shuffled, and
    # balanced to within one wherever it ends.
    runs = order.random_sample((math.ceil(n_samples / len(_CLASSES)), len(_CLASSES)))
    labels = np.array(_CLASSES)[runs.argsort(axis=1)].ravel()[:n_samples]
    h, w, _ = image_shape
    step = max(1, _BATCH_POINTS // (h * w * oversampling(h, w) ** 2))
    for start in range(0, n_samples, step):
        names = labels[start : start + step]
        uniforms = pattern.random_sample((len(names), N_UNIFORMS))
        noise = sensor.standard_normal((len(names), *image_shape)).astype(np.float32)
        images = np.empty((len(names), *image_shape), np.uint8)
        for name in np.unique(names):
            of_class = names == name
            images[of_class] = draw_rocks(name, uniforms[of_class], noise[of_class])
        yield images, names


def make_rocks(n_samples=600, *, image_shape=(28, 28, 3), random_state=None):
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
        the same rocks, finer drawn.
    random_state : int, RandomState or None, default=None
        Seed. The first pictures of a seed are the same for every `n_samples`.

    Returns
    -------
    images : ndarray of shape (n_samples, height, width, 3), uint8
        The pictures.
    labels : ndarray of shape (n_samples,), str
        Class of each picture.

    Raises
    ------
    ValueError
        If `n_samples` is below 1, or `image_shape` is not one of color pictures of
        at least 16 pixels a side.
    TypeError
        If `n_samples` is not a whole number.

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
    """
    n_samples = _check_count("n_samples", n_samples, 1)
    image_shape = _check_drawn_shape(image_shape)
    seeds = check_random_state(random_state).randint(_MAX_SEED, size=3)
    images = np.empty((n_samples, *image_shape), np.uint8)
    labels = np.empty(n_samples, dtype=np.array(_CLASSES).dtype)
    start = 0
    for batch, names in _rock_batches(n_samples, image_shape, seeds):
        stop = start + len(batch)
        images[start:stop], labels[start:stop] = batch, names
        start = stop
    return images, labels


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
        If a number or `image_shape` is out of range.
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
    image_shape = _check_drawn_shape(image_shape)
    # The first three seeds are those that make_rocks draws.
    *seeds, seed = check_random_state(random_state).randint(_MAX_SEED, size=4)
    batches = _rock_batches(n_samples, image_shape, seeds)
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


def get_data_home(data_home=None):
    """Return the folder in which downloaded collections are kept.

    Parameters
    ----------
    data_home : str or path-like, optional
        The folder. By default the one that the environment variable
        ``GEOIMAGES_HOME`` names, else ``~/geoimages_data``; ``~`` is the user's home.

    Returns
    -------
    data_home : Path
        The folder; it is made when something is first kept in it.

    Examples
    --------
    >>> from geoimages.datasets.fetching import get_data_home
    >>> get_data_home("collections").name
    'collections'
    """
    if data_home is None:
        data_home = os.environ.get("GEOIMAGES_HOME") or Path("~", "geoimages_data")
    return Path(data_home).expanduser()


_ATTEMPTS = 4
_TIMEOUT = 30  # seconds without a byte
_PAUSE = 0.5  # seconds before the second attempt, doubled for each further one
_CHUNK = 1 << 16

#: What a connection raises when it fails on the way.
_BROKEN = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)


class _Stale(Exception):
    """What was kept of the file does not belong to what the server has now."""


def _open_url(url, headers):
    """Open an address; http and https only, also after a redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)


class _Partial:
    """A download under way: ``<name>.part``, and beside it what the server said."""

    def __init__(self, url, path):
        self.url = url
        self.path = path.with_name(f"{path.name}.part")
        self._notes = path.with_name(f"{path.name}.part.json")
        self.total = self.validator = None
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            if notes["url"] == url:
                self.total, self.validator = notes["total"], notes["validator"]
        except (OSError, ValueError, LookupError, TypeError):
            pass  # without notes nothing can be resumed

    @property
    def size(self):
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def is_complete(self):
        return self.total is not None and self.size == self.total

    def start(self, response):
        """Forget what was kept; note what tells this file from a later one."""
        length = response.headers.get("Content-Length")
        self.total = int(length) if (length or "").isdigit() else None
        etag = response.headers.get("ETag", "")
        weak = not etag.startswith('"')  # a weak tag does not vouch for every byte
        self.validator = response.headers.get("Last-Modified") if weak else etag
        notes = {"url": self.url, "total": self.total, "validator": self.validator}
        self.path.write_bytes(b"")
        self._notes.write_text(json.dumps(notes), encoding="utf-8")

    def forget(self):
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)
        self.total = self.validator = None

    def finish(self, path):
        os.replace(self.path, path)
        self._notes.unlink(missing_ok=True)


def _continues(response, partial):
    """Whether a 206 answer goes on where the kept part of the same file ends."""
    match = re.fullmatch(
        r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", "")
    )
    return bool(match) and (int(match[1]), int(match[3])) == (
        partial.size,
        partial.total,
    )


def _fetch_rest(partial):
    """Ask once for what is missing and append it; return whether all is there."""
    if partial.is_complete:
        return True
    headers = {"User-Agent": "geoimages", "Accept-Encoding": "identity"}
    if partial.size and partial.total:
        headers["Range"] = f"bytes={partial.size}-"
        if partial.validator:
            headers["If-Range"] = partial.validator
    try:
        response = _open_url(partial.url, headers)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what was kept is longer than the file is now
            raise _Stale from None
        raise
    with response:
        if response.status == 200:
            partial.start(response)
        elif response.status != 206 or not _continues(response, partial):
            raise _Stale
        with (
            open(partial.path, "ab") as file,
            tqdm(
                desc=f"downloading {partial.path.stem}",
                total=partial.total,
                initial=partial.size,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    return partial.is_complete or partial.total is None


def _download(url, path):
    """Fetch `url` to `path`, whole or not at all, going on where it broke off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _Partial(url, path)
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE * 2 ** (attempt - 1))
        try:
            if _fetch_rest(partial):
                break
            why = "the connection closed early"
        except _Stale:
            partial.forget()
            why = "the file changed on the server"
        except urllib.error.HTTPError as error:
            why = f"the server answered {error.code} {error.reason}"
            if error.code < 500 and error.code != 429:
                raise ConnectionError(
                    f"Could not fetch {url}: {why}; check the address, or give a zip "
                    "that you have as url."
                ) from None
        except _BROKEN as error:
            why = str(getattr(error, "reason", None) or error or type(error).__name__)
    else:
        kept = "nothing could be kept"
        if partial.size and partial.total:
            kept = f"{partial.size:,} of {partial.total:,} bytes are in {partial.path}"
        raise ConnectionError(
            f"Could not fetch {url} in {_ATTEMPTS} attempts: {why}; {kept}. Call again "
            "to go on, or give a zip that you have as url."
        )
    damage = _zip_damage(partial.path)
    if damage:
        size = partial.size
        partial.forget()
        raise OSError(
            f"What {url} sent ({size:,} bytes) is not a whole zip: {damage}; it was "
            "deleted. Check the address, or give a zip that you have as url."
        )
    partial.finish(path)


def _zip_damage(path):
    """Read every member of a zip; return what is wrong with it, or None."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
    except Exception as error:  # zipfile raises nearly anything on damaged data
        return str(error) or type(error).__name__
    return f"{member} is damaged" if member else None


def _locate(url, data_home, download_if_missing):
    """Return the path of the zip that `url` stands for, fetching it if need be."""
    if isinstance(url, os.PathLike):
        return Path(url)
    if not isinstance(url, str):
        raise TypeError(f"url is an address or the path of a zip, got {url!r}.")
    parts = urlsplit(url)
    # One letter before the colon is a drive.
    if len(parts.scheme) < 2 and "://" not in url:
        return Path(url).expanduser()
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"url must be an http or https address or the path of a zip, got {url!r}."
        )
    name = PurePosixPath(unquote(parts.path)).name
    path = get_data_home(data_home) / (name or "geological_similarity.zip")
    if not path.exists():
        if not download_if_missing:
            raise OSError(
                f"Data not found: no {path}, and download_if_missing is False."
            )
        _download(url, path)
    return path


def _read_pictures(path):
    """Read the pictures of a zip: images, their entries, and errata."""
    pictures, entries, errata = [], [], []
    with open_source(path) as source:
        for entry in progress(source.entries, desc="reading pictures", unit="picture"):
            reason = None
            if not is_picture_name(entry.path):
                reason = "not-a-picture"
            elif not entry.label:
                reason = "no-class"
            else:
                try:
                    picture = read_image(source.read(entry), name=entry.path)
                except ImageReadError as error:
                    reason = error.reason
                except Exception:  # zipfile raises nearly anything on damaged data
                    reason = "unreadable"
            if reason:
                errata.append({"file_path": entry.path, "reason": reason})
            else:
                pictures.append(picture)
                entries.append(entry)
    if not pictures:
        raise ValueError(
            f"{path} holds no readable picture in a class folder; give a zip of "
            "<class>/<name>.jpg."
        )
    shape = Counter(picture.shape for picture in pictures).most_common(1)[0][0]
    fits = [picture.shape == shape for picture in pictures]
    errata += [
        {"file_path": entry.path, "reason": "other-size"}
        for entry, fit in zip(entries, fits, strict=True)
        if not fit
    ]
    images = np.stack([p for p, fit in zip(pictures, fits, strict=True) if fit])
    kept = [entry for entry, fit in zip(entries, fits, strict=True) if fit]
    return images, kept, sorted(errata, key=lambda erratum: erratum["file_path"])


def fetch_geological_similarity(
    data_home=None,
    *,
    url=GEOLOGICAL_SIMILARITY_URL,
    download_if_missing=True,
    return_X_y=False,
    as_frame=False,
):
    """Load the public geological similarity pictures, downloading them if need be.

    The archive comes over plain http from a third party: every member is held
    against its checksum and decoded as a picture, and nothing of it is unpacked. A
    download that breaks off goes on where it stopped, in this call or a later one,
    if the server still has the same file.

    =================   ==============================
    Classes                                          6
    Samples total       29,998 in the public archive
    Picture             28 x 28 pixels, RGB, uint8
    =================   ==============================

    Despite the names of its classes the set looks like aerial land-cover tiles; see
    ``DESCR`` before drawing conclusions from it.

    Parameters
    ----------
    data_home : str or path-like, optional
        Folder to keep the archive in; see `get_data_home`.
    url : str or path-like, default=GEOLOGICAL_SIMILARITY_URL
        Address of the archive (http or https), or the path of a zip that is there
        already, which is read where it lies. An archive of that name in `data_home`
        is not fetched again.
    download_if_missing : bool, default=True
        If False, raise an OSError where the archive is not there yet.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether ``data`` is a DataFrame and ``target`` a Series.

    Returns
    -------
    collection : Bunch
        With the attributes

        data : ndarray of shape (n, height, width, 3), uint8, or DataFrame
            The pictures. With `as_frame`, a DataFrame of shape (n, height * width * 3)
            and dtype float32 in [0, 1], index ``key``.
        target : ndarray of shape (n,), str, or Series
            Class folder of each picture.
        image_keys : ndarray of shape (n,), str
            Key of each picture, such as ``marble.MGN0Z``.
        target_names : list of str
            The classes, sorted.
        errata : list of dict
            ``file_path`` and ``reason`` of every file that was left out: not
            readable, not a picture, in no class folder, or of another size than most.
        filename : str
            Path of the archive.
        DESCR : str
            What the set is, and its traps.
    (data, target) : tuple
        If `return_X_y` is True.

    Raises
    ------
    OSError
        If the archive is not there and `download_if_missing` is False, or what was
        sent is not a whole zip (it is deleted then).
    ConnectionError
        If the archive could not be fetched, after several attempts; what arrived is
        kept as ``<name>.part`` and a later call goes on from there.
    FileNotFoundError
        If `url` is a path and there is no such file.
    ValueError
        If `url` is neither http, https nor a path, or what is there is not a zip of
        pictures in class folders.

    Examples
    --------
    A zip of the same layout, read where it lies:

    >>> import pathlib, tempfile
    >>> from geoimages import fetch_geological_similarity, write_rocks
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> path = write_rocks(folder / "rocks.zip", 12, random_state=0, n_damaged=1)
    >>> collection = fetch_geological_similarity(url=path)
    >>> collection.data.shape, collection.target_names[:2]
    ((12, 28, 28, 3), ['andesite', 'gneiss'])
    >>> [erratum["reason"] for erratum in collection.errata]
    ['truncated']
    """
    path = _locate(url, data_home, download_if_missing)
    images, entries, errata = _read_pictures(path)
    keys = np.array([entry.key for entry in entries])
    target = np.array([entry.label for entry in entries])
    target_names = np.unique(target).tolist()
    data = images
    if as_frame:
        data = vectors_frame(images, keys)
        target = pd.Series(target, index=data.index, name="label")
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        image_keys=keys,
        target_names=target_names,
        errata=errata,
        filename=str(path),
        DESCR=_GEOLOGICAL_SIMILARITY_DESCR,
    )
