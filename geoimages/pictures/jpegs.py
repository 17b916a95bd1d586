"""Strict JPEG decoding by libjpeg-turbo: warnings count as damage."""

import functools
import re
import struct
from typing import NamedTuple

import simplejpeg

MOST_SCANS = 32  # encoders write 10, of CMYK 18; each costs a pass over all pixels
_HEADER_BYTES = 1 << 12  # one without tags is about 600 bytes long

# A marker with a segment, or the end; in compressed data 0xff stands before 0 or RST.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those are tables
_DAMAGE = ("Corrupt JPEG data", "Premature end", "Inconsistent progression")


class Header(NamedTuple):
    """Header of a JPEG, up to its first scan."""

    bits: int
    height: int
    width: int
    channels: int
    tagged: bool  # whether there is an APP1 segment: EXIF or XMP


def _segments(data):
    """Walk a JPEG up to its end marker: the kind of each segment and where it begins."""
    at = 2
    while marker := _MARKER.search(data, at):
        at = marker.end()
        yield data[at - 1], at
        if data[at - 1] == _END:
            return
        at += int.from_bytes(data[at : at + 2])  # a segment begins with its length


@functools.lru_cache(16)
def _read_header(data):
    frame, tagged = None, False
    for kind, at in _segments(data):
        if kind == _SCAN:
            return Header(*frame, tagged) if frame else None
        if kind in _FRAMES and frame is None and len(data) >= at + 8:
            frame = struct.unpack_from(">BHHB", data, at + 2)
        tagged |= kind == _APP1
    return None


def read_header(data):
    """Read a JPEG's header; None if there is none, or no scan after it."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    # Files of one origin share their header, so it is parsed once; what looks like the
    # first scan may lie in a thumbnail.
    first_scan = data.find(b"\xff\xda", 0, _HEADER_BYTES)
    return _read_header(data[: first_scan + 2]) or _read_header.__wrapped__(data)


def has_too_many_scans(data):
    """Whether decoding a JPEG may take far longer than its size suggests."""
    # What is counted at once may lie in a thumbnail, or after the end.
    return data.count(b"\xff\xda") > MOST_SCANS and (
        sum(kind == _SCAN for kind, _ in _segments(data)) > MOST_SCANS
    )


def decode(data, channels):
    """Decode a JPEG: (h, w, 3) uint8, or (h, w, 4) of a CMYK one.

    Parameters
    ----------
    data : bytes
        A file.
    channels : int
        Of the file: 1, 3 or 4.

    Returns
    -------
    pixels : ndarray or None
        None where this decoder cannot: unusual sampling, or damage to the header.

    Raises
    ------
    ValueError
        If the scan is damaged: what libjpeg warns of, and otherwise fills with grey
        or with whatever the bits happen to mean.
    """
    try:
        return simplejpeg.decode_jpeg(data, "CMYK" if channels == 4 else "RGB")
    except ValueError as error:
        if str(error).startswith(_DAMAGE):
            raise
        return None
