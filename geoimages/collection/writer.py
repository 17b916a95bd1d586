"""Writer of a collection's file: pictures as plain bytes, all else by HDF5."""

import os
from importlib.metadata import version
from io import BytesIO

import h5py
import numpy as np

from .checking import crc_of_attributes, crc_of_names, crc_of_pictures
from .sealing import seal
from .tables import LEDGER, PICTURES, TEXT, Columns, write_column

FORMAT = "geoimages.collection"
FORMAT_VERSION = 3  # 1 had no checksums, 2 no seal, and chunks or texts on a heap
_WRITE_BYTES = 1 << 21


class _SeemsNew:
    """A file that seems empty until it is written to, as HDF5 expects of a new one."""

    def __init__(self, disk):
        self._disk, self._is_new = disk, True

    def __getattr__(self, name):
        return getattr(self._disk, name)

    def seek(self, offset, whence=os.SEEK_SET):
        if self._is_new and whence == os.SEEK_END:
            whence = os.SEEK_SET
        return self._disk.seek(offset, whence)

    def write(self, data):
        self._is_new = False
        return self._disk.write(data)


def _create_images(disk, shape):
    """Begin an .h5 file with a dataset whose values are, or will be, written apart.

    Returns
    -------
    file : h5py.File
    start : int
        The byte at which the values begin, whatever their number.
    """
    file = h5py.File(_SeemsNew(disk), "w")
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)  # the same pictures give the same bytes
    space = h5py.h5s.create_simple(shape)
    images = h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, space, layout)
    return file, images.get_offset()


class Writer:
    """A collection in the making: pictures go in one by one.

    They are written where HDF5 will look for them, in one piece, as plain bytes; at the
    end HDF5 writes what stands before and after them. So a killed run leaves pictures
    that can be found again, and HDF5, which goes on after a failed write, sees none.

    Parameters
    ----------
    disk : QuietFile
        The file.
    image_shape : tuple of int
        (height, width, channels).
    """

    def __init__(self, disk, image_shape):
        self.disk, self.image_shape = disk, tuple(image_shape)
        file, self.start = _create_images(BytesIO(), (1, *self.image_shape))
        file.close()
        disk.seek(self.start)
        self.pictures = Columns({"keys": TEXT, "labels": TEXT} | PICTURES)
        self.ledger = Columns(LEDGER)
        self.n_bytes = int(np.prod(self.image_shape))  # of a picture
        self.block = np.empty(
            (max(1, _WRITE_BYTES // self.n_bytes), *self.image_shape), np.uint8
        )
        self.filled, self.checksums, self.n = 0, [], 0

    def add(self, image, **row):
        """Append a picture and what is known of it."""
        self.block[self.filled] = image
        self.filled, self.n = self.filled + 1, self.n + 1
        self.pictures.append(row)
        if self.filled == len(self.block):
            self.flush()

    def flush(self):
        """Write the pictures held back."""
        if self.filled:
            images = self.block[: self.filled]
            self.disk.write(images.data)
            self.disk.check()
            self.checksums.append(crc_of_pictures(images))
            self.filled = 0

    def finish(self, write_more=None, **attributes):
        """Write everything else; `write_more` is called with the .h5 file."""
        self.flush()
        file, start = _create_images(self.disk, (self.n, *self.image_shape))
        with file:
            if self.n and start != self.start:  # without pictures they begin nowhere
                raise RuntimeError(f"pictures at byte {self.start} instead of {start}")
            self.pictures.write(file, ("keys", "labels"))
            self.pictures.write(file.create_group("pictures"), PICTURES)
            self.ledger.write(file.create_group("ledger"), LEDGER)
            checksums = np.concatenate([np.empty(0, np.uint32), *self.checksums])
            write_column(file.create_group("checksums"), "images", checksums)
            if write_more is not None:
                write_more(file)
            attributes |= {
                "columns": crc_of_names(file),
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "created_by": f"geoimages {version('geoimages')}",
            }
            attributes = {name: v for name, v in attributes.items() if v != ""}
            for name, value in sorted(attributes.items()):
                is_text = isinstance(value, str)
                file.attrs[name] = np.bytes_(value.encode()) if is_text else value
            file.attrs["crc32"] = crc_of_attributes(attributes)
        self.disk.check()
        left_out = [[start, start + self.n * self.n_bytes]] if self.n else []
        seal(self.disk, left_out)
