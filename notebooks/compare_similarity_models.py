# %% [markdown]
# # Which model retrieves better?
#
# **Question.** Two models give different answers. Which are better, what do they cost,
# and is the difference significant?
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
# what geologists look at. All get the same 200 queries, and an answer is relevant if it
# has the query's class. **Fixed before looking: the measure is precision at 12**, the
# share of relevant pictures among the first twelve.

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
# The mean scores. Precision considers the first answers; *mAP*, mean average precision,
# the whole ranking. (To rank all pictures, a k-means model searches all clusters, so
# its mAP is that of the pairwise model.)

# %%
result.table().round(3)

# %% [markdown]
# The differences are paired: both models get the same queries, so easy and hard queries
# cancel out. `low` and `high` are the ends of a 95 % interval; `p_corrected` is the
# p-value of a permutation test, corrected for three pairs.

# %%
differences = result.differences
differences[differences["measure"] == "precision@12"].round(4)

# %% [markdown]
# **What the figure shows.** Left: the scores with their intervals. Middle: the paired
# differences (hollow if not significant). Right: the overlap of the answers.

# %%
Plots.comparison(result)

# %% [markdown]
# ## One query
#
# **What the figure shows.** The same query, one row per model. A thick frame marks
# pictures of its class.

# %%
key = rocks.keys[rocks.where(label="schist")[3]]
Plots.side_by_side(key, fitted, rocks)

# %% [markdown]
# ## What the faster search misses
#
# k-means searches one of three clusters. Its recall of the true twelve nearest
# neighbors by pixels is:

# %%
recall_against_exact(fitted["kmeans"], 200, k=12).scores.round(3)

# %% [markdown]
# ## Blind votes
#
# Class labels do not tell which of two good answers a geologist prefers. In a *blind
# trial* a person sees a query and the answers of two models, unnamed, on random sides.
#
# **What the figure shows.** Such a trial.

# %%
trials = blind_trials(fitted, rocks.keys[:: len(rocks) // 40].tolist(), random_state=0)
trial = next(iter(trials))
Plots.trial_sheet(trial.query, trial.left, trial.right, rocks, title="trial 1")

# %% [markdown]
# The number of votes needed depends on how clear the preference is:

# %%
shares = (0.55, 0.6, 0.7, 0.8, 0.9)
votes = [votes_needed(share, comparisons=3) for share in shares]
pd.DataFrame({"true preference": shares, "votes needed": votes})

# %% [markdown]
# **Result.** The verdict above can be quoted as it is, with its interval. The features
# matter far more than the search algorithm. In a shell: `geoimages compare rocks.h5
# --models pairwise,kmeans,rock --queries 200`, and `geoimages vote` collects votes.
