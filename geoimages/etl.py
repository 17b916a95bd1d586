"""Images and Labels: the data preparation of the proof of concept."""

import json
import os
import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from .collection.duplicates import find_duplicates
from .collection.lineage import ROTATIONS, lineage_of
from .collection.sampling import sample_groups
from .collection.sources import is_picture_name, members_of, open_source, open_zip
from .collection.splits import groups_of
from .collection.store import vectors_frame
from .files import atomic_path, progress
from .pictures.reading import ImageReadError, read_image
from .pictures.resizing import check_size, resize_image
from .pictures.scaling import check_scale

_WITH_ALPHA = (".png", ".tif", ".tiff", ".webp")


def _plain(value):
    """Convert NumPy values and paths for JSON."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"JSON holds no {type(value).__name__}; turn {value!r} into text or numbers."
    )


def _grey(images):
    """Average the channels: (..., h, w, c) -> (..., h, w) uint8."""
    return np.rint(images.mean(axis=-1)).astype(np.uint8)


def class_of(metadata, key):
    """Return the class of a picture from the metadata of `Images`, old ones included.

    This is its folder if that is a class, otherwise the class of its label. Metadata of
    the proof of concept have neither; there the key starts with the class.
    """
    about = metadata["images"][key]
    folder, dirs = Path(about["file_path"]).parent.name, metadata.get("dirs")
    dirs = dirs if isinstance(dirs, dict) else {}
    if folder in dirs:
        return folder
    if "label" in about:
        names = [n for n, d in dirs.items() if d["label"] == about["label"]]
        return names[0] if names else str(about["label"])
    return folder if key.startswith(f"{folder}.") else key.split(".")[0]


def _path_property(name, doc):
    """A property that converts its value to a `Path`."""

    def get(self):
        return getattr(self, name)

    def set_(self, path):
        setattr(self, name, Path(path))

    return property(get, set_, doc=doc)


class Images:
    """A folder of class folders, and the steps to convert it to rows.

    Parameters
    ----------
    images_path : str or path-like, default="../images/geological_similarity"
        Folder of the pictures, in one folder per class. The class of pictures without a
        class folder is the prefix of their names, if all are named like
        ``marble.MGN0Z.jpg``: letters, a dot, letters and digits.
    data_path : str or path-like, default="../datasets"
        Folder of the files written by `write_json`.
    dev_path : str or path-like, default="../images/dev"
        Target folder of `sample_images`. If it, or `data_path`, is below `images_path`,
        its content is never listed.
    sub_dirs : dict, optional
        ``{folder: {"label": int}}``, the class folders to use. By default every
        folder below `images_path` that holds files, numbered in alphabetical order.

    Attributes
    ----------
    metadata : dict
        The result of the last `generate_image_metadata` or `read_json`, or the value it
        was set to; None after the pictures changed. ``images_meta_data`` is an alias.

    See Also
    --------
    Collection : Reads a folder or zip into one file in a single pass.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoimages import Images, write_rocks
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> archive = write_rocks(folder / "rocks.zip", 12, random_state=0)
    >>> images = Images(folder / "images", folder / "data", folder / "dev")
    >>> len(images.unzip_images(archive))
    12
    >>> len(images.rename_images())
    12
    >>> metadata = images.generate_image_metadata()
    >>> len(metadata["images"]), metadata["errata"]
    (12, [])
    >>> images.images_to_vectors_df().shape
    (12, 2352)
    """

    def __init__(
        self,
        images_path="../images/geological_similarity",
        data_path="../datasets",
        dev_path="../images/dev",
        sub_dirs=None,
    ):
        self.images_path = images_path
        self.data_path = data_path
        self.dev_path = dev_path
        self.sub_dirs = sub_dirs
        self.metadata = None
        self._listing = {}  # how the metadata was asked for

    images_path = _path_property("_images_path", "Folder of the pictures.")
    data_path = _path_property(
        "_data_path", "Folder of the files written by `write_json`."
    )
    dev_path = _path_property(
        "_dev_path", "Folder that `sample_images` takes its pictures to."
    )

    @property
    def images_meta_data(self):
        """The metadata under its old name."""
        return self.metadata

    @images_meta_data.setter
    def images_meta_data(self, metadata):
        self.metadata = metadata

    def __repr__(self):
        return f"Images({str(self.images_path)!r})"

    def _list_files(self):
        """List the files below ``images_path``, except in the other two folders."""
        root = self.images_path.resolve()
        others = [path.resolve() for path in (self.data_path, self.dev_path)]
        inside = tuple(
            f"{path.relative_to(root).as_posix()}/"
            for path in others
            if root in path.parents
        )
        with open_source(self.images_path) as source:
            return [e for e in source.entries if not e.path.startswith(inside)]

    def _entries(self):
        """List the files: (entries, loose ones too; {folder: {"label": int}})."""
        entries = self._list_files()
        pictures = [
            entry for entry in entries if entry.label and is_picture_name(entry.path)
        ]
        if self.sub_dirs is None:
            names = sorted({entry.label for entry in pictures})
            dirs = {name: {"label": i} for i, name in enumerate(names)}
        else:
            dirs = {
                name: {"label": int(d["label"])} for name, d in self.sub_dirs.items()
            }
        absent = set(dirs) - {entry.label for entry in pictures}
        if absent:
            raise FileNotFoundError(
                f"sub_dirs names {sorted(absent)}, but {self.images_path} holds no "
                "pictures in a folder of that name."
            )
        return [e for e in entries if not e.label or e.label in dirs], dirs

    def _pictures(self):
        """The files in class folders that are named as pictures: [(path, entry)]."""
        return [
            (self.images_path / entry.path, entry)
            for entry in self._entries()[0]
            if entry.label and is_picture_name(entry.path)
        ]

    def unzip_images(self, zip_path):
        """Unpack a zip into ``images_path``.

        If all files are in one folder of the same name, that folder is not doubled.

        Parameters
        ----------
        zip_path : str or path-like
            The zip.

        Returns
        -------
        paths : list of Path
            The files unpacked.

        Raises
        ------
        FileNotFoundError
            If there is no such zip.
        ValueError
            If it is not a valid zip, or a member's path leaves ``images_path``; nothing
            is unpacked.
        """
        with open_zip(zip_path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(
                    f"{zip_path} is damaged at {damaged!r}; nothing was unpacked."
                )
            members = [m for m in members_of(archive) if m.filename]
            own = f"{self.images_path.resolve().name}/"
            if all(member.filename.startswith(own) for member in members):
                for member in members:
                    member.filename = member.filename.removeprefix(own)
            self.images_path.mkdir(parents=True, exist_ok=True)
            self.metadata = None
            return [
                Path(archive.extract(member, self.images_path))
                for member in progress(members, desc="unzipping", unit="file")
            ]

    def rename_images(self):
        """Prefix every picture's name with its folder's, as in ``marble.MGN0Z.jpg``.

        Pictures that already have the prefix are not renamed.

        Returns
        -------
        renamed : dict
            New path by old path.

        Raises
        ------
        FileExistsError
            If a file with a new name already exists; nothing is renamed.
        """
        renamed = {}
        for path, entry in self._pictures():
            if not path.name.startswith(f"{entry.label}."):
                renamed[path] = path.with_name(f"{entry.label}.{path.name}")
        for path, new in renamed.items():
            if new.exists():
                raise FileExistsError(
                    f"{path} cannot be renamed: {new} exists; move one of them away."
                )
        self.metadata = None
        for path, new in renamed.items():
            path.rename(new)
        return renamed

    def _copies(self):
        """Number the groups of duplicates; NaN for pictures without one.

        Pictures are compared at no more than 32 pixels a side, those of one shape with
        each other.
        """
        pictures, shapes = self._pictures(), {}
        bar = progress(pictures, desc="reading pictures", unit="picture")
        for i, (path, _) in enumerate(bar):
            try:
                image = read_image(path)
            except ImageReadError:
                continue
            size = [min(side, 32) for side in image.shape[:2]]
            image = resize_image(image, size, "stretch")
            shapes.setdefault(image.shape, []).append((i, image))
        copies, n_groups = np.full(len(pictures), np.nan), 0
        for alike in shapes.values():
            positions, images = zip(*alike, strict=True)
            groups = find_duplicates(np.stack(images)).groups
            copies[np.array(positions)[groups.index]] = groups + n_groups
            n_groups += len(groups)
        return copies

    def sample_images(
        self, sample_percent=0.1, random_state=None, move=True, duplicates=True
    ):
        """Move or copy a sample of each class to ``dev_path``.

        Rotated copies stay with their original, and duplicates with each other.

        Parameters
        ----------
        sample_percent : float, default=0.1
            Share of each class, in (0, 1]; at least one picture is taken.
        random_state : int, RandomState or None, default=None
            Seed.
        move : bool, default=True
            Whether to move or to copy the pictures.
        duplicates : bool, default=True
            Whether to detect duplicates with `find_duplicates`; otherwise only rotated
            copies are recognized, by name.

        Returns
        -------
        taken : list of Path
            The new paths: ``dev_path/<class>/<file name>``, or with their original
            folders below ``dev_path`` if two pictures of a class share a file name.

        Raises
        ------
        ValueError
            If `sample_percent` is not a share.
        FileExistsError
            If a file of that name is already in ``dev_path``; nothing is moved.
        """
        pictures = self._pictures()
        chosen = sample_groups(
            [entry.label for _, entry in pictures],
            groups_of(
                [entry.key for _, entry in pictures],
                column=self._copies() if duplicates else None,
            ),
            sample_percent,
            random_state,
        )
        places = [f"{entry.label}/{path.name}" for path, entry in pictures]
        if len(set(places)) < len(places):
            places = [entry.path for _, entry in pictures]
        moves = {
            path: self.dev_path / place
            for (path, _), place, taken in zip(pictures, places, chosen, strict=True)
            if taken
        }
        for new in moves.values():
            if new.exists():
                raise FileExistsError(
                    f"{new} exists; empty {self.dev_path} before sampling again."
                )
        self.metadata = None if move else self.metadata
        for path, new in progress(moves.items(), desc="sampling", unit="picture"):
            new.parent.mkdir(parents=True, exist_ok=True)
            (shutil.move if move else shutil.copy2)(path, new)
        return list(moves.values())

    def rotate_images(self, suffix=None):
        """Write copies rotated by 90, 180 and 270 degrees counter-clockwise.

        A copy of ``marble.MGN0Z.jpg`` is ``marble.MGN0Z.90.jpg``. Existing copies in
        any format are kept, and copies are not rotated again. A mask (transparency) is
        kept if the format of the copy supports it.

        Parameters
        ----------
        suffix : str, optional
            Format of the copies, by default that of each original. JPEG copies are
            re-encoded at quality 95, which changes the pixels of 28 × 28 tiles by 1.5
            levels of 255 on average and by up to 15; ``".png"`` is lossless.

        Returns
        -------
        written : list of Path
            The new files. Unreadable pictures have no copies; they are in the errata of
            `generate_image_metadata`.
        """
        pictures = self._pictures()
        original = lineage_of([entry.key for _, entry in pictures])
        taken = {path.with_suffix("") for path, _ in pictures}
        self.metadata = None
        written = []
        files = zip(pictures, original, strict=True)
        bar = progress(files, desc="rotating", total=len(pictures), unit="picture")
        for (path, entry), base in bar:
            if entry.key != base:
                continue
            end = suffix or path.suffix
            try:
                image = read_image(path, alpha=end.lower() in _WITH_ALPHA)
            except ImageReadError:
                continue
            if image.shape[2] == 4 and (image[..., 3] == 255).all():
                image = image[..., :3]
            for turn in ROTATIONS:
                new = path.with_name(f"{path.stem}.{turn}{end}")
                if new.with_suffix("") in taken or new.exists():
                    continue
                save_image(np.rot90(image, turn // 90), new)
                written.append(new)
        return written

    def generate_image_metadata(self, exp_size=(28, 28, 3), resize=False):
        """List the pictures, and the files that cannot be used.

        Parameters
        ----------
        exp_size : tuple of int, default=(28, 28, 3)
            Expected (height, width, channels).
        resize : bool, default=False
            Whether to accept pictures of another size and resize them when read;
            otherwise they are listed in the errata.

        Returns
        -------
        metadata : dict
            ``root`` (``images_path``), ``dirs`` (``{folder: {"label": int}}``),
            ``images`` (by key: ``file_name``, ``root`` (its folder), ``file_path``,
            ``size`` (height, width, channels in the file; a list, as JSON has it) and
            ``label``), ``errata`` (``file_path`` and ``reason`` of every other file;
            ``no-class`` is a picture outside of class folders) and ``exp_size``.

        Raises
        ------
        ValueError
            If `exp_size` is not (height, width, 3).
        """
        if np.shape(exp_size) != (3,) or exp_size[2] != 3:
            raise ValueError(
                f"exp_size is (height, width, 3): pictures are read as RGB; got "
                f"{exp_size!r}."
            )
        exp_size = tuple(int(side) for side in exp_size)
        images, errata = {}, []
        entries, dirs = self._entries()
        flat = [e for e in entries if e.label and "/" not in e.path]
        if flat:
            warnings.warn(
                f"{len(flat)} pictures lie in no class folder; their classes are what "
                f"their names begin with, as {flat[0].label!r} of {flat[0].path!r}.",
                stacklevel=2,
            )
        for entry in progress(entries, desc="listing", unit="file"):
            path = self.images_path / entry.path
            try:
                if not is_picture_name(entry.path):
                    raise ImageReadError("not-a-picture", path)
                size = list(read_image(path).shape)
            except ImageReadError as error:
                errata.append({"file_path": str(path), "reason": error.reason})
                continue
            other = size != list(exp_size) and not resize
            if not entry.label or other:
                reason = "other-size" if entry.label else "no-class"
                errata.append({"file_path": str(path), "reason": reason})
                continue
            images[entry.key] = {
                "file_name": path.name,
                "root": str(path.parent),
                "file_path": str(path),
                "size": size,
                "label": dirs[entry.label]["label"],
            }
        self._listing = {"exp_size": exp_size, "resize": resize}
        self.metadata = {
            "root": str(self.images_path),
            "dirs": dirs,
            "images": images,
            "errata": errata,
            "exp_size": list(exp_size),
        }
        return self.metadata

    def _size_of_pictures(self):
        """(height, width, 3) that the metadata expect, or that most pictures have."""
        if "exp_size" in self.metadata:
            return tuple(self.metadata["exp_size"])
        sizes = Counter(
            tuple(about["size"])[:2]
            for about in self.metadata["images"].values()
            if "size" in about
        )
        if not sizes:
            first = next(iter(self.metadata["images"].values()))
            return read_image(first["file_path"]).shape
        return (*sizes.most_common(1)[0][0], 3)

    def _read_all(self, image_size):
        """Read the pictures of the metadata: (n, h, w, 3) uint8 and their keys."""
        if self.metadata is None:
            self.generate_image_metadata(**self._listing)
        images = self.metadata["images"]
        if not images:
            raise ValueError(
                f"{self.images_path} holds no pictures of "
                f"{tuple(self.metadata.get('exp_size', ()))}; the errata of "
                "generate_image_metadata say why, resize=True takes other sizes."
            )
        if isinstance(image_size, str):
            raise TypeError(
                f"image_size is (height, width, 3), got {image_size!r}; name the other "
                f"parameter, dtype={image_size!r}."
            )
        size = check_size(image_size or self._size_of_pictures())
        out = np.empty((len(images), *size, 3), np.uint8)
        bar = progress(images.values(), desc="reading pictures", unit="picture")
        for i, about in enumerate(bar):
            out[i] = resize_image(read_image(about["file_path"]), size)
        return out, list(images)

    def images_to_vectors_df(
        self, image_size=None, to_grey_scale=0, *, dtype="float32"
    ):
        """Read the pictures of the metadata as flat rows.

        Parameters
        ----------
        image_size : sequence of int, optional
            (height, width, channels) to resize all pictures to; by default the expected
            size of the metadata.
        to_grey_scale : {0, 1}, default=0
            Whether to average the channels, rounded to a level of 255.
        dtype : {"float32", "uint8"}, default="float32"
            float32 is in [0, 1]; uint8, in 0–255, takes a quarter of the memory.

        Returns
        -------
        vectors_df : DataFrame of shape (n, height * width * 3) or (n, height * width)
            Index ``key``.
        """
        images, keys = self._read_all(image_size)
        return vectors_frame(_grey(images) if to_grey_scale else images, keys, dtype)

    def images_to_x_y(self, image_size=None):
        """Read the pictures of the metadata and their classes.

        Parameters
        ----------
        image_size : sequence of int, optional
            As in `images_to_vectors_df`.

        Returns
        -------
        x : ndarray of shape (n, height, width, 3), uint8
        y : ndarray of shape (n,), str
            Class of each picture: its folder, or the prefix of its name.
        """
        images, keys = self._read_all(image_size)
        return images, np.array([class_of(self.metadata, key) for key in keys], str)

    @staticmethod
    def read_image(path, to_grey_scale=0):
        """Read a picture.

        Parameters
        ----------
        path : str, path-like, bytes or binary file object
            The file.
        to_grey_scale : {0, 1}, default=0
            Whether to return the mean of the channels, rounded.

        Returns
        -------
        image : ndarray of shape (height, width, 3) or (height, width), uint8

        Raises
        ------
        ImageReadError
            If it cannot be read, with the reason.
        """
        image = read_image(path)
        return _grey(image) if to_grey_scale else image

    @staticmethod
    def flatten_image(array, normalize=1):
        """Flatten a picture to a row.

        Parameters
        ----------
        array : ndarray of shape (height, width, channels) or (height, width)
            The picture; integers mean 0–255 and float 0–1.
        normalize : {0, 1}, default=1
            Whether to scale integers to float32 in [0, 1]; 0 leaves the values
            unchanged.

        Returns
        -------
        vector : ndarray of shape (height * width * channels,)

        Raises
        ------
        ValueError
            If integers are beyond 0–255, or floats beyond 0–1.
        """
        vector = np.asarray(array).ravel()
        if not normalize:
            return vector
        vector = check_scale(vector)
        if vector.dtype == np.uint8:
            return vector / np.float32(255)
        return vector

    def _data_file(self, path):
        """Resolve a relative path below ``data_path``."""
        path, root = Path(path), self.data_path.resolve()
        if path.is_absolute() or path.resolve().is_relative_to(root):
            return path
        if not (root / path).resolve().is_relative_to(root):
            raise ValueError(
                f"{path} is outside {self.data_path}; pass a path inside it, or "
                "an absolute one."
            )
        return self.data_path / path

    def write_json(self, data, path):
        """Write data, for example the metadata, as JSON.

        Parameters
        ----------
        data : object
            Anything JSON holds, NumPy's numbers and arrays, and paths.
        path : str or path-like
            The file; a relative path lies in ``data_path``.

        Returns
        -------
        path : Path
            The file written.

        Raises
        ------
        ValueError
            If a relative path leaves ``data_path``.
        TypeError
            If the data are not JSON-serializable.
        """
        path = self._data_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            text = json.dumps(data, indent=2, default=_plain)
            temporary.write_text(text, encoding="utf-8")
        return path

    def read_json(self, path):
        """Read a JSON file.

        Metadata of pictures become ``metadata``, also those that the proof of concept
        wrote.

        Parameters
        ----------
        path : str or path-like
            The file; a relative path lies in ``data_path``.

        Returns
        -------
        data : object

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not JSON, or a relative path climbs out of ``data_path``.
        """
        path = self._data_file(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"No file at {path}; write_json writes one."
            ) from None
        except ValueError as error:
            raise ValueError(f"{path} is not JSON ({error}).") from None
        if isinstance(data, dict) and isinstance(data.get("images"), dict):
            self.metadata = data
        return data


def save_image(image, path):
    """Write a uint8 picture atomically; JPEG at quality 95.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3) or (height, width, 4), uint8
        The picture.
    path : str or path-like
        The file; its suffix names the format.
    """
    path = Path(path)
    Image.init()
    kind = Image.EXTENSION.get(path.suffix.lower())
    if kind is None:
        raise ValueError(
            f"Unknown picture format {path.suffix!r}; use '.png' or '.jpg'."
        )
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    with atomic_path(path) as temporary:
        Image.fromarray(np.ascontiguousarray(image)).save(temporary, kind, **options)


class Labels:
    """Encoding of labels for neural networks."""

    @staticmethod
    def categorical_to_onehot(y):
        """One-hot encode labels.

        Parameters
        ----------
        y : array-like of shape (n,)
            Labels; bytes, which ``.h5`` files hold, are decoded.

        Returns
        -------
        onehot : ndarray of shape (n, n_classes), float32
            1 in the column of each row's class.
        classes : ndarray of shape (n_classes,)
            The classes, sorted: those of the columns.

        Examples
        --------
        >>> onehot, classes = Labels.categorical_to_onehot(["schist", "gneiss"])
        >>> onehot.tolist(), classes.tolist()
        ([[0.0, 1.0], [1.0, 0.0]], ['gneiss', 'schist'])
        """
        y = np.asarray(y)
        y = y.ravel() if y.ndim == 2 and 1 in y.shape else y
        if y.dtype.kind in "SO":
            y = np.array([v.decode() if isinstance(v, bytes) else v for v in y])
        if y.ndim != 1:
            raise ValueError(
                f"y must be one label per picture, got an array of shape {y.shape}."
            )
        classes, positions = np.unique(y, return_inverse=True)
        return np.eye(len(classes), dtype=np.float32)[positions], classes
