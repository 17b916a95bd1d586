"""Commands that tell which of several models serves better."""

import json
from pathlib import Path

import click

import geoimages as gi

from .group import cli
from .options import COLLECTION
from .shorthands import FEATURES, MODELS, make_model

_COUNT = click.IntRange(min=1)
_NAMES = (
    f"Models, by commas: {' or '.join(MODELS)}, one of {', '.join(FEATURES)} "
    "(pairwise on these), or both, such as kmeans-rock."
)


def _named_models(ctx, param, value):
    """Turn 'pairwise,kmeans' into a dict of unfitted models."""
    names = [name.strip() for name in value.split(",") if name.strip()]
    if len(set(names)) < 2:
        raise click.BadParameter(f"{value!r} names fewer than two models.", ctx, param)
    try:
        models = {name: make_model(name) for name in names}
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    for model in models.values():
        if "random_state" in model.get_params():
            model.set_params(random_state=0)
    return models


def _models_option(default):
    return click.option(
        "--models",
        default=default,
        show_default=True,
        callback=_named_models,
        metavar="NAMES",
        help=_NAMES,
    )


_SEED = click.option(
    "--seed", type=int, default=0, show_default=True, help="Of all draws."
)


@cli.command()
@COLLECTION
@_models_option("pairwise,kmeans,rock")
@click.option(
    "--queries", type=int, default=200, show_default=True, help="Pictures asked about."
)
@click.option("-k", "k", type=_COUNT, default=10, show_default=True, help="Answers.")
@_SEED
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the comparison.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(collection, models, queries, k, seed, plot, as_json):
    """Compare similarity models on pictures of the collection (A/B)."""
    with gi.Collection(collection) as rocks:
        result = gi.compare(
            models,
            min(queries, len(rocks)),
            X=rocks,
            ks=tuple(sorted({1, k})),
            full=False,
            random_state=seed,
        )
    if as_json:
        tables = ("scores", "differences", "overlap")
        report = {name: getattr(result, name).to_dict("records") for name in tables}
        costs = result.costs.astype(object).where(result.costs.notna(), None)
        report["costs"] = costs.to_dict("index")
        report |= {"verdict": result.verdict, "queries": result.n_queries}
        click.echo(json.dumps(report, indent=2, default=float))
    else:
        click.echo(result)
    if plot:
        gi.visualize.save_figure(gi.Plots.comparison(result), plot)
        click.echo(f"Drew {plot}", err=True)


@cli.command()
@COLLECTION
@click.option(
    "--votes",
    "path",
    required=True,
    type=click.Path(dir_okay=False),
    help="The file of votes; it is made, or gone on with.",
)
@click.option("--voter", required=True, help="Your name.")
@_models_option("pairwise,rock")
@click.option(
    "--trials", type=_COUNT, default=40, show_default=True, help="How many to draw."
)
@click.option(
    "-k", "k", type=_COUNT, default=5, show_default=True, help="Answers a side."
)
@_SEED
@click.option(
    "--picture",
    type=click.Path(dir_okay=False),
    default="trial.png",
    show_default=True,
    help="Where each trial is drawn; keep it open in a viewer.",
)
def vote(collection, path, voter, models, trials, k, seed, picture):
    """Judge blindly which of two answers serves better, trial by trial."""
    import numpy as np

    with gi.Collection(collection) as rocks:
        if Path(path).exists():
            votes = gi.record_votes(path)
        else:
            queries = np.random.default_rng(seed).permutation(rocks.keys)
            queries = queries[: 2 * trials].tolist()
            fitted = {name: model.fit(rocks) for name, model in models.items()}
            drawn = gi.blind_trials(
                fitted, queries, k=k, n_trials=trials, random_state=seed
            )
            votes = gi.record_votes(path, drawn)
        gi.vote_in_terminal(
            votes, rocks, voter, picture, ask=lambda text: input(text), show=click.echo
        )


@cli.command()
@click.argument("votes", metavar="ROCKS.VOTES", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def votes(votes, as_json):
    """Say what people's votes tell, and how many more are needed."""
    result = gi.preference(gi.Votes(votes))
    if as_json:
        click.echo(json.dumps(result.as_dict(), indent=2))
    else:
        click.echo(result)
