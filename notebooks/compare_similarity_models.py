# %% [markdown]
# # Which model finds better, and how sure is that?
#
# **Question.** Two models answer differently. Which answers are worth more, what do
# they cost, and is the difference more than chance?
#
# **Data.** A small drawn sample. Set `GEOIMAGES_DATA` to the folder that holds
# `geological_similarity.zip` to use the public archive.

# %%
import os
import textwrap
from pathlib import Path

import pandas as pd

from geoimages import (
    Collection,
    KMeansModel,
    PairwiseModel,
    Plots,
    RockFeatures,
    blind_trials,
    compare,
    recall_against_exact,
    votes_needed,
    write_rocks,
)

data = os.environ.get("GEOIMAGES_DATA")
work = Path("work", "archive" if data else "drawn")
work.mkdir(parents=True, exist_ok=True)
if data:
    archive = Path(data, "geological_similarity.zip")
else:
    archive = write_rocks(work / "rocks.zip", 480, random_state=0, n_damaged=3)

path = work / "rocks.h5"
rocks = Collection(path) if path.exists() else Collection.create(path, archive)
print(f"{len(rocks):,} pictures of {len(rocks.classes)} classes")

# %% [markdown]
# ## The experiment
#
# The two models of the proof of concept, which compare pixels, and one that compares
# what geologists look at. All get the same 200 queries, and what they find is scored
# by whether it has the query's class. **Decided before looking: the measure
# is the precision at 12**, the share of the first twelve pictures found that are of the
# class.

# %%
models = {
    "pairwise": PairwiseModel(),
    "kmeans": KMeansModel(num_clusters=3, random_state=0),
    "rock": PairwiseModel(features=RockFeatures()),
}
fitted = {name: model.fit(rocks) for name, model in models.items()}
result = compare(fitted, 200, ks=(1, 5, 12), measure="precision@12", random_state=0)
print(textwrap.fill(result.verdict, 88))

# %% [markdown]
# The mean scores. Precision looks at the first answers; *mAP*, mean average precision,
# looks at the whole ranking. (A k-means model asked for all pictures searches all
# clusters, so its mAP is that of the pairwise model.)

# %%
result.table().round(3)

# %% [markdown]
# The differences are paired: both models answer the same questions, so easy and hard
# questions cancel. `low` and `high` are the ends of a 95 % interval; `p_corrected` says
# how often chance alone would give such a difference, corrected for there being three
# pairs.

# %%
differences = result.differences
differences[differences["measure"] == "precision@12"].round(4)

# %% [markdown]
# **What the figure shows.** Left the scores with their intervals, in the middle the
# paired differences (a hollow mark may be chance), right how much the answers are the
# same pictures.

# %%
Plots.comparison(result)

# %% [markdown]
# ## What one candidate finds
#
# **What the figure shows.** The same candidate, a row for each model. A thick frame
# marks what is of its class.

# %%
key = rocks.keys[rocks.where(label="schist")[3]]
Plots.side_by_side(key, fitted, rocks)

# %% [markdown]
# ## What the faster search misses
#
# k-means looks into one of three clusters. Of the twelve pictures that are truly the
# most similar by pixels it finds this share:

# %%
recall_against_exact(fitted["kmeans"], 200, k=12).scores.round(3)

# %% [markdown]
# ## Ask people
#
# Classes know nothing of which of two good answers a geologist likes better. In a
# *blind trial* a person sees one picture and two answers, without names, sides drawn at
# random.
#
# **What the figure shows.** Such a trial.

# %%
trials = blind_trials(fitted, rocks.keys[:: len(rocks) // 40].tolist(), random_state=0)
trial = next(iter(trials))
Plots.trial_sheet(trial.query, trial.left, trial.right, rocks, title="trial 1")

# %% [markdown]
# How many votes it takes depends on how clear the preference is:

# %%
shares = (0.55, 0.6, 0.7, 0.8, 0.9)
votes = [votes_needed(share, comparisons=3) for share in shares]
pd.DataFrame({"true preference": shares, "votes needed": votes})

# %% [markdown]
# **Result.** The verdict above is a sentence to quote, with its interval. What is
# compared (pixels or features) decides far more than how it is searched. In a shell:
# `geoimages compare rocks.h5 --models pairwise,kmeans,rock --queries 200`, and
# `geoimages vote` asks people.
