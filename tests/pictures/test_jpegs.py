"""JPEGs have Pillow's pixels, and are refused where libjpeg warns of damage."""

import itertools
import zipfile
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from geoimages import ImageReadError, make_rocks, read_image


def encode(image, **options):
    file = BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, "JPEG", **options)
    return file.getvalue()


def noise(height=28, width=28, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_pillow(data):
    """What Pillow makes of a file: upright RGB, or None."""
    try:
        with Image.open(BytesIO(data)) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception:  # decoders raise nearly anything
        return None


def read_or_reason(data):
    """What the reader makes of a file: (pixels or None, reason or empty)."""
    try:
        return read_image(data), ""
    except ImageReadError as error:
        return None, error.reason


def start_of_data(data):
    return data.index(b"\xff\xda") + 14


def overwrite(data, rng, places=8, length=4):
    """Damage the scan in some places."""
    data = bytearray(data)
    for at in rng.integers(start_of_data(data), len(data) - 2 - length, places):
        data[at : at + length] = rng.bytes(length)
    return bytes(data)


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (17, 31), (40, 9), (200, 300)])
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": 0},
        {"subsampling": 1},
        {"subsampling": 2},
        {"progressive": True},
        {"restart_marker_rows": 1},
        {"keep_rgb": True},
        {"comment": b"core box 3"},
        {"icc_profile": b"profile"},
    ],
    ids=str,
)
def test_pixels_are_those_of_pillow(shape, options):
    data = encode(noise(*shape), **options)
    image, info = read_image(data, return_info=True)
    np.testing.assert_array_equal(image, by_pillow(data))
    assert (info["height"], info["width"]) == shape
    assert (info["mode"], info["bit_depth"], info["exif_orientation"]) == ("RGB", 8, 1)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_other_modes_have_pillows_pixels_too(mode, progressive):
    data = encode(Image.fromarray(noise()).convert(mode), progressive=progressive)
    image, info = read_image(data, return_info=True)
    np.testing.assert_array_equal(image, by_pillow(data))
    assert info["mode"] == mode


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_tags_turn_a_picture_upright(mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(noise(9, 14)).convert(mode), exif=exif)
    image, info = read_image(data, return_info=True)
    np.testing.assert_array_equal(image, by_pillow(data))
    assert info["exif_orientation"] == orientation


def test_damaged_tags_say_nothing_about_the_pixels():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(noise(9, 14), exif=exif)
    for at in range(data.index(b"Exif") + 6, data.index(b"\xff\xdb")):
        damaged = data[:at] + b"\xaa" + data[at + 1 :]
        assert read_image(damaged).shape in ((9, 14, 3), (14, 9, 3))


def test_thumbnails_and_what_follows_the_end_do_not_count():
    thumbnail = encode(noise(8, 8))
    data = encode(noise())
    comment = b"\xff\xfe" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    for file in (
        data[:2] + comment + data[2:],
        data[:20] + comment + data[20:],
        data + b"trailer",
        data + data,
        data + b"\xff\xda trailer" * 1000,
    ):
        np.testing.assert_array_equal(read_image(file), by_pillow(data))
    assert read_or_reason((data[:2] + comment + data[2:])[:-2])[1] == "truncated"


def test_unusual_sampling_is_refused():
    """Only Pillow decodes it, which does not say what libjpeg warns of."""
    data = bytearray(encode(noise(64, 96), subsampling=0))
    frame = data.index(b"\xff\xc0")
    data[frame + 11] = 0x31  # chroma a third as wide, which no encoder here writes
    assert by_pillow(bytes(data)) is not None
    for file in (data, data[:-400] + bytes(300) + data[-100:]):
        assert read_or_reason(bytes(file))[1] == "undecodable"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_kept_of_damaged_files_is_what_pillow_keeps(seed, progressive):
    """Any byte changed, lost or added, in the header or in the scan."""
    rng = np.random.default_rng(seed)
    data = encode(noise(28, 20, seed), quality=50, progressive=progressive)
    kept = 0
    for at in range(2, len(data), 11):
        for file in (
            data[:at] + rng.bytes(1) + data[at + 1 :],
            data[:at] + data[at + 1 :],
            data[:at] + b"\xff" + rng.bytes(1) + data[at:],
        ):
            image, reason = read_or_reason(file)
            if image is not None:
                np.testing.assert_array_equal(image, by_pillow(file))
                kept += 1
            else:
                assert reason in ("undecodable", "truncated", "not-a-picture")
    assert kept > 20


@pytest.mark.parametrize("at", [-1, -2, -40])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_that_ends_early_is_truncated(at, mode, progressive):
    data = encode(Image.fromarray(noise()).convert(mode), progressive=progressive)
    assert read_or_reason(data[:at]) == (None, "truncated")


@pytest.mark.parametrize(("mode", "least"), [("L", 45), ("RGB", 45), ("CMYK", 35)])
@pytest.mark.parametrize("tagged", [False, True])
def test_an_overwritten_scan_is_refused_in_every_mode(mode, least, tagged):
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if tagged else {}
    rng, refused = np.random.default_rng(0), 0
    for image in make_rocks(50, image_shape=(64, 64, 3), random_state=0)[0]:
        data = encode(Image.fromarray(image).convert(mode), quality=90, **options)
        assert read_or_reason(data)[0] is not None
        refused += read_or_reason(overwrite(data, rng))[0] is None
    assert refused >= least


@pytest.mark.real
def test_overwritten_files_of_the_archive_are_refused(real_data):
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(real_data / "geological_similarity.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        files = [archive.read(name) for name in rng.choice(names, 200, replace=False)]
    for data in files:
        np.testing.assert_array_equal(read_image(data), by_pillow(data))
    damaged = [read_or_reason(overwrite(data, rng))[0] for data in files]
    assert sum(image is None for image in damaged) >= 190


def test_a_progressive_file_that_lost_a_first_scan_is_refused():
    """Refinements then have nothing to refine, of which libjpeg warns."""
    data = encode(noise(), progressive=True)
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xc4"]
    files = [data[:a] + data[b:] for a, b in itertools.pairwise(starts[1:])]
    kept_by_pillow = [file for file in files if by_pillow(file) is not None]
    reasons = [read_or_reason(file)[1] for file in kept_by_pillow]
    assert reasons.count("undecodable") >= 4


def test_a_bomb_of_scans_is_refused_unseen():
    data = encode(noise(), progressive=True)
    scan = data.rindex(b"\xff\xda")
    for n in (20, 40):
        file = data[:scan] + data[scan:-2] * n + b"\xff\xd9"
        reason = read_or_reason(file)[1]
        assert (reason == "too-large") == (n == 40)
