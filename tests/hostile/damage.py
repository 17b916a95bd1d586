"""Open damaged files of ours: the answer of the whole file, or our error, and no more.

``python tests/hostile/damage.py --files 2000`` damages each kind of file 2,000 times:
bits are flipped, files cut, blocks spliced, pages zeroed, attributes swapped. A file is
opened in a process of 4 GiB that is ended after 10 seconds. Printed are, by kind, how
many files still gave the answer of the whole one (the damage lay where nothing is read),
how many were refused by our own error in one line, and every fault: a crash, a hang,
another answer, or another error.
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from children import Child, limit_memory, serve
from mutations import mutate

SUFFIXES = {
    "collection": ".h5",
    "model": ".skops",
    "index": ".index",
    "votes": ".votes",
    "cache": ".cache",
}


def make(folder):
    """Write whole files of every kind: {kind: [path]}."""
    import pandas as pd

    import geoimages as gi

    images, labels = gi.make_rocks(60, random_state=0)
    keys = [f"{label}.{i}" for i, label in enumerate(labels)]
    gi.write_rocks(folder / "rocks.zip", 40, random_state=0, n_damaged=2)
    rows = [f"{i},BH{i % 3},{i / 2}" for i in range(9)]
    (folder / "table.csv").write_text("\n".join(["file,hole,depth", *rows]))
    with gi.Collection.create(folder / "a.h5", folder / "rocks.zip") as rocks:
        table = pd.DataFrame({"file": rocks.keys, "hole": "B1", "said": "x"})
    table.loc[3, "said"] = "y" * 300_000  # so long that texts lie in one piece
    gi.Collection.create(folder / "b.h5", folder / "rocks.zip", metadata=table).close()

    frame = pd.DataFrame(images.reshape(60, -1), index=keys)
    models = [
        gi.PairwiseModel(3).fit(frame, labels),
        gi.KMeansModel(3, random_state=0, features=gi.ColorFeatures()).fit(images),
        gi.ConvNetClassifier(random_state=0, max_epochs=1).fit(images, labels),
    ]
    for i, model in enumerate(models):
        gi.save(model, folder / f"{i}.skops")
    engines = [
        models[0].search_,
        gi.PairwiseModel(3, algorithm="partitioned").fit(images).search_,
        gi.PairwiseModel(3, algorithm="faiss", faiss_factory="IVF4,Flat")
        .fit(images)
        .search_,
    ]
    for i, engine in enumerate(engines):
        gi.search.save_index(engine, folder / f"{i}.index")
    named = {m: gi.PairwiseModel(3, m).fit(frame) for m in ("cosine", "cityblock")}
    trials = gi.blind_trials(named, keys, n_trials=12, repeats=0.2, random_state=0)
    votes = gi.record_votes(folder / "a.votes", trials)
    for i, trial in enumerate([*trials] * 2):
        choice = ("left", "right", "tie", "skip")[i % 4]
        votes.record(trial.name, ("ann", "bo")[i % 2], choice, seconds=i)
    with gi.Collection(folder / "a.h5", "r+") as rocks:
        rocks.features(gi.ColorFeatures().fit(rocks))
    return {
        "collection": [folder / "a.h5", folder / "b.h5"],
        "model": sorted(folder.glob("*.skops")),
        "index": sorted(folder.glob("*.index")),
        "votes": [folder / "a.votes"],
        "cache": list(folder.glob("a.h5.*.cache")),
    }


def _of_collection(path):
    import geoimages as gi

    with gi.Collection(path) as rocks:
        return [
            *(rocks.keys.tolist(), rocks.labels.tolist(), rocks.image_shape, rocks.fit),
            *(rocks[:].tobytes(), rocks.table.to_csv(), rocks.ledger.to_csv()),
            *(rocks.unmatched, rocks.summary().replace(str(path), "")),
        ]


def _of_model(path):
    import geoimages as gi

    model = gi.load(path)
    images, _ = gi.make_rocks(6, random_state=1)
    out = model.predict(images)
    more = model.predict_proba(images) if hasattr(model, "predict_proba") else ""
    out = out.to_csv() if hasattr(out, "to_csv") else str(out)
    return [out, str(more), model.about_]


def _of_index(path):
    import geoimages as gi

    engine = gi.search.load_index(path)
    images, _ = gi.make_rocks(6, random_state=1)
    found = engine.search(images.reshape(6, -1), 5, "correlation")
    return [str([part.tolist() for part in one]) for one in found]


def _of_votes(path):
    import geoimages as gi

    votes = gi.record_votes(path)
    return [
        *(votes.history.to_csv(), votes.table.to_csv(), votes.trials.to_json()),
        [trial.name for trial in votes.pending("ann")],
    ]


def _of_cache(path):
    import geoimages as gi

    with gi.Collection(path.parent / "a.h5", "r+") as rocks:
        rows = rocks.features(gi.ColorFeatures().fit(rocks))
        rocks.cache.describe()
        return [str(rows.dtype), rows.shape, rows.tobytes()]


def answer(question):
    """What a file says, as a hash, or the error that it gave."""
    kind, path = question
    try:
        told = globals()[f"_of_{kind}"](Path(path))
    except (ValueError, OSError) as error:
        if "\n" in str(error) or not str(error):
            return {"fault": "error", "text": f"{type(error).__name__}: {error!r}"}
        return {"refused": str(error)}
    except BaseException as error:
        text = traceback.format_exc(limit=-4)
        return {"fault": "error", "text": f"{type(error).__name__}: {text}"}
    return {"said": hashlib.sha256(repr(told).encode()).hexdigest()}


def swap_attributes(path, seed):
    """Swap or alter what HDF5 knows of a collection, by HDF5 itself."""
    import h5py
    import numpy as np

    rng = random.Random(seed)
    with h5py.File(path, "r+") as file:
        found = []
        file.visititems(lambda name, item: found.append(name))
        arrays = [
            name
            for name in found
            if isinstance(file[name], h5py.Dataset) and file[name].size
        ]
        one, other = rng.sample(arrays, 2)
        way = rng.randrange(6)
        if way == 0:
            for name in {*file[one].attrs} & {*file[other].attrs}:
                a, b = file[one].attrs[name], file[other].attrs[name]
                file[one].attrs[name], file[other].attrs[name] = b, a
        elif way == 1:
            file.move(one, "aside"), file.move(other, one), file.move("aside", other)
        elif way == 2:
            del file[one]
        elif way == 3:
            name = rng.choice(list(file.attrs))
            file.attrs[name] = rng.choice([np.bytes_(b"x"), -1, 2.5, [1, 2], "text"])
        elif way == 4:
            values = file[one][()]
            flat = values.reshape(-1)
            flat[rng.randrange(len(flat))] = flat[rng.randrange(len(flat))]
            file[one][...] = values
        else:
            values = file[one][()]
            attributes = dict(file[one].attrs)
            del file[one]
            file[one] = values[: rng.randrange(len(values))]
            file[one].attrs.update(attributes)


def run(kind, wholes, folder, n_files, seed=0, report=None):
    """Damage files of one kind: (Counter of outcomes, list of faults, slowest)."""
    counts, faults, slowest = Counter(), [], 0.0
    child = Child(__file__, "--child", seconds=10)
    rng = random.Random(f"{kind} {seed}")
    child.ask([kind, str(wholes[0])])  # which takes a while to start
    expected = {whole: child.ask([kind, str(whole)])[0] for whole in wholes}
    if not all("said" in told for told in expected.values()):
        raise RuntimeError(f"whole files are not read: {expected}")
    try:
        for i in range(n_files):
            whole, own = rng.choice(wholes), rng.random()
            path = folder / f"damaged{SUFFIXES[kind]}"
            if kind == "cache":
                path = whole
            content = whole.read_bytes()
            if kind == "collection" and i % 10 == 9:
                path.write_bytes(content)
                swap_attributes(path, own)
            else:
                path.write_bytes(mutate(content, own))
            told, seconds = child.ask([kind, str(path)])
            slowest = max(slowest, seconds)
            if kind == "cache":
                whole.write_bytes(content)
            if told == expected[whole]:
                counts["the same answer"] += 1
            elif "refused" in told:
                counts["our error"] += 1
            else:
                fault = told.get("fault", "another answer")
                counts[fault] += 1
                faults.append({"file": whole.name, "seed": own, "i": i} | told)
                if report:
                    report(kind, path, faults[-1])
    finally:
        child.close()
    return counts, faults, slowest


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(SUFFIXES))
    parser.add_argument("--keep", type=Path, help="folder for the files with faults")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        warnings.simplefilter("ignore")
        limit_memory()
        serve(answer)
        return 0
    n_faults = 0

    def report(kind, path, fault):
        print(json.dumps({"kind": kind} | fault)[:1500], flush=True)
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            name = f"{kind}-{fault['i']}{SUFFIXES[kind]}"
            (args.keep / name).write_bytes(path.read_bytes())

    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        for kind in args.kinds:
            given = kind, made[kind], Path(folder), args.files, args.seed, report
            counts, faults, slowest = run(*given)
            n_faults += len(faults)
            told = ", ".join(f"{n:,} {what}" for what, n in counts.most_common())
            print(f"{kind}: {args.files:,} files, {told}; slowest {slowest:.1f} s")
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
