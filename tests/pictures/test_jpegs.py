"""Plain JPEGs decoded many at a time give what each gives by itself."""

import warnings
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from geoimages import ImageReadError
from geoimages.pictures import jpegs, reading

N = 40  # files of one kind


def encode(image, **options):
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", **options)
    return file.getvalue()


def noise(n=N, height=28, width=28, seed=0, **options):
    """Files of one header."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return [encode(image, **options) for image in images]


def start_of_data(file):
    return file.index(b"\xff\xda") + 14


def alone(data):
    """Pixels and info of one file, or the reason it is refused, by the longest way."""
    info = {}
    try:
        return reading._decode_any(data, "a.jpg", info), info
    except ImageReadError as error:
        return str(error), info


def assert_as_alone(files):
    """Files read together are as each is alone; return how many were decoded so."""
    results = reading.read_images(files, ["a.jpg"] * len(files))
    for data, result in zip(files, results, strict=True):
        expected, info = alone(data) if data else ("", {})
        if isinstance(result, ImageReadError):
            assert str(result) == expected or not data
            assert info.items() <= result.info.items()
        else:
            np.testing.assert_array_equal(result[0], expected)
            assert info.items() <= result[1].items()
    return len(jpegs.decode_alike(files))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (17, 31), (40, 9), (128, 128)])
def test_files_of_one_kind_are_decoded_together(subsampling, shape):
    files = noise(20, *shape, subsampling=subsampling)
    assert assert_as_alone(files) == 20


def test_few_files_are_decoded_by_themselves(monkeypatch):
    decode, seen = jpegs._decode_one, []
    monkeypatch.setattr(
        jpegs, "_decode_one", lambda *given: [seen.append(1), decode(*given)][1]
    )
    assert jpegs._sheets_are_sound()
    seen.clear()
    results = list(reading.read_images(noise(300), ["a.jpg"] * 300))
    assert all(isinstance(result, tuple) for result in results)
    assert len(seen) == 2  # the ends of the one sheet, to compare
    monkeypatch.setattr(jpegs, "_SHEET_PIXELS", 100 * 28 * 28)
    assert len(jpegs.decode_alike(noise(300))) == 300
    assert len(seen) == 2 + 3 * 2


def test_headers_are_kept_apart():
    kinds = [
        noise(20),
        noise(20, quality=50),
        noise(20, subsampling=0),
        noise(20, height=20),
        noise(jpegs._FEWEST_FILES - 1, quality=40),
    ]
    files = [file for kind in kinds for file in kind]
    order = np.random.default_rng(0).permutation(len(files))
    assert assert_as_alone([files[i] for i in order]) == 80


@pytest.mark.parametrize(
    "files",
    [
        noise(20, progressive=True),
        noise(20, 300, 30, restart_marker_rows=1),
        noise(20, comment=b"core box 3"),
        noise(16, 129, 128),
        [file + b"trailer" for file in noise(20)],
        [file[:-2] for file in noise(20)],
        [encode(np.zeros((28, 28), np.uint8))] * 20,
        [b""] * 20,
        [b"\xff\xd8" + bytes(40)] * 20,
    ],
    ids=[
        "progressive",
        "restarts",
        "comment",
        "large",
        "trailer",
        "cut",
        "grey",
        "empty",
        "no JPEG",
    ],
)
def test_other_files_are_decoded_one_by_one(files):
    assert assert_as_alone(files) == 0


def damage(rng, file, others):
    """Change, lose, add or swap some bytes."""
    file, start = bytearray(file), start_of_data(file)
    at = rng.integers(start, len(file) - 2)
    few = rng.integers(1, 40)
    way = rng.integers(9)
    if way <= 2:
        file[at] = rng.integers(256)
    elif way == 3:
        file[at : at + few] = rng.bytes(few)
    elif way == 4:
        del file[at : at + few]
    elif way == 5:
        del file[at:-2]
    elif way == 6:
        file[at:at] = bytes([255, rng.integers(256)])
    elif way == 7:
        file[rng.integers(2, start)] = rng.integers(256)
    else:
        other = others[rng.integers(len(others))]
        file[start:] = other[start_of_data(other) :]
    return bytes(file)


@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_are_as_they_are_alone(seed, capfd):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((30, 26)))
    kinds = [
        noise(N, seed=seed),
        noise(N, 60, 70, seed=seed, quality=95, subsampling=seed % 3),
        [encode(np.roll(smooth, i, axis=0)) for i in range(N)],
    ]
    files = [file for kind in kinds for file in kind]
    damaged = [
        damage(rng, file, files) if rng.random() < 0.5 else file for file in files
    ]
    assert assert_as_alone(damaged) > 60  # most damage is within the scan
    assert capfd.readouterr() == ("", "")


def test_a_header_that_is_damaged_in_every_file_is_refused_quietly(capfd):
    """A scanner that writes wrong tables, say; libtiff would complain of each."""
    rng, files = np.random.default_rng(0), noise(16)
    start, together, refused = start_of_data(files[0]), 0, 0
    for at in range(20, start, 3):
        wrong = files[0][:at] + bytes([rng.integers(256)]) + files[0][at + 1 : start]
        some = [wrong + file[start:] for file in files]
        together += assert_as_alone(some) == 16
        refused += isinstance(alone(some[0])[0], str)
    assert together > 40  # other quantization is no damage
    assert refused > 40
    assert capfd.readouterr() == ("", "")


def test_a_header_may_end_anywhere():
    file = noise(1)[0]
    scan = start_of_data(file) - 14
    for at in range(2, scan):
        cut = file[:at] + file[scan:]
        assert assert_as_alone([cut]) == 0


def test_a_damaged_first_or_last_file_costs_the_others_nothing():
    files = noise()
    start = start_of_data(files[0])
    for i in (0, -1):
        files[i] = files[i][: start + 20] + bytes(50) + files[i][start + 70 :]
    assert assert_as_alone(files) == N


def wrong_by_one(files, plain, decode=jpegs._decode_sheet):
    """Take each picture for its neighbor."""
    return np.roll(decode(files, plain), 1, axis=0)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("_decode_sheet", wrong_by_one),
        ("_decode_sheet", lambda files, plain: None),
        ("_tiff", lambda files, plain: b"II*\0no TIFF"),
        ("_sheets_are_sound", lambda: False),
    ],
)
def test_where_sheets_do_not_work_files_are_decoded_one_by_one(
    monkeypatch, name, wrong
):
    monkeypatch.setattr(jpegs, name, wrong)
    assert assert_as_alone(noise()) == 0


def test_sheets_are_tried_before_their_first_use(monkeypatch):
    is_sound = jpegs._sheets_are_sound.__wrapped__
    assert is_sound()
    with monkeypatch.context() as patch:
        patch.setattr(jpegs.features, "check", lambda name: name != "libtiff")
        assert not is_sound()
    decode = jpegs._decode_sheet

    def forgives_nothing(files, plain):
        """Leave a damaged picture grey from where the damage begins."""
        sheet = decode(files, plain).copy()
        sheet[0, -1] = 128
        return sheet

    for wrong in (wrong_by_one, forgives_nothing, lambda files, plain: None):
        monkeypatch.setattr(jpegs, "_decode_sheet", wrong)
        assert not is_sound()


def test_pillows_limit_of_pixels_holds(monkeypatch):
    assert jpegs._sheets_are_sound()
    for most, together in ((28 * 28 - 1, 0), (N * 28 * 28 - 1, 0), (N * 28 * 28, N)):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            assert len(jpegs.decode_alike(noise())) == together
        assert not remarks
