"""Every kind of file becomes uint8 RGB or a reason."""

import hashlib
import pickle
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile

from geoimages import ImageReadError, read_image
from geoimages.pictures import reading
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


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_lossless_formats_give_back_the_pixels(rgb, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(read_image(encode(rgb, kind, **options)), rgb)


def test_path_bytes_and_file_read_alike(rgb, tmp_path):
    data = encode(rgb)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), BytesIO(data)):
        image = read_image(source)
        np.testing.assert_array_equal(image, rgb)
        assert image.flags.c_contiguous
        assert image.flags.writeable


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_does(rgb, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(rgb, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))))
    image, info = read_image(data, return_info=True)
    np.testing.assert_array_equal(image, expected)
    assert info["exif_orientation"] == orientation
    assert (info["height"], info["width"]) == (5, 7)


def test_grey_is_repeated_over_the_channels():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(read_image(encode(grey)), np.dstack([grey] * 3))


def test_one_bit_is_black_and_white():
    image = read_image(encode(Image.new("1", (2, 2), 1)))
    assert (image == 255).all()


def test_sixteen_bit_ramp_keeps_its_256_levels():
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)
    image, info = read_image(encode(ramp), return_info=True)
    assert len(np.unique(image)) == 256
    assert info["bit_depth"] == 16
    np.testing.assert_allclose(image[..., 0], ramp / 257, atol=0.5)
    assert (image[..., 0] == image[..., 2]).all()


def test_sixteen_bit_big_endian_tiff():
    ramp = np.linspace(0, 65535, 256).astype(">u2").reshape(16, 16)
    image = read_image(encode(Image.fromarray(ramp.astype(np.uint16)), "TIFF"))
    assert image[0, 0, 0] == 0
    assert image[-1, -1, 0] == 255


def test_float_pictures_lie_in_0_to_1():
    grey = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    image = read_image(encode(grey, "TIFF"))
    np.testing.assert_array_equal(image[..., 0].ravel(), np.arange(256))
    with pytest.raises(ImageReadError, match="beyond 0–1") as caught:
        read_image(encode(grey * 2, "TIFF"))
    assert caught.value.reason == "bit-depth"


def test_integers_beyond_16_bits_are_refused():
    with pytest.raises(ImageReadError, match="beyond 0–65535"):
        read_image(encode(np.full((2, 2), 70000, np.int32), "TIFF"))


def test_palette_and_cmyk():
    red = Image.new("RGB", (3, 2), (250, 10, 20))
    palette = read_image(encode(red.convert("P", palette=Image.Palette.ADAPTIVE)))
    assert (palette == [250, 10, 20]).all()
    cmyk = read_image(encode(red.convert("CMYK"), "TIFF"))
    np.testing.assert_allclose(cmyk[0, 0], [250, 10, 20], atol=2)
    jpeg = read_image(encode(red.convert("CMYK"), "JPEG", quality=100))
    np.testing.assert_allclose(jpeg[0, 0], [250, 10, 20], atol=4)


def test_transparency_goes_over_white_or_is_kept():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = [0, 128, 255]
    data = encode(rgba)
    np.testing.assert_array_equal(read_image(data)[0, :, 0], [255, 127, 0])
    np.testing.assert_array_equal(read_image(data, alpha=True), rgba)


def test_transparent_palette_entry_and_key_color():
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    image = read_image(encode(palette, transparency=1), alpha=True)
    assert image[0, :, 3].tolist() == [255, 0]
    deep = encode(np.array([[0, 500]], np.uint16), transparency=500)
    image = read_image(deep, alpha=True)
    assert image[0, :, 3].tolist() == [255, 0]


def test_alpha_is_255_where_there_is_none(rgb):
    image = read_image(encode(rgb), alpha=True)
    assert image.shape == (5, 7, 4)
    assert (image[..., 3] == 255).all()


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


def test_pillows_leniency_is_overruled_and_left_as_it_was(rgb, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(np.tile(rgb, (9, 9, 1)), "BMP")
    with pytest.raises(ImageReadError):
        read_image(data[:200])
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_jpeg_with_bytes_after_its_end_is_read(rgb):
    assert read_image(encode(rgb, "JPEG") + b"trailer" * 9).shape == rgb.shape


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_ends_at_its_own_end_marker(progressive):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, "JPEG", progressive=progressive)
    assert read_image(data + b"\xff\xda trailer").shape == noise.shape
    # A thumbnail's end marker, inside a segment, is not the picture's.
    thumbnail = b"\xff\xd8 thumbnail \xff\xd9"
    comment = b"\xff\xfe" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    commented = data[:2] + comment + data[2:]
    assert read_image(commented).shape == noise.shape
    with pytest.raises(ImageReadError) as caught:
        read_image(commented[:-2] + comment)
    assert caught.value.reason == "truncated"


def test_a_deep_pgm_has_16_bits():
    ramp = np.linspace(0, 65535, 16).astype(">u2")
    _, info = read_image(b"P5 4 4 65535\n" + ramp.tobytes(), return_info=True)
    assert info["bit_depth"] == 16


def test_many_pixels_are_no_warning(rgb, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(encode(rgb)).shape == rgb.shape


def test_threads_change_the_settings_of_the_process_one_at_a_time(rgb, monkeypatch):
    convert, inside, most = reading._to_uint8, [], []

    def slow(*args):
        inside.append(1)
        time.sleep(0.01)
        most.append(len(inside))
        inside.pop()
        return convert(*args)

    monkeypatch.setattr(reading, "_to_uint8", slow)
    filters = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(read_image, [encode(rgb)] * 8))
    assert all(np.array_equal(image, rgb) for image in images)
    assert most == [1] * 8
    assert warnings.filters == filters


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


def test_damaged_pixels_are_undecodable(rgb):
    data = bytearray(encode(np.tile(rgb, (20, 20, 1))))
    middle = data.index(b"IDAT") + 200
    data[middle : middle + 50] = b"\xff" * 50
    with pytest.raises(ImageReadError) as caught:
        read_image(bytes(data))
    assert caught.value.reason in ("undecodable", "truncated")


def test_too_many_pixels(rgb, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageReadError) as caught:
        read_image(encode(rgb))
    assert caught.value.reason == "too-large"


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
