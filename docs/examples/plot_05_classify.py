"""
Classification, calibration and novelty
=======================================

A classifier predicts a class and a calibrated probability, and flags novel pictures.
"""

import matplotlib.pyplot as plt
import numpy as np

from geoimages import ConvNetClassifier, Plots, disturbance_table, make_rocks

images, labels = make_rocks(600, random_state=0)
train, test = slice(0, 400), slice(400, 600)
model = ConvNetClassifier(max_epochs=15, validation_fraction=0.2, random_state=0)
model.fit(images[train], labels[train])
print(f"accuracy {model.score(images[test], labels[test]):.2f}")
proba = model.predict_proba(images[test])
predicted = model.classes_[proba.argmax(axis=1)]

# %%
# The confusion matrix shows which classes are confused. The reliability diagram shows
# how often a prediction of a given probability is right: points on the line are
# calibrated.

fig, axes = plt.subplots(1, 2, figsize=(9.5, 4.4), layout="constrained")
Plots.confusion_matrix(labels[test], predicted, ax=axes[0])
Plots.reliability(labels[test], proba, model.classes_, ax=axes[1], n_bins=5)

# %%
# Probabilities cannot express that a picture is none of the six classes. ``novelty``
# can: it is the percentage of held-out pictures closer to the training pictures.
# Stripes are classified as gneiss with high confidence, and are no rock.

stripes = (np.indices((28, 28)).sum(axis=0) // 4 % 2 * 255).astype(np.uint8)
queries = np.stack([images[test][1], np.stack([stripes] * 3, axis=-1)])
proba, novelty = model.predict_proba(queries), model.novelty(queries)
fig, axes = plt.subplots(1, 2, figsize=(5, 2.9), layout="constrained")
for ax, image, p, new in zip(axes, queries, proba, novelty, strict=True):
    ax.imshow(image)
    ax.set(xticks=[], yticks=[])
    name = model.classes_[p.argmax()]
    ax.set_xlabel(f"{name}, probability {p.max():.2f}\nnovelty {new:.0f}")

# %%
# Accuracy drops in other light or with another camera. Here it is under eight
# corruptions of the test pictures.

table = disturbance_table(model, images[test], labels[test])["accuracy"]
table = table.drop(["mean", "worst"])[::-1]
fig, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
ax.barh(table.index, table, color="#2f5d7c", height=0.6)
for i, value in enumerate(table):
    ax.text(value + 0.01, i, f"{value:.2f}", va="center", fontsize=9)
ax.set(xlabel="accuracy", xlim=(0, 1.08))
ax.spines[["top", "right"]].set_visible(False)
