"""The seven transformations under which a picture should be found again."""

from io import BytesIO

import numpy as np
from PIL import Image

from geoimages import resize_image


def _center(image, side):
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _cropped(image, share, rng):
    """A random square part."""
    side = round(image.shape[0] * share)
    top, left = rng.integers(0, image.shape[0] - side + 1, 2)
    return resize_image(image[top : top + side, left : left + side], image.shape[:2])


def _rotated(image, degrees):
    """Rotated, and the largest square without corners cut out."""
    rotated = Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC)
    radians = np.deg2rad(degrees)
    side = int(image.shape[0] / (np.cos(radians) + np.sin(radians)))
    return resize_image(_center(np.asarray(rotated), side), image.shape[:2])


def _light(image, rng):
    return np.clip(np.rint(image * rng.uniform(0.85, 1.15)), 0, 255).astype(np.uint8)


def _jpeg(image):
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=40)
    return np.asarray(Image.open(buffer))


TRANSFORMATIONS = {
    "quarter turn": lambda image, rng: np.rot90(image, rng.integers(1, 4)),
    "mirror": lambda image, rng: image[:, ::-1],
    "center crop, 26 of 28": lambda image, rng: resize_image(
        _center(image, round(image.shape[0] * 26 / 28)), image.shape[:2]
    ),
    "random crop, 21 of 28": lambda image, rng: _cropped(image, 0.75, rng),
    "rotation by 30°": lambda image, rng: _rotated(image, 30),
    "light × 0.85 to 1.15": _light,
    "JPEG quality 40": lambda image, rng: _jpeg(image),
}


def transformed(images, name, random_state=0):
    """Transform pictures: (n, h, w, 3) uint8 -> (n, h, w, 3) uint8."""
    rng = np.random.default_rng(random_state)
    transform = TRANSFORMATIONS[name]
    return np.stack([np.ascontiguousarray(transform(image, rng)) for image in images])
