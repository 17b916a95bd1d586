"""A collection is believed only where its layout, lengths and checksums agree."""

import shutil

import h5py
import numpy as np
import pytest

from geoimages import Collection, PairwiseModel


@pytest.fixture(scope="module")
def whole(rock_zip, tmp_path_factory):
    """A collection with metadata, its bytes at rest."""
    folder = tmp_path_factory.mktemp("whole")
    table = folder / "table.csv"
    with Collection.create(folder / "a.h5", rock_zip) as rocks:
        rows = [f"{key},BH{i % 3},{i}" for i, key in enumerate(rocks.keys)]
    table.write_text("\n".join(["file,hole,depth", *rows]))
    Collection.create(folder / "a.h5", rock_zip, metadata=table).close()
    return folder / "a.h5"


@pytest.fixture
def path(whole, tmp_path):
    return shutil.copy(whole, tmp_path / "a.h5")


def everything(path):
    """All that a collection says."""
    with Collection(path) as rocks:
        return {
            "keys": rocks.keys.tolist(),
            "labels": rocks.labels.tolist(),
            "images": rocks[:].tobytes(),
            "table": rocks.table.to_csv(),
            "ledger": rocks.ledger.to_csv(),
            "unmatched": rocks.unmatched,
            "fit": rocks.fit,
        }


def link_soft(file):
    del file["labels"]
    file["labels"] = h5py.SoftLink("/keys")


def link_external(file):
    del file["labels"]
    file["labels"] = h5py.ExternalLink("/etc/hostname", "/labels")


def store_external(file):
    del file["labels"]
    raw = [("/etc/hostname", 0, 60 * 8)]
    file.create_dataset("labels", (60,), "S8", external=raw)


def store_virtual(file):
    layout = h5py.VirtualLayout((60,), "S8")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "labels", (60,))
    del file["labels"]
    file.create_virtual_dataset("labels", layout)


def store_references(file):
    file["more"] = np.array([file["keys"].ref] * 3, h5py.ref_dtype)


def nest(file):
    file.create_group("a/b/c/d/e/f/g/h")


def replace(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


def remove(name):
    def change(file):
        del file[name]

    return change


def swap(one, other):
    def change(file):
        file.move(one, "aside")
        file.move(other, one)
        file.move("aside", other)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (link_soft, "'labels' is a link to elsewhere"),
        (link_external, "'labels' is a link to elsewhere"),
        (store_external, "labels lies in another file"),
        (store_virtual, "labels lies in another file"),
        (store_references, "more holds object, no numbers or text"),
        (nest, "too many objects, or too deeply"),
        (
            replace("labels", np.full(59, b"a")),
            r"labels has the shape \(59,\) beside 60",
        ),
        (replace("ledger/size", [1, 2]), r"size has the shape \(2,\)"),
        (replace("images", np.zeros((60, 28, 28, 3))), "pictures are not uint8"),
        (replace("images", np.zeros((60, 28, 28), np.uint8)), "have the shape"),
        (replace("images", np.zeros((9, 4, 4, 3), np.uint8)), "beside 9 pictures"),
        (replace("labels", np.full(60, b"a")), None),
        (replace("keys", np.full(60, b"a")), "a key stands twice"),
        (replace("images", np.zeros((61, 28, 28, 3), "u1")), "beside 61 pictures"),
        (remove("checksums"), "is not a valid collection"),
        (remove("metadata/1"), "some of its columns are missing"),
        (remove("ledger/reason"), "some of its columns are missing"),
        (remove("unmatched"), "some of its columns are missing"),
        (swap("metadata/0", "metadata/1"), "some of its columns are missing"),
        (
            lambda file: file.attrs.update(fit=np.bytes_(b"pad")),
            "attributes are damaged",
        ),
    ],
)
def test_what_does_not_agree_is_refused_on_opening(path, change, message):
    with h5py.File(path, "r+") as file:
        change(file)
    if message is None:
        assert set(Collection(path).labels) == {"a"}  # whole, but said by another hand
        return
    with pytest.raises(ValueError, match=message) as caught:
        Collection(path)
    assert "\n" not in str(caught.value)
    path.rename(path.with_name("b.h5"))  # and it was closed


def test_a_changed_picture_is_told_when_it_is_first_read(path):
    with h5py.File(path, "r+") as file:
        file["images"][7, 3, 3, 1] ^= 1
        key = file["keys"].asstr()[7]
    with Collection(path) as rocks:
        rocks[3], rocks[8:20]
        for read in (lambda: rocks[7], lambda: rocks[:], rocks.mapped):
            with pytest.raises(
                ValueError, match=f"picture {key!r} has another checksum"
            ):
                read()
        with pytest.raises(ValueError, match=f"{key!r} has another checksum"):
            PairwiseModel().fit(rocks)
        (problem,) = rocks.verify()
        assert key in problem


def test_a_changed_column_is_told_when_it_is_read(path):
    with h5py.File(path, "r+") as file:
        file["metadata/2"][4] = 17
        file["ledger/sha256"][0] = b"0" * 64
    with Collection(path) as rocks:
        with pytest.raises(ValueError, match="'depth' is damaged"):
            len(rocks.table)
        with pytest.raises(ValueError, match="'sha256' is damaged"):
            len(rocks.ledger)
        assert len(rocks.verify()) == 2
        assert rocks[:].shape == (60, 28, 28, 3)


def told_or(path):
    """All that a collection says, or the error that it is damaged."""
    try:
        return everything(path)
    except ValueError as error:
        return str(error)


def test_flipped_bytes_never_answer_wrongly(path, whole):
    """Either all that it says is right, or there is one line that it is not."""
    expected, data = everything(whole), whole.read_bytes()
    rng = np.random.default_rng(0)
    told = []
    for at in rng.integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        answer = told_or(path)
        if answer != expected:
            told.append(answer)
    assert len(told) > 5
    assert all("damaged" in line or str(path) in line for line in told)


def test_a_file_of_version_1_is_read(path, whole):
    """It had no checksums."""
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "geoimages.collection"
        file.attrs["format_version"] = 1
        del file["checksums"], file.attrs["crc32"]
        for name in ("keys", "labels"):
            texts = file[name].asstr()[:]
            del file[name]
            file.create_dataset(name, data=texts, dtype=h5py.string_dtype())
    assert everything(path) == everything(whole)
    with Collection(path) as rocks:
        assert rocks.verify() == []


def test_a_whole_collection_is_verified(whole):
    with Collection(whole) as rocks:
        assert rocks.verify() == []
