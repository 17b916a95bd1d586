"""Plain JPEGs decoded fast: one by one, or small ones of one header hundreds a call.

To set up a decoder takes longer than to decode 28 × 28 pixels. The strips of a TIFF
are whole JPEGs, and libtiff decodes them by the libjpeg that Pillow reads single files
by; so small files are laid below each other on a sheet, a TIFF in memory. Before the
first use drawn files, damaged ones among them, have to come out as they do singly, and
of every sheet the first and the last.
"""

import functools
import re
import struct
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin, features

_SHEET_PIXELS = 1 << 20
_SMALL = 1 << 14  # pixels of a picture; larger ones are no faster in sheets
_FEWEST_FILES = 16  # of a sheet; fewer are no faster
_HEADER_BYTES = 1 << 12  # plain headers are about 600 bytes long
# A marker with a segment, or the end; in compressed data 0xff stands before 0 or RST.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_NO_DATA = re.compile(rb"\xff[^\x00]")
_START_OF_SCAN = b"\xff\xda"
_SCAN_HEADER_BYTES = 14  # of three channels in one scan
_END = b"\xff\xd9"
_JFIF = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
_BASELINE, _PROGRESSIVE = b"\xff\xc0", b"\xff\xc2"
_TABLES = (b"\xff\xc4", b"\xff\xdb", b"\xff\xdd")  # Huffman, quantization, restarts
_SAMPLINGS = {  # of a baseline picture's three channels: width and height of chroma
    b"\x11\x11\x11": (1, 1),
    b"\x21\x11\x11": (2, 1),
    b"\x22\x11\x11": (2, 2),
}


class _Plain(NamedTuple):
    """What a plain header says."""

    width: int
    height: int
    sampling: tuple | None  # of a baseline picture, where it is a usual one


def ends_early(data, at=2):
    """Whether the first picture's end marker is missing; what follows it is ignored."""
    while marker := _MARKER.search(data, at):
        if marker[0] == _END:
            return False
        at = marker.end()
        at += int.from_bytes(data[at : at + 2])  # a segment begins with its length
    return True


@functools.lru_cache(16)
def _plain(header):
    """Read the bytes of a JPEG before its scan; None if they are not plain.

    Plain is a color picture whose header says nothing else: no EXIF, Adobe or color
    profile, and no second picture. Files of one origin often share their header.
    """
    if not header.startswith(_JFIF):
        return None
    plain, at = None, 20
    while at < len(header):
        marker = header[at : at + 2]
        length = int.from_bytes(header[at + 2 : at + 4])
        if marker in (_BASELINE, _PROGRESSIVE):
            frame = header[at + 4 : at + 10]
            if len(frame) < 6 or plain:
                return None
            bits, height, width, channels = struct.unpack(">BHHB", frame)
            if (bits, channels) != (8, 3):
                return None
            sampling = _SAMPLINGS.get(header[at + 11 : at + 19 : 3])
            plain = _Plain(width, height, sampling if marker == _BASELINE else None)
        elif marker not in _TABLES:
            return None
        at += 2 + length
    return plain if at == len(header) else None


def _is_allowed(n_pixels):
    """Whether Pillow would decode so many pixels without a remark."""
    return 0 < n_pixels <= (Image.MAX_IMAGE_PIXELS or 0)


def _split(data):
    """Return (what its header says, where its scan begins) of a plain JPEG, or None."""
    scan = data.find(_START_OF_SCAN, 0, _HEADER_BYTES)
    plain = _plain(data[:scan]) if scan > 0 else None
    if not plain or not _is_allowed(plain.width * plain.height):
        return None
    return plain, scan


def _decode_one(data, plain):
    """Decode one JPEG: (h, w, 3) uint8, or None where that fails."""
    size = plain.width, plain.height
    try:
        return np.asarray(Image.frombytes("RGB", size, data, "jpeg", "RGB", ""))
    except (OSError, ValueError):
        return None


def decode_plain(data):
    """Decode a plain JPEG.

    Parameters
    ----------
    data : bytes
        A file.

    Returns
    -------
    pixels : ndarray of shape (height, width, 3), uint8, or None
        None where the file is not plain, or not whole: look more closely.
    """
    split = _split(data)
    if split is None or ends_early(data, split[1]):
        return None
    return _decode_one(data, split[0])


def _tiff(files, plain):
    """Lay JPEGs of one kind below each other, as the strips of a TIFF."""
    n = len(files)
    sizes = np.array([len(data) for data in files], "<u4")
    strips = 8 + np.cumsum(sizes, dtype="<u4") - sizes  # the first follows 8 bytes
    bits_at = 8 + int(sizes.sum())
    strips_at = bits_at + 6
    sizes_at = strips_at + strips.nbytes
    short, long = 3, 4  # types of a field
    fields = [
        (256, long, 1, plain.width),
        (257, long, 1, plain.height * n),
        (258, short, 3, bits_at),
        (259, short, 1, 7),  # JPEG
        (262, short, 1, 6),  # YCbCr
        (273, long, n, strips_at),
        (277, short, 1, 3),
        (278, long, 1, plain.height),  # of a strip
        (279, long, n, sizes_at),
        (530, short, 2, plain.sampling[0] | plain.sampling[1] << 16),
    ]
    return b"".join(
        [
            struct.pack("<4sI", b"II*\0", sizes_at + sizes.nbytes),
            *files,
            struct.pack("<3H", 8, 8, 8),
            strips.tobytes(),
            sizes.tobytes(),
            struct.pack("<H", len(fields)),
            *(struct.pack("<HHII", *field) for field in fields),
            struct.pack("<I", 0),
        ]
    )


def _decode_sheet(files, plain):
    """Decode JPEGs of one kind in one call: (n, h, w, 3) uint8, or None."""
    if not _is_allowed(len(files) * plain.width * plain.height):
        return None
    try:
        with TiffImagePlugin.TiffImageFile(BytesIO(_tiff(files, plain))) as sheet:
            return np.asarray(sheet).reshape(-1, plain.height, plain.width, 3)
    except Exception:  # decoders raise nearly anything
        return None


@functools.cache
def _sheets_are_sound():
    """Whether sheets of drawn pictures, some damaged, give what single files give."""
    if not features.check("libtiff"):
        return False
    rng = np.random.default_rng(0)
    for subsampling in range(3):
        files = []
        for noise in rng.integers(0, 256, (_FEWEST_FILES, 27, 21, 3), dtype=np.uint8):
            file = BytesIO()
            Image.fromarray(noise).save(file, "JPEG", subsampling=subsampling)
            files.append(file.getvalue())
        plain, scan = _split(files[0])
        for i in range(0, len(files), 2):
            damaged = bytearray(files[i])
            half = (scan + len(damaged)) // 2
            damaged[half : half + 8] = rng.integers(0, 255, 8, dtype=np.uint8).tobytes()
            files[i] = bytes(damaged)
        expected = np.stack([_decode_one(data, plain) for data in files])
        if not np.array_equal(_decode_sheet(files, plain), expected):
            return False
    return True


def _sheet_header(data):
    """The header of a plain JPEG that sheets can hold, with that of its scan, or None.

    What is wrong with a file is then wrong with its header, or damage within its one
    scan, which libjpeg never refuses.
    """
    split = _split(data)
    if split is None or split[0].sampling is None:
        return None
    plain, scan = split
    if plain.width * plain.height > _SMALL:
        return None
    header = data[: scan + _SCAN_HEADER_BYTES]
    return header if header[scan + 2 : scan + 5] == b"\x00\x0c\x03" else None


def _group(files):
    """Positions of the files that sheets can hold, by header: {header: [position]}."""
    groups, header = {}, None
    for i, data in enumerate(files):
        if header is None or not data.startswith(header):
            header = _sheet_header(data)
        if header is None:
            continue
        marker = _NO_DATA.search(data, len(header))
        if marker and marker[0] == _END and marker.end() == len(data):
            groups.setdefault(header, []).append(i)
    return groups


def _decode_checked(files, plain):
    """Decode JPEGs of one header, the first and the last in both ways; or None.

    A header that one file can be decoded by is sound, and so for all of them.
    """
    ends = [_decode_one(files[i], plain) for i in (0, -1)]
    if any(pixels is None for pixels in ends) or not _sheets_are_sound():
        return None
    sheet = _decode_sheet(files, plain)
    agrees = sheet is not None and np.array_equal(sheet[[0, -1]], ends)
    return sheet if agrees else None


def decode_alike(files):
    """Decode those of many files that are small plain JPEGs and share their header.

    Parameters
    ----------
    files : list of bytes

    Returns
    -------
    pixels : dict of {int: ndarray of shape (height, width, 3), uint8}
        By position in `files`. The others are to be decoded one by one.
    """
    decoded = {}
    for header, positions in _group(files).items():
        plain, _ = _split(header)
        most = _SHEET_PIXELS // (plain.width * plain.height)
        for start in range(0, len(positions), most):
            part = positions[start : start + most]
            if len(part) < _FEWEST_FILES:
                continue
            sheet = _decode_checked([files[i] for i in part], plain)
            if sheet is not None:
                decoded.update(zip(part, sheet, strict=True))
    return decoded
