"""The public archive: downloaded once, verified, and read."""

import os
import sys
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ..collection.sources import is_picture_name, open_source
from ..collection.store import vectors_frame
from ..files import progress
from ..pictures.reading import ImageReadError, read_image

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
"rhyolite" like trees, "andesite" and "quartzite" like grassland and bare ground). Treat
the names as labels: a score on this set says nothing about recognizing rocks.
Neighboring tiles of one scene fall on both sides of a random split, so scores are
optimistic for every method, and a few tiles are identical in every pixel. Color alone
is very informative here; a model that relies on it fails when the light changes.
"""

_ATTEMPTS = 3
_TIMEOUT = 30  # seconds without a byte


def get_data_home(data_home=None):
    """Return the folder of downloaded datasets.

    Parameters
    ----------
    data_home : str or path-like, optional
        The folder. By default that of the environment variable ``GEOIMAGES_HOME``, or
        ``~/geoimages_data``; ``~`` is the user's home.

    Returns
    -------
    data_home : Path
        The folder, created on first use.

    Examples
    --------
    >>> from geoimages.datasets.fetching import get_data_home
    >>> get_data_home("collections").name
    'collections'
    """
    if data_home is None:
        data_home = os.environ.get("GEOIMAGES_HOME") or Path("~", "geoimages_data")
    return Path(data_home).expanduser()


def _download(url, path):
    """Fetch a zip to `path`, whole or not at all."""
    import pooch  # a third of a second, which drawn rocks need not wait for
    from requests import RequestException

    fetch = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        timeout=_TIMEOUT,
        headers={"User-Agent": "geoimages"},
    )

    def fetch_zip(url, temporary, registry):
        fetch(url, temporary, registry)
        damage = _zip_damage(temporary)
        if damage:
            raise OSError(
                f"What {url} sent is not a valid zip: {damage}; it was deleted. Check "
                "the address, or give a zip that you have as url."
            )

    registry = pooch.create(
        path.parent,
        base_url="",
        registry={path.name: None},
        urls={path.name: url},
        retry_if_failed=_ATTEMPTS - 1,
    )
    try:
        registry.fetch(path.name, downloader=fetch_zip)
    except RequestException as error:
        raise ConnectionError(
            f"Could not fetch {url} in {_ATTEMPTS} attempts: {error}; check the "
            "address, or give a zip that you have as url."
        ) from None


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
    """Load the public geological similarity pictures, downloading them if necessary.

    The archive comes over plain http from a third party: every member is checked
    against its CRC and decoded as a picture; nothing is unpacked. The download uses
    pooch, with retries.

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
        Folder for the archive; see `get_data_home`.
    url : str or path-like, default=GEOLOGICAL_SIMILARITY_URL
        Address of the archive (http or https), or the path of a local zip, which is
        read in place. An archive of that name in `data_home` is not downloaded again.
    download_if_missing : bool, default=True
        If False, raise an OSError if the archive is not available locally.
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
            ``file_path`` and ``reason`` of every file left out: unreadable, not a
            picture, in no class folder, or of another size than most.
        filename : str
            Path of the archive.
        DESCR : str
            Description of the dataset and its pitfalls.
    (data, target) : tuple
        If `return_X_y` is True.

    Raises
    ------
    OSError
        If the archive is missing and `download_if_missing` is False, or the download is
        not a valid zip (it is deleted).
    ConnectionError
        If the download failed after several attempts.
    FileNotFoundError
        If `url` is a path and there is no such file.
    ValueError
        If `url` is neither http, https nor a path, or the file is not a zip of pictures
        in class folders.

    Examples
    --------
    A local zip of the same layout:

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
