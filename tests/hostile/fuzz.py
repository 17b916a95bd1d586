"""Fuzz what reads files that others send: pictures, archives, collections, models, …

``python tests/hostile/fuzz.py --seconds 60`` mutates the saved corpus, and whatever of
its descendants reached new lines of the package, and hands each to a reader in a process
of 4 GiB. A reader may return or raise the package's own error; anything else, such as
another exception, a crash, a picture that is no picture or 10 seconds without an answer,
is a fault: it is printed, and the file is kept under ``--keep``. With ``--engine
atheris`` libFuzzer mutates instead, guided by the coverage of the package, Pillow and
zipfile (``pip install atheris``).
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from io import BytesIO
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from children import Child, limit_memory, serve
from corpus import CORPUS, own_collection
from mutations import mutate

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a disk waits
MAX_PIXELS = 1 << 22  # larger pictures only take time here


def check(holds, said):
    """Raise an AssertionError unless something holds."""
    if not holds:
        raise AssertionError(repr(said))


def _refused(error):
    check(str(error) and "\n" not in str(error), str(error))
    return "refused"


def read_picture(data, folder):
    """A picture is read whichever way, alike, or refused."""
    import numpy as np

    from geoimages import ImageReadError, read_image
    from geoimages.pictures.reading import REASONS

    shapes = []
    for alpha in (False, True):
        try:
            image, info = read_image(
                data, alpha=alpha, return_info=True, max_pixels=MAX_PIXELS
            )
        except ImageReadError as error:
            check(error.reason in REASONS, error.reason)
            check(error.info["size"] == len(data), error.info)
            shapes.append(_refused(error) and None)
            continue
        assert image.dtype == np.uint8
        assert image.flags.carray
        assert image.shape[2] == 3 + alpha
        assert sorted(image.shape[:2]) == sorted([info["height"], info["width"]])
        shapes.append(image.shape[:2])
    assert shapes[1] in (shapes[0], None)  # a mask may be empty
    return "kept" if shapes[0] else "refused"


def read_archive(data, folder):
    """All members of a zip are accounted for, and nothing is written beside it."""
    from geoimages import Collection

    path, out = folder / "a.zip", folder / "a.h5"
    path.write_bytes(data)
    out.unlink(missing_ok=True)
    try:
        with Collection.create(out, path, max_pixels=MAX_PIXELS) as rocks:
            ledger = rocks.ledger
            assert (ledger["status"] == "kept").sum() == len(rocks)
            assert ledger["reason"][ledger["status"] != "kept"].ne("").all()
            assert rocks.verify() == []
            rocks.summary()
            return "kept"
    except (ValueError, OSError) as error:
        return _refused(error)
    finally:
        strange = {item.name for item in folder.iterdir()} - {"a.zip", "a.h5"}
        assert not strange, strange


def _read_file(suffix, read):
    def reader(data, folder):
        path = folder / f"a{suffix}"
        path.write_bytes(data)
        try:
            read(path)
        except (ValueError, OSError) as error:
            return _refused(error)
        return "kept"

    return reader


def _collection(path):
    from geoimages import Collection

    with Collection(path) as rocks:
        rocks.summary(), rocks[:], rocks.table, rocks.ledger, rocks.verify()
        rocks.to_frame(), rocks.mapped()


def _model(path):
    import geoimages as gi

    model = gi.load(path)
    model.predict(gi.make_rocks(3, random_state=1)[0])


def _index(path):
    import geoimages as gi

    engine = gi.search.load_index(path)
    images, _ = gi.make_rocks(2, random_state=1)
    engine.search(images.reshape(2, -1), 3, "correlation")


def _votes(path):
    import geoimages as gi

    votes = gi.record_votes(path)
    assert len(votes.table) <= len(votes.history)
    votes.pending("ann")


def _metadata(path):
    from geoimages.collection.tables import Metadata

    table = Metadata(path)
    table.match([])


READERS = {
    "picture": read_picture,
    "archive": read_archive,
    "collection": _read_file(".h5", _collection),
    "model": _read_file(".skops", _model),
    "index": _read_file(".index", _index),
    "votes": _read_file(".votes", _votes),
    "metadata": _read_file(".csv", _metadata),
}


class Coverage:
    """The lines of the package that a call runs, by `sys.settrace`."""

    def __init__(self):
        self.seen, self.n_new = set(), 0
        self.root = str(Path(__file__).parents[2] / "geoimages")

    def _trace(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(self.root):
            return None
        if event == "line":
            line = frame.f_code.co_filename, frame.f_lineno
            if line not in self.seen:
                self.seen.add(line)
                self.n_new += 1
        return self._trace

    def run(self, call, *args):
        """Call, and say whether a line ran that never did."""
        self.n_new = 0
        sys.settrace(self._trace)
        try:
            return call(*args), self.n_new > 0
        finally:
            sys.settrace(None)


def child():
    """Read files that the parent names: their outcome, and whether it is a new one."""
    warnings.simplefilter("ignore")
    limit_memory()
    with tempfile.TemporaryDirectory() as folder:  # what is imported late, untraced
        for kind, reader in READERS.items():
            reader(next((CORPUS / kind).iterdir()).read_bytes(), Path(folder))
            for left in Path(folder).iterdir():
                left.unlink()
    coverage = Coverage()

    def answer(question):
        kind, path, folder = question
        try:
            data = Path(path).read_bytes()
            outcome, is_new = coverage.run(READERS[kind], data, Path(folder))
            return {"outcome": outcome, "new": is_new}
        except BaseException:
            return {"fault": "error", "text": traceback.format_exc(limit=-5)}

    serve(answer)


def start():
    """A process that reads files of any kind."""
    return Child(__file__, "--child")


def fuzz(reader, kind, seconds, seed=0, keep=None, n_files=None):
    """Read mutated files for some seconds: (Counter of outcomes, faults, grown)."""
    rng = random.Random(f"{kind} {seed}")
    corpus = [path.read_bytes() for path in sorted((CORPUS / kind).iterdir())]
    counts, faults = Counter(), []
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path, work = Path(folder) / "input", Path(folder) / "work"
        work.mkdir()
        if kind == "collection":
            corpus.append(own_collection(work / "own.h5"))
            (work / "own.h5").unlink()
        n_drawn = len(corpus)
        path.write_bytes(corpus[0])
        reader.ask([kind, str(path), str(work)])  # which takes a while to start
        begin = time.monotonic()
        while time.monotonic() - begin < seconds and (
            n_files is None or counts.total() < n_files
        ):
            number = counts.total()
            data = corpus[number] if number < n_drawn else rng.choice(corpus)
            if number >= n_drawn:
                data = mutate(data, rng.random())
                if kind == "archive" and rng.random() < 0.5:
                    data = within(rng, data)
            path.write_bytes(data)
            told, _ = reader.ask([kind, str(path), str(work)])
            counts[told.get("outcome", told.get("fault"))] += 1
            if "fault" in told:
                faults.append(told)
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{kind}-{seed}-{number}").write_bytes(data)
                    print(json.dumps({"kind": kind, "n": number} | told)[:2000])
                for left in work.iterdir():
                    left.unlink()
            elif told["new"] and len(data) < 200_000:
                corpus.append(data)
    return counts, faults, len(corpus) - n_drawn


def within(rng, data):
    """Rebuild a zip with one of its members mutated, so that its CRC fits."""
    import zipfile

    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:
        return data
    file = BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice([0, 8])) as archive:
        chosen = rng.randrange(len(members) or 1)
        for i, (name, content) in enumerate(members):
            archive.writestr(
                name, mutate(content, rng.random()) if i == chosen else content
            )
    return file.getvalue()


def by_atheris(kind, seconds):
    """Let libFuzzer mutate, in this process; it ends at the first fault."""
    import atheris

    with atheris.instrument_imports(include=["geoimages", "PIL", "zipfile"]):
        import PIL.Image  # noqa: F401

        import geoimages
        import geoimages.collection.store
        import geoimages.persist
        import geoimages.search.storage
        import geoimages.voting.votes  # noqa: F401
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp())
    limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=4096"]
    given = [sys.argv[0], *limits, tempfile.mkdtemp(), str(CORPUS / kind)]
    atheris.Setup(given, lambda data: READERS[kind](data, folder) and None)
    atheris.Fuzz()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(READERS))
    parser.add_argument("--keep", type=Path, default=Path("faults"))
    parser.add_argument("--engine", choices=["own", "atheris"], default="own")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child()
        return 0
    if args.engine == "atheris":
        (kind,) = args.kinds
        by_atheris(kind, args.seconds)
    n_faults = 0
    reader = start()
    for kind in args.kinds:
        given = reader, kind, args.seconds, args.seed, args.keep
        counts, faults, n_grown = fuzz(*given)
        n_faults += len(faults)
        told = ", ".join(f"{n:,} {what}" for what, n in counts.most_common())
        print(f"{kind}: {counts.total():,} files, {told}; {n_grown} reached new lines")
    reader.close()
    return 1 if n_faults else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
