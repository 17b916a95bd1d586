"""Every mode, format and orientation: right against drawn arrays, or refused."""

import logging
import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image

from geoimages import ImageReadError, read_image

RNG = np.random.default_rng(0)
HIGH, WIDE = 16, 24  # 2 × 3 blocks of one color each, so that a JPEG loses little


def blocks(shape, most=255, dtype=np.uint8):
    """Draw blocks of 8 px: (16, 24, ...)."""
    drawn = RNG.integers(0, most + 1, (2, 3, *shape)).astype(dtype)
    return drawn.repeat(8, axis=0).repeat(8, axis=1)


def to_8(values, most=65535):
    return np.floor(values.astype(float) * 255 / most + 0.5).astype(np.uint8)


def grey(values):
    return np.dstack([values] * 3)


def masked(color, alpha):
    return np.dstack([color, alpha])


L, LA, RGB, RGBA = blocks(()), blocks((2,)), blocks((3,)), blocks((4,))
DEEP, DEEP_RGB, DEEP_RGBA = (blocks(s, 65535, np.uint16) for s in ((), (3,), (4,)))
BITS = L > 127
PALETTE = RNG.integers(0, 256, (256, 3), dtype=np.uint8)


def paletted():
    image = Image.fromarray(L, "P")
    image.putpalette(PALETTE.ravel().tolist())
    return image


def cmyk_to_rgb(cmyk):
    """The light that neither the ink nor the black takes."""
    return (255.0 - cmyk[..., :3]) * (255.0 - cmyk[..., 3:]) / 255


# What is drawn, and what it stands for as RGB or RGBA.
MODES = {
    "1": (Image.fromarray(BITS), grey(BITS * np.uint8(255))),
    "L": (Image.fromarray(L), grey(L)),
    "LA": (
        Image.fromarray(RGBA[..., :2], "LA"),
        masked(grey(RGBA[..., 0]), RGBA[..., 1]),
    ),
    "P": (paletted(), PALETTE[L]),
    "P+": (paletted(), masked(PALETTE[L], np.where(L[0, 0] == L, 0, 255))),
    "RGB": (Image.fromarray(RGB), RGB),
    "RGBA": (Image.fromarray(RGBA), RGBA),
    "CMYK": (Image.fromarray(RGBA, "CMYK"), cmyk_to_rgb(RGBA)),
    "I;16": (Image.fromarray(DEEP), grey(to_8(DEEP))),
    "I": (Image.fromarray(DEEP.astype(np.int32)), grey(to_8(DEEP))),
    "F": (Image.fromarray((L / 255).astype(np.float32)), grey(L)),
}
FORMATS = {
    "JPEG": ("1", "L", "RGB", "CMYK"),
    "MPO": ("RGB",),
    "PNG": ("1", "L", "LA", "P", "P+", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "GIF": ("1", "L", "P", "P+"),
    "WEBP": ("L", "LA", "P", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB", "I;16", "F"),
}
TAGGED = ("JPEG", "MPO", "PNG", "TIFF", "WEBP")
STORED = {  # how an upright picture lies in a file of each EXIF orientation
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}


def stored(image, orientation):
    """A Pillow image as it lies in the file."""
    array = np.ascontiguousarray(STORED[orientation](np.asarray(image)))
    named = image.mode if image.mode in ("P", "LA", "CMYK") else None
    out = Image.fromarray(array, named)
    if image.mode == "P":
        out.putpalette(image.getpalette())
    return out


def encode(image, kind, orientation=1, **options):
    if kind == "WEBP":
        options |= {"lossless": True, "exact": True}
    if kind in ("JPEG", "MPO"):
        options |= {"quality": 100, "subsampling": 0}
    if orientation > 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    if kind == "MPO":
        second = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        options |= {"save_all": True, "append_images": [second]}
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def check(data, expected, orientation=1, atol=0):
    """Read a file with and without its mask."""
    expected = np.asarray(expected)
    for alpha in (False, True):
        if alpha and expected.shape[2] == 4 and not (expected[..., 3] > 127).any():
            continue
        image, info = read_image(data, alpha=alpha, return_info=True)
        wanted = expected.astype(float)
        if alpha and wanted.shape[2] == 3:
            wanted = masked(wanted, np.full(wanted.shape[:2], 255.0))
        elif not alpha and wanted.shape[2] == 4:
            opacity = wanted[..., 3:] / 255
            wanted = wanted[..., :3] * opacity + 255 * (1 - opacity)
        rounded = atol or 0.5 * (not alpha and expected.shape[2] == 4)
        np.testing.assert_allclose(image, wanted, atol=rounded, rtol=1e-9)
        assert info["exif_orientation"] == orientation
        assert image.dtype == np.uint8
        assert image.flags.carray


@pytest.mark.parametrize(
    ("kind", "mode", "orientation"),
    [
        (kind, mode, orientation)
        for kind, modes in FORMATS.items()
        for mode in modes
        for orientation in (STORED if kind in TAGGED else [1])
    ],
)
def test_every_mode_in_every_format(kind, mode, orientation):
    image, expected = MODES[mode]
    if (kind, mode) == ("BMP", "RGBA"):
        expected = RGBA[..., :3]  # the fourth byte of a BMP's pixel means nothing
    options = {"transparency": int(L[0, 0])} if mode == "P+" else {}
    data = encode(stored(image, orientation), kind, orientation, **options)
    # CMYK is rounded by Pillow's integers; a JPEG of one-colored blocks loses 3 levels.
    atol = {"JPEG": 4, "MPO": 4}.get(kind, 1 if mode == "CMYK" else 0)
    check(data, expected, orientation, atol)


TIFF = {  # what tifffile writes: array, options, what it stands for
    "grey": (L, {}, grey(L)),
    "white is 0": (L, {"photometric": "miniswhite"}, grey(255 - L)),
    "RGB": (RGB, {}, RGB),
    "RGBA": (RGBA, {"extrasamples": ["unassalpha"]}, RGBA),
    "grey and alpha": (
        LA,
        {"photometric": "minisblack", "extrasamples": ["unassalpha"]},
        masked(grey(LA[..., 0]), LA[..., 1]),
    ),
    "16 bits": (DEEP, {}, grey(to_8(DEEP))),
    "16 bits, white is 0": (
        DEEP,
        {"photometric": "miniswhite"},
        grey(to_8(65535 - DEEP)),
    ),
    "RGB of 16 bits": (DEEP_RGB, {}, to_8(DEEP_RGB)),
    "RGBA of 16 bits": (DEEP_RGBA, {"extrasamples": ["unassalpha"]}, to_8(DEEP_RGBA)),
    "RGBX of 16 bits": (
        DEEP_RGBA,
        {"extrasamples": ["unspecified"]},
        to_8(DEEP_RGBA[..., :3]),
    ),
    "32 bits": (DEEP.astype(np.int32), {}, grey(to_8(DEEP))),
    "float": ((L / 255).astype(np.float32), {}, grey(L)),
}
LAYOUTS = {
    "one strip": {},
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 16)},
    "compressed": {"compression": "zlib"},
    "predicted": {"compression": "zlib", "predictor": True},
    "pages": {},
    "BigTIFF": {"bigtiff": True},
    "planar": {"planarconfig": "separate"},
}
REFUSED = {  # what Pillow gets wrong, or does not know
    "signed 8 bits": (L.view(np.int8), {}),
    "signed 16 bits": (DEEP.view(np.int16), {}),
    "integers over 16 bits": (DEEP.astype(np.int32) + 65536, {}),
    "integers that are small with their bytes swapped": (
        np.full((HIGH, WIDE), 1 << 24, np.int32),
        {},
    ),
    "float over 1": ((L / 127).astype(np.float32), {}),
    "float RGB": ((RGB / 255).astype(np.float32), {}),
    "half floats": ((L / 255).astype(np.float16), {}),
    "16 bits times alpha": (DEEP_RGBA, {"extrasamples": ["assocalpha"]}),
    "float, white is 0": ((L / 255).astype(np.float32), {"photometric": "miniswhite"}),
}


def write_tiff(array, layout="one strip", order="<", orientation=1, **options):
    options = {"photometric": "rgb" if array.ndim == 3 else "minisblack"} | options
    array = np.ascontiguousarray(STORED[orientation](array))
    if layout == "planar":
        array = array.transpose(2, 0, 1)
    file = BytesIO()
    with tifffile.TiffWriter(
        file, byteorder=order, bigtiff=layout == "BigTIFF"
    ) as writer:
        layout_options = {k: v for k, v in LAYOUTS[layout].items() if k != "bigtiff"}
        tags = [(274, "H", 1, orientation, True)]
        writer.write(array, extratags=tags, **options, **layout_options)
        if layout == "pages":
            writer.write(array[::-1], extratags=tags, **options)
    return file.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        (kind, layout)
        for kind, (array, _, _) in TIFF.items()
        for layout in LAYOUTS
        # A single plane has no other layout, floats have a predictor of their own.
        if not (layout == "planar" and array.ndim == 2)
        and not (layout == "predicted" and array.dtype.kind == "f")
    ],
)
def test_tiffs_of_every_layout(kind, layout, order):
    array, options, expected = TIFF[kind]
    data = write_tiff(array, layout, order, **options)
    big = order == ">"
    if (
        # Pillow knows none of these three, and gets the others wrong.
        (big and layout == "BigTIFF")
        or (big and kind == "16 bits, white is 0")
        or (layout == "planar" and kind == "grey and alpha")
        or (big and array.dtype.itemsize == 4 and "compression" in LAYOUTS[layout])
        or (layout == "planar" and "16" in kind)
    ):
        with pytest.raises(ImageReadError) as caught:
            read_image(data)
        assert caught.value.reason in ("not-a-picture", "bit-depth", "undecodable")
    else:
        check(data, expected)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", TIFF)
def test_tiffs_whichever_way_up(kind, orientation):
    array, options, expected = TIFF[kind]
    check(write_tiff(array, orientation=orientation, **options), expected, orientation)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", ["one strip", "compressed"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_come_out_wrong_is_refused(kind, layout, order):
    array, options = REFUSED[kind]
    with pytest.raises(ImageReadError) as caught:
        read_image(write_tiff(array, layout, order, **options))
    assert caught.value.reason in ("bit-depth", "not-a-picture")


def chunk(kind, content):
    crc = zlib.crc32(kind + content).to_bytes(4)
    return len(content).to_bytes(4) + kind + content + crc


def write_png(values, bits, color, key=None):
    """A PNG, which Pillow writes none of: (h, w, c) integers of some bits."""
    height, width, _ = values.shape
    if bits == 16:
        rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        rows = np.unpackbits(values.astype(np.uint8).reshape(height, width, 1), axis=2)
        rows = np.packbits(rows[..., 8 - bits :].reshape(height, -1), axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([bits, color, 0, 0, 0])
    parts = [chunk(b"IHDR", header)]
    if key is not None:
        parts.append(chunk(b"tRNS", b"".join(int(k).to_bytes(2) for k in key)))
    parts += [chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("color", "channels", "with_key"),
    [
        (0, 1, False),
        (0, 1, True),
        (2, 3, False),
        (2, 3, True),
        (4, 2, False),
        (6, 4, False),
    ],
    ids=["L", "L and key", "RGB", "RGB and key", "LA", "RGBA"],
)
def test_pngs_of_16_bits_are_rounded_in_every_mode(color, channels, with_key):
    values = RNG.integers(0, 65536, (6, 5, channels))
    values[0, 0] = 0x1234
    values[0, 1] = 0x1235  # of the same upper byte
    expected = to_8(values)
    expected = grey(expected[..., 0]) if channels < 3 else expected[..., :3]
    if channels in (2, 4):
        expected = masked(expected, to_8(values[..., -1]))
    elif with_key:
        same = (values == values[0, 0]).all(axis=2)
        expected = masked(expected, np.where(same, 0, 255))
    key = values[0, 0] if with_key else None
    data = write_png(values, 16, color, key)
    check(data, expected)
    assert read_image(data, return_info=True)[1]["bit_depth"] == 16


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_pngs_of_few_bits_and_their_key(bits):
    most = 2**bits - 1
    values = RNG.integers(0, most + 1, (6, 8, 1))
    values[0, :2, 0] = [most, 0]
    for key in (None, [most]):
        expected = grey(to_8(values[..., 0], most))
        if key:
            expected = masked(expected, np.where(values[..., 0] == most, 0, 255))
        check(write_png(values, bits, 0, key), expected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_of_12_bits_keep_their_range(order):
    values = RNG.integers(0, 4096, (6, 8))
    values[0, :2] = [0, 4095]
    bits = (values[..., None] >> np.arange(12)[::-1]) & 1
    pixels = np.packbits(bits.reshape(6, -1).astype(np.uint8), axis=1).tobytes()
    fields = [  # width, height, bits, uncompressed, black is 0, the strip
        *((256, 8), (257, 6), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1)),
        *((278, 6), (279, len(pixels))),
    ]
    entries = [struct.pack(order + "HHIHH", tag, 3, 1, n, 0) for tag, n in fields]
    start = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 80)
    directory = struct.pack(order + "H", len(fields)) + b"".join(entries) + bytes(4)
    data = start + pixels + directory
    if order == ">":  # which Pillow does not know
        with pytest.raises(ImageReadError):
            read_image(data)
        return
    check(data, grey(to_8(values, 4095)))
    assert read_image(data, return_info=True)[1]["bit_depth"] == 12


def test_a_deep_color_pgm_is_rounded():
    values = RNG.integers(0, 65536, (4, 5, 3))
    data = b"P6 5 4 65535\n" + values.astype(">u2").tobytes()
    check(data, to_8(values))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_a_png_whose_checksum_is_wrong_is_refused(mode):
    data = encode(MODES[mode][0], "PNG")
    for at in range(8, len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(RNG.integers(8))
        with pytest.raises(ImageReadError) as caught:
            read_image(bytes(damaged))
        assert caught.value.reason in ("undecodable", "truncated", "not-a-picture")


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) show\nshowpage\n",
        *(
            encode(Image.fromarray(RGB), kind)
            for kind in ("EPS", "ICO", "TGA", "SGI", "PCX", "PDF")
        ),
    ],
    ids=["PS", "EPS", "ICO", "TGA", "SGI", "PCX", "PDF"],
)
def test_formats_beyond_the_list_are_no_pictures(data, tmp_path, monkeypatch):
    """Whatever their name says: Pillow would start Ghostscript for some."""
    started = []
    monkeypatch.setattr("subprocess.Popen", lambda *args, **_: started.append(args))
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert caught.value.reason == "not-a-picture"
    assert not started


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.new("RGBA", (2000, 1500), (1, 2, 3, 200)), {}),
        (Image.new("RGB", (2000, 1500)), {}),
        (Image.new("P", (2000, 1500)), {"transparency": 1}),
        (Image.new("LA", (2000, 1500), (9, 200)), {}),
        (Image.new("I;16", (2000, 1500)), {}),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("alpha", [False, True])
def test_conversion_takes_little_memory(image, options, orientation, alpha):
    """At most 6 bytes a pixel beyond the decoder's own, and a strip of a few MB."""
    data = encode(image, "PNG", orientation, **options)
    Image.init()
    tracemalloc.start()
    read_image(data, alpha=alpha)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000 * (8 if orientation == 6 and alpha else 6) + (48 << 20)


def test_too_many_pixels_and_too_little_memory_are_reasons(monkeypatch):
    data = encode(Image.fromarray(RGB), "PNG")
    for file in (data, encode(Image.fromarray(RGB), "JPEG")):
        assert read_image(file, max_pixels=HIGH * WIDE).shape == RGB.shape
        with pytest.raises(ImageReadError, match="384 pixels, at most 383") as caught:
            read_image(file, max_pixels=HIGH * WIDE - 1)
        assert caught.value.reason == "too-large"
        assert caught.value.info["width"] == WIDE

    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "crop", fail)
    with pytest.raises(ImageReadError, match="not enough memory") as caught:
        read_image(data)
    assert caught.value.reason == "too-large"


def mutate(data, rng):
    """Change, lose or add some bytes in up to five places."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(len(data) + 1))
        few = int(rng.integers(1, 9))
        way = rng.integers(4)
        if way == 0:
            data[at : at + 1] = rng.bytes(1)
        elif way == 1:
            data[at : at + 4] = [b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"][few % 3]
        elif way == 2:
            del data[at : at + few]
        else:
            data[at:at] = rng.bytes(few)
    return bytes(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_files_are_read_or_refused(kind):
    """Whatever is wrong with them, in one line and without a warning."""
    files = [encode(MODES[mode][0], kind) for mode in FORMATS[kind]]
    if kind == "TIFF":
        files += [write_tiff(array, **options) for array, options, _ in TIFF.values()]
    kept, rng = 0, np.random.default_rng(0)
    for i in range(600):
        data = mutate(files[i % len(files)], rng)
        try:
            image = read_image(data, alpha=bool(i % 2), max_pixels=100_000)
        except ImageReadError as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        kept += 1
        assert image.dtype == np.uint8
        assert image.shape[2] == 3 + i % 2
        assert image.flags.carray
    assert kept < 600


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("strips", [1, 4])
def test_jpegs_inside_a_tiff_are_decoded_strictly(mode, strips):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((128, 128)).convert(mode)
    info = {278: 128 // strips}
    file = BytesIO()
    image.save(file, "TIFF", compression="jpeg", tiffinfo=info)
    data = file.getvalue()
    assert read_image(data).shape == (128, 128, 3)
    with Image.open(BytesIO(data)) as opened:
        starts, sizes = opened.tag_v2[273], opened.tag_v2[279]
    assert len(starts) == strips
    for start, size in zip(starts, sizes, strict=True):
        scan = start + size // 2
        cut = data[:scan] + bytes(start + size - scan) + data[start + size :]
        dirt = data[:scan] + bytes([255, 0] * 30) + data[scan + 60 :]
        for damaged in (cut, dirt):
            with pytest.raises(ImageReadError) as caught:
                read_image(damaged)
            assert caught.value.reason in ("undecodable", "truncated")


def test_what_libtiff_prints_is_the_reason(capfd):
    """A fax with a bad code word is shown by most programs, with lines missing."""
    drawn = Image.fromarray(RNG.random((64, 64)) > 0.5)
    file = BytesIO()
    drawn.save(file, "TIFF", compression="group4")
    data = bytearray(file.getvalue())
    with Image.open(BytesIO(data)) as opened:
        (start,), (size,) = opened.tag_v2[273], opened.tag_v2[279]
    assert read_image(bytes(data)).shape == (64, 64, 3)
    data[start + size // 2] ^= 0xFF
    with pytest.raises(ImageReadError, match="undecodable.*Fax4Decode: Bad code word"):
        read_image(bytes(data))
    assert capfd.readouterr() == ("", "")
    assert read_image(file.getvalue()).shape == (64, 64, 3)  # nothing is left of it


def test_what_pillow_logs_is_not_printed(capfd, monkeypatch):
    """Logging prints errors of loggers that nobody listens to, as pytest does."""
    monkeypatch.setattr(logging.root, "handlers", [])
    tags = [(256, 8), (257, 8), (258, 8), (262, 1), (277, 4131)]  # samples a pixel
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    with pytest.raises(ImageReadError):
        read_image(data)
    assert capfd.readouterr().err == ""
