"""Every kind of file becomes uint8 RGB or a reason."""

import hashlib
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile

from geoimages import ImageReadError, read_image
from geoimages.pictures.reading import REASONS
from geoimages.pictures.scaling import on_white


def encode(image, kind="PNG", **options):
    file = BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_path_bytes_and_file_read_alike(rgb, tmp_path):
    data = encode(rgb)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), BytesIO(data)):
        image = read_image(source)
        np.testing.assert_array_equal(image, rgb)
        assert image.flags.c_contiguous
        assert image.flags.writeable


def test_sixteen_bit_ramp_keeps_its_256_levels():
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)
    image, info = read_image(encode(ramp), return_info=True)
    assert len(np.unique(image)) == 256
    assert info["bit_depth"] == 16
    np.testing.assert_allclose(image[..., 0], ramp / 257, atol=0.5)
    assert (image[..., 0] == image[..., 2]).all()


def test_float_pictures_lie_in_0_to_1():
    grey = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    image = read_image(encode(grey, "TIFF"))
    np.testing.assert_array_equal(image[..., 0].ravel(), np.arange(256))
    with pytest.raises(ImageReadError, match="beyond 0–1") as caught:
        read_image(encode(grey * 2, "TIFF"))
    assert caught.value.reason == "bit-depth"


def test_transparency_goes_over_white_or_is_kept():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = [0, 128, 255]
    data = encode(rgba)
    np.testing.assert_array_equal(read_image(data)[0, :, 0], [255, 127, 0])
    np.testing.assert_array_equal(read_image(data, alpha=True), rgba)


def test_empty_mask_is_refused():
    data = encode(np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(ImageReadError) as caught:
        read_image(data, alpha=True)
    assert caught.value.reason == "empty-mask"
    assert (read_image(data) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP"])
def test_truncated_files_are_never_half_read(kind):
    rng = np.random.default_rng(0)
    data = encode(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8), kind)
    for keep in range(1, len(data) - 8, max(1, len(data) // 40)):
        with pytest.raises(ImageReadError) as caught:
            read_image(data[:keep])
        assert caught.value.reason in ("truncated", "undecodable", "not-a-picture")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_lost_end_marker_is_noticed(rgb, kind):
    with pytest.raises(ImageReadError) as caught:
        read_image(encode(rgb, kind)[:-1])
    assert caught.value.reason == "truncated"


def test_a_deep_pgm_has_16_bits():
    ramp = np.linspace(0, 65535, 16).astype(">u2")
    _, info = read_image(b"P5 4 4 65535\n" + ramp.tobytes(), return_info=True)
    assert info["bit_depth"] == 16


def test_settings_of_the_process_are_left_as_they_are(rgb, monkeypatch):
    """From threads, too, and whatever Pillow is set to."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    filters = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(4) as pool:
            images = list(pool.map(read_image, [encode(rgb), encode(rgb, "BMP")] * 20))
    assert all(np.array_equal(image, rgb) for image in images)
    with pytest.raises(ImageReadError):
        read_image(encode(np.tile(rgb, (9, 9, 1)), "BMP")[:200])
    assert warnings.filters == filters
    assert Image.MAX_IMAGE_PIXELS == 20
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"", "empty-file"),
        (b"no picture at all", "not-a-picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "not-a-picture"),
        ("nowhere/at/all.jpg", "missing"),
        (".", "not-a-picture"),
    ],
)
def test_reasons(source, reason):
    with pytest.raises(ImageReadError) as caught:
        read_image(source)
    assert caught.value.reason == reason
    assert REASONS[reason] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_info_tells_what_the_ledger_needs(rgb):
    data = encode(rgb, "JPEG")
    _, info = read_image(data, return_info=True)
    assert info == {
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "mode": "RGB",
        "bit_depth": 8,
        "width": 7,
        "height": 5,
        "exif_orientation": 1,
    }


def test_a_refused_file_tells_what_was_learned(rgb):
    data = encode(np.tile(rgb, (20, 20, 1)), "JPEG")[:-100]
    with pytest.raises(ImageReadError) as caught:
        read_image(data, name="a.jpg")
    assert caught.value.info["sha256"] == hashlib.sha256(data).hexdigest()
    assert str(caught.value).startswith("a.jpg: ")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.reason, str(again)) == ("truncated", str(caught.value))


def test_other_kinds_of_source_are_a_type_error(tmp_path):
    with pytest.raises(TypeError, match="path, bytes or an open binary file, got int"):
        read_image(7)
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xd8 no text at all")
    with open(path) as file, pytest.raises(TypeError, match="mode 'rb'"):
        read_image(file)


def test_on_white_of_floats():
    rgba = np.array([[0.2, 0.4, 0.6, 0.5]])
    np.testing.assert_allclose(on_white(rgba), [[0.6, 0.7, 0.8]])
