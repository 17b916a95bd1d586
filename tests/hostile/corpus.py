"""Draw the corpus of `fuzz.py`: small files of every kind, from our own pictures.

``python tests/hostile/corpus.py`` writes them to ``tests/hostile/corpus``.
"""

import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

CORPUS = Path(__file__).with_name("corpus")


def draw_pictures(folder):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((16, 12))
    exif = Image.Exif()
    exif[0x0112] = 6
    mode = image.convert
    masked = image.copy()
    masked.putalpha(image.convert("L"))
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    drawn = {
        "rgb.jpg": (image, {"quality": 50}),
        "tagged.jpg": (image, {"quality": 50, "exif": exif}),
        "progressive.jpg": (image, {"quality": 50, "progressive": True}),
        "cmyk.jpg": (mode("CMYK"), {"quality": 50}),
        "grey.jpg": (mode("L"), {"quality": 50}),
        "pages.mpo": (image, {"save_all": True, "append_images": [image]}),
        "rgb.png": (image, {}),
        "masked.png": (masked, {}),
        "palette.png": (mode("P"), {"transparency": 3}),
        "deep.png": (deep, {}),
        "bits.png": (mode("1"), {}),
        "raw.tif": (image, {}),
        "deep.tif": (deep, {}),
        "packed.tif": (image, {"compression": "tiff_adobe_deflate"}),
        "lzw.tif": (image, {"compression": "tiff_lzw"}),
        "jpeg.tif": (image, {"compression": "jpeg"}),
        "fax.tif": (mode("1"), {"compression": "group4"}),
        "pages.tif": (image, {"save_all": True, "append_images": [image]}),
        "rgb.bmp": (image, {}),
        "palette.bmp": (mode("P"), {}),
        "palette.gif": (mode("P"), {}),
        "moving.gif": (mode("P"), {"save_all": True, "append_images": [mode("P")]}),
        "lossy.webp": (image, {"quality": 40}),
        "lossless.webp": (masked, {"lossless": True}),
        "moving.webp": (image, {"save_all": True, "append_images": [masked]}),
        "rgb.ppm": (image, {}),
        "bits.pbm": (mode("1"), {}),
    }
    for name, (picture, options) in drawn.items():
        kind = {"tif": "TIFF", "jpg": "JPEG", "pbm": "PPM"}.get(name[-3:])
        kind = kind or name.rpartition(".")[2].upper()
        picture.save(folder / name, kind, **options)


def draw_archives(folder, pictures):
    names = ("rgb.jpg", "rgb.png", "grey.jpg")
    for packing, name in ((0, "stored"), (8, "deflated"), (12, "bzip2"), (14, "lzma")):
        with zipfile.ZipFile(folder / name, "w", packing) as archive:
            for i, picture in enumerate(names):
                archive.write(pictures / picture, f"rocks/marble/{i}{picture[-4:]}")
            archive.writestr("rocks/notes.txt", "no picture")
            archive.writestr("rocks/schist/é.jpg", b"no picture, either")


def own_collection(path):
    """A collection of ours as bytes: it is too large for the saved corpus."""
    import geoimages as gi

    images, labels = gi.make_rocks(6, image_shape=(16, 16, 3), random_state=0)
    gi.Collection.from_arrays(path, images, labels).close()
    return path.read_bytes()


def draw_files(root):
    """Collections, a model, indexes, votes and tables, each as small as it gets."""
    import h5py
    import pandas as pd

    import geoimages as gi

    images, labels = gi.make_rocks(6, image_shape=(16, 16, 3), random_state=0)
    keys = [f"{label}.{i}" for i, label in enumerate(labels)]
    folder = root / "collection"
    with h5py.File(folder / "original.hdf5", "w") as file:
        file["X_Train_Orig"] = images
        file["Y_Train_Orig"] = np.eye(6)
        file["classes"] = np.array([b"a", b"b", b"c", b"d", b"e", b"f"])
    with h5py.File(folder / "packed.hdf5", "w") as file:
        file.create_dataset("X_Train_Orig", data=images, compression="gzip")
        file.create_dataset(
            "Y_Train_Orig", data=labels.tolist(), dtype=h5py.string_dtype()
        )
    frame = pd.DataFrame(images.reshape(6, -1), index=keys)
    rows = gi.make_rocks(12, random_state=0)[0].reshape(12, -1)[:, :192]
    gi.save(gi.PairwiseModel(3).fit(frame, labels), root / "model/pixels")
    for algorithm in ("exact", "partitioned"):
        engine = gi.PairwiseModel(3, algorithm=algorithm).fit(rows).search_
        gi.search.save_index(engine, root / f"index/{algorithm}.index")
    models = {m: gi.PairwiseModel(3, m).fit(frame) for m in ("cosine", "cityblock")}
    trials = gi.blind_trials(models, keys, n_trials=3, repeats=0, random_state=0)
    votes = gi.record_votes(root / "votes/some.votes", trials)
    for trial in trials:
        votes.record(trial.name, "ann", "left", 1.5)
    tables = {
        "plain": "file,hole,depth\na.jpg,BH1,1.5\nb.jpg,BH2,\n",
        "semicolons": "file;label;depth\n1.jpg;marble;1,5\n2.jpg;schist;2\n",
        "quoted": 'name,said\n"a ""b"", c",=1+1\n"two\nlines",007\n',
    }
    for name, text in tables.items():
        (root / f"metadata/{name}.csv").write_text(text, encoding="utf-8")


def main():
    kinds = ("picture", "archive", "collection", "model", "index", "votes", "metadata")
    for kind in kinds:
        (CORPUS / kind).mkdir(parents=True, exist_ok=True)
    draw_pictures(CORPUS / "picture")
    draw_archives(CORPUS / "archive", CORPUS / "picture")
    draw_files(CORPUS)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
