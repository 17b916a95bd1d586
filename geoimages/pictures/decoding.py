"""Strict decoding of bytes to upright uint8 pixels by libjpeg-turbo and Pillow."""

import contextlib
import logging
import sys
import threading
import warnings
import zlib
from io import BytesIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from . import jpegs, libtiff
from .scaling import on_white

MAX_PIXELS = 178_956_970  # what Pillow takes for a decompression bomb: 512 MiB of RGB

# Nothing that starts a program (Pillow gives PostScript to Ghostscript), and nothing
# whose pixels are not tested here.
_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_EXIF_ORIENTATION = 0x0112
_BIT_DEPTH = {"1": 1, "I": 32, "F": 32}
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}  # Pillow's, by channels
_STRIP_PIXELS = 1 << 20
_SETTINGS = threading.Lock()  # warnings and Pillow's limits are the whole process's

# TIFF tags and values.
_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 259, 262, 284, 339
_WHITE_IS_ZERO, _UNCOMPRESSED, _APART, _SIGNED = 0, 1, 2, 2
_OLD_JPEG, _JPEG = 6, 7


class Refused(Exception):
    """A refused picture: reason and detail."""


@contextlib.contextmanager
def strict_and_quiet():
    """Refuse truncated files, and mute Pillow's remarks on sizes and damaged EXIF."""
    with _SETTINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
        # Without any handler, logging prints what Pillow logs on stderr.
        logger, handler = logging.getLogger("PIL"), logging.NullHandler()
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def _orientation(image):
    """EXIF orientation of an open Pillow image, 1 to 8."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, ValueError, KeyError, SyntaxError, TypeError):
        return 1  # damaged EXIF says nothing about the pixels
    return orientation if orientation in range(1, 9) else 1


def _upright(array, orientation):
    """Undo EXIF orientation 1..8: (h, w, c) -> (h, w, c) or (w, h, c)."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _check_size(info, max_pixels):
    """Refuse a picture of too many pixels before they are decoded."""
    n_pixels = info["width"] * info["height"]
    if n_pixels > max_pixels:
        raise Refused("too-large", f"{n_pixels} pixels, at most {max_pixels}")


def _read_tags(data):
    """EXIF orientation of a JPEG whose pixels are known."""
    try:
        with strict_and_quiet(), Image.open(BytesIO(data), formats=["JPEG"]) as image:
            return _orientation(image)
    except Exception:  # tags that cannot be read say nothing about the pixels
        return 1


def _decode_jpeg(data, info, max_pixels):
    """Decode a JPEG to (h, w, 3), filling `info`; None leaves it to Pillow.

    Pillow converts CMYK, once the scan is known to be sound, and says what is wrong
    with a header.
    """
    header = jpegs.read_header(data)
    if header is None or header.bits != 8 or header.channels not in _JPEG_MODES:
        return None
    if not header.width * header.height:
        return None
    info.update(
        mode=_JPEG_MODES[header.channels],
        bit_depth=8,
        width=header.width,
        height=header.height,
        exif_orientation=1,
    )
    _check_size(info, max_pixels)
    if jpegs.has_too_many_scans(data):
        raise Refused("too-large", f"more than {jpegs.MOST_SCANS} scans")
    try:
        pixels = jpegs.decode(data, header.channels)
    except ValueError as error:
        if str(error).startswith("Premature end"):
            raise Refused("truncated", "no end marker") from None
        raise Refused("undecodable", str(error)) from None
    if pixels is None:
        raise Refused("undecodable", "its header or sampling allows no strict decoding")
    if header.channels == 4:
        return None
    if header.tagged:
        info["exif_orientation"] = _read_tags(data)
    return pixels


def _check_png(data):
    """Verify the CRC of each chunk of a PNG; Pillow skips those of the pixels."""
    data = memoryview(data)  # a slice copies nothing
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(data):
            raise Refused("truncated", "no end chunk")
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            name = bytes(kind).decode("ascii", "replace")
            raise Refused("undecodable", f"the checksum of a chunk {name} is wrong")
        at = end + 4


def _check_tiff(image, data):
    """Refuse TIFFs that Pillow converts incorrectly."""
    tags = image.tag_v2
    bits, sample_format = tags.get(_BITS, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
    if tags.get(_COMPRESSION) == _OLD_JPEG:
        raise Refused("undecodable", "JPEG inside TIFF as before 1995")
    if tags.get(_COMPRESSION) == _JPEG:
        try:
            libtiff.check_jpegs(tags, data)
        except ValueError as error:
            early = str(error).startswith("Premature end")
            raise Refused("truncated" if early else "undecodable", str(error)) from None
    if _SIGNED in sample_format and max(bits) <= 8:
        raise Refused("bit-depth", "signed 8-bit integers")
    if max(bits) == 16 and len(bits) > 1:
        if tags.get(_PLANES) == _APART:
            raise Refused("bit-depth", "16-bit colors in planes of their own")
        if image.tile[0][3][0].startswith("RGBa"):
            raise Refused("bit-depth", "16-bit colors multiplied by their opacity")
    if image.mode in ("I", "F"):
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            raise Refused("bit-depth", "32-bit values whose zero is white")
        if data[:2] == b"MM" and tags.get(_COMPRESSION) != _UNCOMPRESSED:
            raise Refused("bit-depth", "32-bit big-endian values that are compressed")


def _bit_depth(image, data):
    """Bits per channel in the file."""
    if image.format == "PNG":
        return data[24]
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(_BITS, (1,))))
    if image.format == "PPM" and image.mode == "I":
        return 16
    return 16 if image.mode.startswith("I;16") else _BIT_DEPTH.get(image.mode, 8)


def _most(mode, bits):
    """The value of white in a picture of 12, 16 or 32 bits."""
    return 1 if mode == "F" else 4095 if bits == 12 else 65535


def scaling(mode, bits):
    """Say how the values of a file become those of 8 bits, or nothing if they are.

    Parameters
    ----------
    mode : str
        Pillow's.
    bits : int
        Bits per channel in the file.

    Returns
    -------
    text : str

    Examples
    --------
    >>> scaling("I;16", 16), scaling("L", 4), scaling("RGB", 8), scaling("P", 4)
    ('0-65535 to 0-255', '0-15 to 0-255', '', '')
    """
    if mode.startswith("P") or (bits == 8 and mode != "F"):  # a palette is of 8 bits
        return ""
    most = _most(mode, bits) if bits > 8 or mode == "F" else 2**bits - 1
    return f"0-{most} to 0-255"


def _open_low_bytes(image, data):
    """Open a picture of 16-bit colors once more, for the lower byte of each value.

    Pillow keeps the upper one; as it decodes either order of bytes, the other order
    gives the lower. None where it keeps both, or there is one. Returns the picture, and
    which of its channels belong to those of `image`.
    """
    args = image.tile[0][3] if image.tile else ""
    raw = args if isinstance(args, str) else str(args[0])
    color, _, order = raw.partition(";16")
    if order not in ("B", "L", "N") or color == "I":
        return None, None
    if order == "N":  # that of this machine
        order = "L" if sys.byteorder == "little" else "B"
    swapped, channels = f"{color};16{'B' if order == 'L' else 'L'}", slice(None)
    if color == "LA":  # four bytes a pixel, as RGBA is: both of L, both of A
        swapped, channels = "RGBA", [1, 1, 1, 3]
    low = Image.open(BytesIO(data), formats=_FORMATS)
    low.tile = [
        getattr(type(tile), "_make", tuple)(
            (*tile[:3], swapped if isinstance(args, str) else (swapped, *tile[3][1:]))
        )
        for tile in low.tile
    ]
    low.load()
    return low, channels


class _Converter:
    """Turns parts of a loaded Pillow image into (h, w, 3) or, with alpha, (h, w, 4)."""

    def __init__(self, image, data):
        self.low, self.channels = _open_low_bytes(image, data)
        self.bits = _bit_depth(image, data)
        self.white_is_zero = (
            image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        )
        self.image, self.key = image, image.info.get("transparency")
        if image.format == "PNG" and image.mode == "L" and self.key is not None:
            # The key is in the file's levels, the pixels are in 0-255.
            image.info["transparency"] = self.key * 255 // (2**self.bits - 1)

    def __call__(self, box):
        part = self.image.crop(box)
        if part.mode == "1" and self.key is not None:  # early Pillow drops the key
            part = part.convert("L")
            part.info["transparency"] = min(255, self.key * 255)
        if self.low is None and not part.mode.startswith(("I", "F")):
            masked = part.has_transparency_data
            return np.asarray(part.convert("RGBA" if masked else "RGB"))
        values = np.asarray(part)
        if self.low is not None:
            low = np.asarray(self.low.crop(box))[..., self.channels]
            values = values.astype(np.uint16) << 8 | low
        out = self._to_8_bits(values, part.mode)
        if out.ndim == 2:
            out = np.repeat(out[..., None], 3, axis=2)
        if part.mode == "CMYK":
            out = np.asarray(Image.fromarray(out, "CMYK").convert("RGB"))
        if self.key is None:
            return out
        same = values == self.key
        same = same.all(axis=2) if same.ndim == 3 else same
        return np.dstack([out, np.where(same, 0, 255).astype(np.uint8)])

    def _to_8_bits(self, values, mode):
        """Values of 12, 16 or 32 bits, or float, to uint8, rounded."""
        if mode == "F":
            if not (values.min() >= 0 and values.max() <= 1):  # nor NaN
                raise Refused("bit-depth", "float values beyond 0–1")
            return np.rint(values * 255).astype(np.uint8)
        if mode == "I" and (values.min() < 0 or values.max() > 65535):
            raise Refused("bit-depth", "integers beyond 0–65535")
        most = _most(mode, self.bits)
        values = values.astype(np.uint32)
        if self.white_is_zero and mode.startswith("I"):
            values = most - values
        # 65535 / 257 = 255: every 8-bit level stands for 257 16-bit ones.
        return ((values * 255 + most // 2) // most).astype(np.uint8)


def _put(pixels, out):
    """Write (h, w, 3 or 4) into an array of 3 channels, on white, or of 4."""
    if out.shape[2] == 4:
        out[..., : pixels.shape[2]] = pixels
        if pixels.shape[2] == 3:
            out[..., 3] = 255
    else:
        out[:] = on_white(pixels) if pixels.shape[2] == 4 else pixels


def _decode_any(data, info, channels, max_pixels, is_sound):
    """Decode whatever Pillow opens to (h, w, 3 or 4) and its orientation in memory.

    The picture is converted in parts, so that it takes no more than the decoder's
    memory and the result's. A JPEG comes here sound, if it was decoded before.
    """
    with Image.open(BytesIO(data), formats=_FORMATS) as image:
        info.update(
            mode=image.mode,
            bit_depth=_bit_depth(image, data),
            width=image.width,
            height=image.height,
        )
        _check_size(info, max_pixels)
        if image.format == "PNG":
            _check_png(data)
        elif image.format == "TIFF":
            _check_tiff(image, data)
        elif image.format in ("JPEG", "MPO") and not is_sound:
            raise Refused("undecodable", "its header allows no strict decoding")
        convert = _Converter(image, data)
        info["exif_orientation"] = _orientation(image)
        with libtiff.listening() as said:
            image.load()
        if said:
            raise Refused("undecodable", said[0].decode(errors="replace"))
        # Pillow brings a TIFF upright when it loads it, and drops the tag.
        orientation = _orientation(image)
        out = np.empty((image.height, image.width, channels), np.uint8)
        wide = min(image.width, _STRIP_PIXELS)
        high = _STRIP_PIXELS // wide
        for top in range(0, image.height, high):
            for start in range(0, image.width, wide):
                part = out[top : top + high, start : start + wide]
                box = (start, top, start + part.shape[1], top + part.shape[0])
                _put(convert(box), part)
    return out, orientation


def decode(data, info, *, alpha=False, max_pixels=MAX_PIXELS):
    """Decode a file to upright pixels, on white or with their mask.

    Parameters
    ----------
    data : bytes
        A file.
    info : dict
        Information on the file is added to it, even if it is refused.
    alpha, max_pixels : as in `geoimages.read_image`

    Returns
    -------
    pixels : ndarray of shape (height, width, 3) or (height, width, 4), uint8
        C-contiguous.

    Raises
    ------
    Refused
        With a reason of `geoimages.pictures.refusals.REASONS`, and a detail.
    """
    if not data:
        raise Refused("empty-file", "")
    channels = 4 if alpha else 3
    try:
        pixels = _decode_jpeg(data, info, max_pixels)
        if pixels is None:
            with strict_and_quiet():
                # What a JPEG's header says is known where its scan was decoded.
                given = channels, max_pixels, "mode" in info
                pixels, orientation = _decode_any(data, info, *given)
            return _upright(pixels, orientation)
        pixels = _upright(pixels, info["exif_orientation"])
        if not alpha:
            return pixels
        out = np.empty((*pixels.shape[:2], 4), np.uint8)
        _put(pixels, out)
        return out
    except Refused:
        raise
    except UnidentifiedImageError:
        raise Refused("not-a-picture", "") from None
    except MemoryError:
        raise Refused("too-large", "not enough memory") from None
    except Exception as error:  # decoders raise nearly anything on damaged data
        text = str(error)
        reason = "truncated" if "truncated" in text.lower() else "undecodable"
        raise Refused(reason, text) from None
