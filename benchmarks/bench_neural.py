"""The classifier on the real archive, beside the proof of concept's ConvNet.

Needs GEOIMAGES_DATA and PyTorch (``pip install -e ".[bench]"``); without the data three
thousand drawn pictures are used, without PyTorch the rival is left out.
"""

import functools
import resource
import time
import zipfile
from io import BytesIO

import numpy as np
import pandas as pd
from PIL import Image

from geoimages import (
    Collection,
    ConvNetClassifier,
    disturbances,
    expected_calibration_error,
    holdout,
    save,
)

from .data import archive, temporary
from .original_convnet import OriginalConvNet, torch


def _parts(rocks):
    """Train and test positions: those of the split file where there is one."""
    split = archive().parent / "geological_similarity_split.csv"
    return holdout(rocks, split if split.exists() else None)


class Classify:
    """Classify: learn from train, score on dev; one core."""

    ONCE = True
    RATIOS = (("time_original_zip_to_model", "time_zip_to_model"),)

    def setup(self):
        with Collection.create(temporary("rocks.h5"), archive()) as rocks:
            self.train, self.test = _parts(rocks)
            self.keys, self.y = rocks.keys, rocks.labels
            self.images = rocks[self.test]
            self.all = rocks[:]
        if torch is None:
            type(self).RATIOS = ()
            del type(self).time_original_zip_to_model
        else:
            torch.set_num_threads(1)

    def time_zip_to_model(self):
        path = temporary("rocks.h5")
        with Collection.create(path, archive()) as rocks:
            model = ConvNetClassifier(random_state=0)
            model.fit(rocks[self.train], rocks.labels[self.train])
        save(model, path.with_name("model.skops"))
        self.model = model

    def time_original_zip_to_model(self):
        with zipfile.ZipFile(archive()) as opened:
            paths = sorted(name for name in opened.namelist() if name.endswith(".jpg"))
            images = [np.asarray(Image.open(BytesIO(opened.read(p)))) for p in paths]
        self.original = OriginalConvNet().fit(
            np.stack(images)[self.train], self.y[self.train]
        )

    @functools.cached_property
    def proba(self):
        return self.model.predict_proba(self.images)

    def _accuracy(self, model, images):
        return np.mean(model.predict(images) == self.y[self.test])

    @functools.cached_property
    def disturbed(self):
        return {
            name: self._accuracy(self.model, images)
            for name, images in disturbances(self.images)
        }

    def track_accuracy(self):
        return self._accuracy(self.model, self.images)

    def track_accuracy_disturbed_mean(self):
        return np.mean(list(self.disturbed.values()))

    def track_accuracy_disturbed_worst(self):
        return min(self.disturbed.values())

    def track_calibration_error(self):
        return expected_calibration_error(
            self.y[self.test], self.proba, self.model.classes_
        )

    def track_accuracy_from_50_a_class(self):
        accuracies = []
        for seed in range(3):
            rng = np.random.default_rng(seed)
            few = np.concatenate(
                [
                    rng.choice(self.train[self.y[self.train] == name], 50, False)
                    for name in np.unique(self.y)
                ]
            )
            model = ConvNetClassifier(random_state=seed)
            model.fit(self.all[few], self.y[few])
            accuracies.append(self._accuracy(model, self.images))
        return np.mean(accuracies)

    def track_pictures_a_second(self):
        self.model.predict_proba(self.images[:500])
        start = time.perf_counter()
        self.model.predict_proba(self.images)
        return len(self.images) / (time.perf_counter() - start)

    def track_original_accuracy(self):
        return self._accuracy(self.original, self.images) if torch else np.nan

    def track_original_disturbed_mean(self):
        if torch is None:
            return np.nan
        return np.mean(
            [self._accuracy(self.original, x) for _, x in disturbances(self.images)]
        )

    def track_peak_megabytes_of_the_process(self):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Ablation:
    """Ablation: what each block of features buys, on a fifth of train held out."""

    ONCE = True
    BLOCKS = (
        ("color, texture, conv (default)", {}),
        ("with hog", {"hog": 1}),
        ("without color", {"color": 0}),
        ("without texture", {"texture": 0}),
        ("without conv", {"conv": 0}),
        ("color alone", {"texture": 0, "conv": 0}),
        ("texture alone", {"color": 0, "conv": 0}),
        ("conv alone", {"color": 0, "texture": 0}),
    )

    def setup(self):
        with Collection.create(temporary("rocks.h5"), archive()) as rocks:
            train, _ = _parts(rocks)
            images, y = rocks[train], rocks.labels[train]
        held = np.random.default_rng(0).permutation(len(train)) < len(train) // 5
        self.data = images[~held], y[~held], images[held], y[held]

    def track_table(self):
        from geoimages import RockFeatures

        images, y, held, of_held = self.data
        rows = {}
        for name, weights in self.BLOCKS:
            features = RockFeatures(random_state=0, **weights)
            model = ConvNetClassifier(features, random_state=0).fit(images, y)
            scores = [
                np.mean(model.predict(x) == of_held) for _, x in disturbances(held)
            ]
            rows[name] = {
                "columns": len(model.features_.feature_names_),
                "clean": np.mean(model.predict(held) == of_held),
                "disturbed": np.mean(scores),
                "worst": min(scores),
            }
        table = pd.DataFrame(rows).T
        print(table.to_string(float_format="{:.4f}".format))
        return len(table)


SUITES = [Classify, Ablation]
