"""The demo: from a zip of pictures to ranked tables and figures."""

import time
from pathlib import Path

import geoimages as gi

from ..collection.sources import open_source

_INDENT = "    "


class _Steps:
    """Numbered steps, each printed with the time it took."""

    def __init__(self, echo):
        self.echo, self.number, self.start = echo, 0, time.perf_counter()

    def done(self, title, details=""):
        self.number += 1
        now = time.perf_counter()
        self.echo(f"{self.number}. {title} [{now - self.start:.1f} s]")
        for line in str(details).splitlines():
            self.echo(f"{_INDENT}{line}")
        self.echo("")
        self.start = time.perf_counter()


def run_demo(output="demo", source=None, echo=print):
    """Run the main steps from a zip to figures, and report them.

    Parameters
    ----------
    output : str or path-like, default="demo"
        Folder to write to; created if missing.
    source : str or path-like, optional
        A zip or folder of pictures in class folders. By default a sample is drawn,
        with three damaged files in it.
    echo : callable, default=print
        Called with each line of the report.

    Returns
    -------
    pictures : list of Path
        The figures written.
    """
    output = Path(output)
    if source is not None:
        with open_source(source):
            pass  # a wrong path must not leave an empty folder
    output.mkdir(parents=True, exist_ok=True)
    steps, pictures = _Steps(echo), []

    def draw(figure, name):
        gi.visualize.save_figure(figure, output / name)
        pictures.append(output / name)

    if source is None:
        source = gi.write_rocks(output / "rocks.zip", 600, random_state=0, n_damaged=3)
        steps.done(f"Drew a sample archive, {source}", "600 pictures, 3 damaged files")
    with gi.Collection.create(output / "rocks.h5", source) as rocks:
        steps.done(f"Read it into {rocks.path}", rocks.summary())
        draw(gi.Plots.sample_sheet(rocks), "sample.png")
        steps.done("Drew a sample of each class")

        # One candidate from each of three classes.
        classes = rocks.classes[:: max(1, len(rocks.classes) // 3)][:3]
        candidates = [str(rocks.keys[rocks.where(label=name)[0]]) for name in classes]
        candidates = candidates or [str(rocks.keys[0])]
        models = {
            "pairwise": gi.PairwiseModel(k_candidates=6),
            "kmeans": gi.KMeansModel(min(3, len(rocks)), 6, random_state=0),
            "rock": gi.PairwiseModel(k_candidates=6, features=gi.RockFeatures()),
        }
        every = rocks.keys[:: max(1, len(rocks) // 200)].tolist()
        labels = rocks.labels[:: max(1, len(rocks) // 200)]
        for name, model in models.items():
            model.fit(rocks)
            matches = model.predict(candidates)
            precision = (
                f"\nprecision at 6 over {len(every)} queries: "
                f"{model.score(every, labels):.2f}"
                if len(rocks.classes)
                else ""
            )
            compared = "pixels" if model.features is None else "RockFeatures"
            steps.done(
                f"{type(model).__name__}, {compared}: the pictures most similar to "
                f"{candidates[0]}",
                f"{matches.loc[candidates[0]].to_string()}{precision}",
            )
            draw(gi.Plots.plot_matches(matches, rocks), f"matches_{name}.png")
        clusters = range(1, min(10, len(rocks)) + 1)
        inertias = models["kmeans"].model_inertias(clusters)
        draw(gi.Plots.elbow_plot(clusters, inertias), "elbow.png")
        elbow = gi.suggest_elbow(clusters, inertias)
        steps.done(
            f"Tried 1 to {max(clusters)} clusters",
            f"suggested: {elbow} clusters" if elbow else "no clear elbow",
        )
    echo("Figures written:")
    for picture in pictures:
        echo(f"{_INDENT}{picture}")
    return pictures
