"""What is written while something fails: each job has an old file and makes a new one."""

import hashlib
from pathlib import Path

import numpy as np

import geoimages as gi
from geoimages.cli import main
from geoimages.search import load_index, save_index
from geoimages.visualize import save_figure


class Job:
    """Writes `name` in a folder over an older one.

    `prepare` makes the folder, `act` writes, and `answer` says what the file holds: it
    reads all of it, and raises an error where it is not whole.
    """

    name = "rocks.h5"
    may_stay = ()  # suffixes of what may lie beside it

    def __init__(self, inputs):
        self.inputs = inputs

    def prepare(self, folder):
        (folder / self.name).write_bytes(self.old())

    def answer(self, folder):
        return digest((folder / self.name).read_bytes())


def digest(*parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class Inputs:
    """Archives, collections and models that the jobs begin with."""

    def __init__(self, folder):
        self.folder = folder
        self.zips = [
            gi.write_rocks(folder / f"{seed}.zip", n, random_state=seed)
            for seed, n in ((0, 30), (1, 60))
        ]
        self.collection = folder / "rocks.h5"
        gi.Collection.create(self.collection, self.zips[0]).close()
        images, labels = gi.make_rocks(60, random_state=2)
        self.models = [
            gi.PairwiseModel(3).fit(images[:n], labels[:n]) for n in (30, 60)
        ]
        gi.save(self.models[0], folder / "old.skops")
        save_index(self.models[0].search_, folder / "old.index")
        self.features = gi.RockFeatures(n_filters=4).fit(images)
        with gi.Collection(self.collection) as rocks:
            two = {
                m: gi.PairwiseModel(2, m).fit(rocks) for m in ("cosine", "cityblock")
            }
            keys = rocks.keys.tolist()
        trials = gi.blind_trials(two, keys, n_trials=8, repeats=0, random_state=0)
        gi.record_votes(folder / "old.votes", trials)


class Etl(Job):
    """geoimages etl, over an older collection."""

    resume = False

    def old(self):
        return self.inputs.collection.read_bytes()

    def act(self, folder):
        path, source = folder / self.name, self.inputs.zips[1]
        options = {"size": (28, 28), "resume": self.resume}
        gi.Collection.create(path, source, **options).close()

    def answer(self, folder):
        with gi.Collection(folder / self.name) as rocks:
            if rocks.verify():
                raise ValueError(rocks.verify()[0])
            ledger = rocks.ledger
            assert (ledger["status"] == "kept").sum() == len(rocks)
            return digest(rocks.keys.tolist(), rocks[:].tobytes(), ledger.to_csv())


class Resumed(Etl):
    """geoimages etl --resume, which may keep what it has read when it is killed."""

    resume = True


class Add(Etl):
    """geoimages add, to a collection whose features are kept."""

    def act(self, folder):
        with gi.Collection(folder / self.name) as rocks:
            rocks.add(self.inputs.zips[1])


class Cache(Etl):
    """Features that are kept beside a collection."""

    may_stay = (".cache",)
    notes = True

    def act(self, folder):
        with gi.Collection(folder / self.name, "r+") as rocks:
            rocks.features(self.inputs.features)
            return rocks.cache.notes

    def answer(self, folder):
        with gi.Collection(folder / self.name) as rocks:
            key = rocks.digest(self.inputs.features)
            rows = rocks.cache.read(key, len(rocks))
            if rows is None:
                if rocks.cache.path_of(key).exists():
                    raise ValueError("kept features that are not whole")
                return "none"
            return digest(rows.tobytes())


class Save(Job):
    """A model that is saved over another."""

    name = "model.skops"

    def old(self):
        return (self.inputs.folder / "old.skops").read_bytes()

    def act(self, folder):
        gi.save(self.inputs.models[1], folder / self.name)

    def answer(self, folder):
        model = gi.load(folder / self.name)
        images, _ = gi.make_rocks(6, random_state=3)
        return digest(len(model.keys_), model.predict(images).to_csv())


class Train(Save):
    """A classifier that is trained and saved over another model."""

    def act(self, folder):
        quick = {"hidden_layer_sizes": (4,), "n_copies": 1, "max_epochs": 2}
        model = gi.ConvNetClassifier(gi.ColorFeatures(), random_state=0, **quick)
        with gi.Collection(self.inputs.collection) as rocks:
            model, scores, keys = gi.train_classifier(rocks, model)
        gi.save(model, folder / self.name, scores, keys)

    def answer(self, folder):
        model = gi.load(folder / self.name)
        if isinstance(model, gi.PairwiseModel):
            return super().answer(folder)
        images, _ = gi.make_rocks(6, random_state=3)
        return digest(model.predict_proba(images).round(4).tolist())


class Index(Job):
    """An index that is saved over another."""

    name = "rocks.index"

    def old(self):
        return (self.inputs.folder / "old.index").read_bytes()

    def act(self, folder):
        save_index(self.inputs.models[1].search_, folder / self.name)

    def answer(self, folder):
        engine = load_index(folder / self.name)
        return digest(np.asarray(engine.take(np.arange(len(engine.rows)))).tobytes())


class Shell(Job):
    """A command that writes a file; what it prints is one line where it fails."""

    command = ()

    def old(self):
        return b"old"

    def act(self, folder):
        words = [str(self.inputs.collection), str(folder / self.name)]
        return main([word.format(*words) for word in self.command])


class Split(Shell):
    """geoimages split."""

    name, command = "split.csv", ("split", "{0}", "-o", "{1}")


class Ledger(Shell):
    """geoimages ledger --csv FILE."""

    name, command = "ledger.csv", ("ledger", "{0}", "--csv", "{1}")


class Map(Shell):
    """geoimages map, a drawing."""

    name, command = "map.png", ("map", "{0}", "--features", "pixels", "--plot", "{1}")


class Plot(Job):
    """A figure that is saved over another."""

    name = "elbow.png"

    def old(self):
        return b"old"

    def act(self, folder):
        save_figure(gi.Plots.elbow_plot([1, 2, 3], [3.0, 2.0, 1.5]), folder / self.name)


class Vote(Job):
    """Eight votes, each acknowledged in a file of another folder."""

    name = "rocks.votes"
    may_stay = (".votes-journal",)
    counts = True

    def old(self):
        return (self.inputs.folder / "old.votes").read_bytes()

    def act(self, folder):
        votes, told = gi.Votes(folder / self.name), told_in(folder)
        for trial in votes.pending("ann"):
            votes.record(trial.name, "ann", "left")
            with open(told, "a") as file:
                file.write("x")

    def answer(self, folder):
        n_votes, told = len(gi.Votes(folder / self.name).history), told_in(folder)
        n_told = told.stat().st_size if told.exists() else 0
        if n_votes < n_told:
            raise ValueError(f"{n_told} votes acknowledged, {n_votes} found")
        return n_votes


def told_in(folder):
    """The file that counts acknowledged votes."""
    return Path(f"{folder}.told")


JOBS = {
    "etl": Etl,
    "etl --resume": Resumed,
    "add": Add,
    "keep features": Cache,
    "train": Train,
    "save a model": Save,
    "save an index": Index,
    "split": Split,
    "ledger --csv": Ledger,
    "map": Map,
    "plot": Plot,
    "vote": Vote,
}
