"""What a pretrained network adds to hand-made features, by kind and by look.

It needs ``pip install 'geoimages[network]'``. Kinds are told by an SVC (C=10), of thin
sections below ``GEOIMAGES_DATA`` and of drawn rocks, in twice five folds that keep copies
together. Looks are drawn here, with lightness, grain size, color, glints and bands that
are known: the rank correlation of their differences with the features' distances.
"""

import time

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from skimage.color import lab2rgb
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from geoimages import PretrainedFeatures, RockFeatures, make_rocks

from .bench_photographs import _folds, groups_of_copies, photographs

_NETWORK = "efficientnet-lite0"
# In the order in which people compare rocks (Nosofsky et al. 2018); color has two axes.
_COUNTS = {
    "lightness": 1,
    "grain": 0.8,
    "a": 0.6,
    "b": 0.6,
    "glints": 0.5,
    "bands": 0.45,
}


def _field(rng, side, sigma):
    """Smooth noise of deviation 1."""
    noise = gaussian_filter(rng.standard_normal((side, side)), sigma, mode="wrap")
    return noise / noise.std()


def look_rocks(n, side=160, seed=0):
    """Draw rocks of known looks: pictures (n, side, side, 3), looks (n, 6) in ±1."""
    rng = np.random.default_rng(seed)
    looks = rng.uniform(-1, 1, (n, len(_COUNTS)))
    images = np.empty((n, side, side, 3), np.uint8)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    for i, (lightness, grain, a, b, glints, bands) in enumerate(looks):
        grains = _field(rng, side, side / 80 * 3**grain)
        angle, waves = rng.uniform(0, np.pi), rng.uniform(12, 22)
        phase = waves * (x * np.cos(angle) + y * np.sin(angle))
        layers = np.sin(phase + 0.8 * _field(rng, side, side / 10))
        light = rng.normal(0, 2.5, 2)  # from somewhere: no look of the rock
        lab = np.empty((side, side, 3))
        lab[..., 0] = 55 + 22 * lightness + 7 * grains + 5 * (1 + bands) * layers
        lab[..., 0] += light[0] * x + light[1] * y
        spots = _field(rng, side, 1.2)
        lab[..., 0] += 35 * (spots > np.quantile(spots, 1 - 0.02 * (1 + glints)))
        lab[..., 0] = lab[..., 0].clip(0, 100)
        lab[..., 1], lab[..., 2] = 12 * a + 1.5 * grains, 6 + 14 * b
        images[i] = np.rint(255 * lab2rgb(lab).clip(0, 1))
    return images, looks


class Kinds:
    """Accuracy of an SVC by kind, and the time of a picture."""

    FEATURES = (
        RockFeatures(),
        PretrainedFeatures(_NETWORK, "features"),
        PretrainedFeatures(_NETWORK),
        RockFeatures(network=_NETWORK),
    )

    def run(self):
        print(f"\n{self.__doc__}")
        shape = (224, 224, 3)
        views = {6: "photograph", 30: "cut-out"}
        drawn = {
            f"{n} drawn kinds, {view}s": make_rocks(
                360, image_shape=shape, n_classes=n, view=view, random_state=n
            )
            for n, view in views.items()
        }
        for title, pictures in {"thin sections": photographs(), **drawn}.items():
            print(f"  {title}: {len(pictures[0])} pictures", flush=True)
            self._score(*pictures)

    def _score(self, images, labels):
        groups = groups_of_copies(images)
        images, labels, groups, folds = _folds(images, labels, 2, groups=groups)
        for features in self.FEATURES:
            features.fit(images)
            start = time.process_time()
            rows = features.transform(images)
            took = (time.process_time() - start) / len(images)
            model = SVC(C=10)
            if isinstance(features, PretrainedFeatures):
                model = make_pipeline(StandardScaler(), model)
            scores = cross_val_score(model, rows, labels, cv=folds)
            name = " ".join(repr(features).split())
            print(f"    {name:70s} {scores.mean():.3f} ± {scores.std():.3f}", end="")
            print(f"  {1e3 * took:5.1f} ms a picture", flush=True)


class Looks:
    """Agreement of distances with known differences of drawn rocks."""

    FEATURES = (
        RockFeatures(),
        RockFeatures(weights="look"),
        PretrainedFeatures(_NETWORK),
        RockFeatures(network=_NETWORK),
        RockFeatures(network=_NETWORK, weights="look"),
    )

    def run(self):
        print(f"\n{self.__doc__}")
        # The weights were chosen with seed 0.
        images, looks = look_rocks(240, seed=1)
        wanted = pdist(looks * list(_COUNTS.values()))
        for features in self.FEATURES:
            rows = features.fit_transform(images)
            found = [
                spearmanr(pdist(rows, metric), wanted).statistic
                for metric in ("euclidean", "correlation")
            ]
            name = " ".join(repr(features).split())
            print(
                f"    {name:70s} euclidean {found[0]:.3f}, correlation {found[1]:.3f}"
            )


SUITES = [Kinds, Looks]
