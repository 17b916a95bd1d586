"""What features of photographs are worth to a classifier: thin sections, by an SVC.

The pictures are those below ``thin_sections`` of ``GEOIMAGES_DATA``, brought to grey
squares of one size, else drawn rocks of 128 pixels. Scores are of twice five folds.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.svm import SVC

from geoimages import FisherFeatures, RockFeatures, make_rocks, resize_image

_SIDE = 224


def photographs():
    """(pictures, labels)."""
    folder = Path(os.environ.get("GEOIMAGES_DATA", "")) / "thin_sections"
    paths = sorted(folder.glob("class*/*.png"))
    if not paths:
        return make_rocks(420, image_shape=(128, 128, 3), random_state=0)
    images = [np.asarray(Image.open(p).convert("L").convert("RGB")) for p in paths]
    images = [resize_image(image, (_SIDE, _SIDE)) for image in images]
    return np.stack(images), np.array([path.parent.name for path in paths])


class Photographs:
    """Accuracy of an SVC (C=10) on features of photographs."""

    FEATURES = (
        RockFeatures(),
        FisherFeatures(),
        RockFeatures(fisher=0.5),
        RockFeatures(fisher=1),
    )

    def run(self):
        print(f"\n{self.__doc__}")
        images, labels = photographs()
        folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0)
        for features in self.FEATURES:
            # Learned without labels, so that the folds need not learn them again.
            rows = features.fit_transform(images)
            scores = cross_val_score(SVC(C=10), rows, labels, cv=folds)
            print(f"  {features!r:30s} {scores.mean():.3f} ± {scores.std():.3f}")


SUITES = [Photographs]
