"""What libtiff says while Pillow decodes, which it would print, and JPEG inside TIFF."""

import contextlib
import ctypes

from PIL import Image

from . import jpegs

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_messages = []


@_HANDLER
def _note(module, form, _):
    """Keep a message without its numbers, which are C's business."""
    _messages.append(b"%s: %s" % (module or b"libtiff", form or b""))


def _find_setter():
    """libtiff's own function that takes a handler, or None where nothing finds it."""
    try:
        setter = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError, TypeError):  # linked statically, as on Windows
        return None
    setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    return setter


_set_handler = _find_setter()


@contextlib.contextmanager
def listening():
    """Yield the list of libtiff's errors in this block, none of which is printed."""
    _messages.clear()
    if _set_handler is None:
        yield _messages
        return
    before = _set_handler(ctypes.cast(_note, ctypes.c_void_p))
    try:
        yield _messages
    finally:
        _set_handler(before)


_OFFSETS, _SIZES = (273, 324), (279, 325)  # of strips, and of tiles
_TABLES = 347


def check_jpegs(tags, data):
    """Decode each strip or tile of a JPEG-compressed TIFF strictly.

    Pillow tells libtiff to swallow the warnings of libjpeg.

    Parameters
    ----------
    tags : PIL.TiffImagePlugin.ImageFileDirectory_v2
    data : bytes
        The file.

    Raises
    ------
    ValueError
        If one is damaged.
    """
    starts = next((tags[tag] for tag in _OFFSETS if tag in tags), ())
    sizes = next((tags[tag] for tag in _SIZES if tag in tags), ())
    tables = bytes(tags.get(_TABLES, b""))
    for start, size in zip(starts, sizes, strict=True):
        part = data[start : start + size]
        if len(part) < size:
            raise ValueError("Premature end of JPEG file")
        if tables.startswith(b"\xff\xd8") and tables.endswith(b"\xff\xd9"):
            part = tables[:-2] + part[2:]
        header = jpegs.read_header(part)
        if header is None or jpegs.has_too_many_scans(part):
            raise ValueError("a strip without a header, or of too many scans")
        if jpegs.decode(part, header.channels) is None:
            raise ValueError("a strip that cannot be decoded strictly")
