"""Pictures as browsers take them, at the size they are shown."""

from io import BytesIO

import simplejpeg
from PIL import Image

from ..pictures.resizing import resize_image
from ..pictures.scaling import on_white

SIZES = (64, 128, 256, 512, 1024, 2048)
"""Sides in pixels that a page may ask for."""
_EXACT = 96  # pixels of a side up to which each pixel is sent as it is
_QUALITY = 88


def encode(image, size):
    """Encode a picture, at most `size` pixels a side: (bytes, media type)."""
    scale = size / max(image.shape[:2])
    if scale < 1:
        smaller = [max(1, round(side * scale)) for side in image.shape[:2]]
        image = resize_image(image, smaller, "stretch")
    if max(image.shape[:2]) > _EXACT:
        image = on_white(image) if image.shape[2] == 4 else image
        return simplejpeg.encode_jpeg(image, quality=_QUALITY), "image/jpeg"
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue(), "image/png"
