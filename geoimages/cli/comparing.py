"""Commands that compare models by scores and by votes."""

import json
from pathlib import Path

import click
from click.core import ParameterSource

import geoimages as gi

from .group import cli
from .options import COLLECTION, PRESET, jobs_options
from .printing import echo
from .shorthands import FEATURES, MODELS, make_model, model_name

_COUNT = click.IntRange(min=1)
_NAMES = (
    f"Comma-separated models: {' or '.join(MODELS)}, one of {', '.join(FEATURES)} or a "
    "file (model.skops, net.onnx), or both, such as kmeans:rock. Without a model it is "
    "pairwise, without features they are pixels."
)


def _make_models(text, preset):
    """Turn 'pairwise,kmeans:rock' into a dict of unfitted models, named in full."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        parts = {name: kind for *kind, name in map(model_name, parts)}
        if len(parts) < 2:
            raise ValueError(
                f"{text!r} names {' and '.join(parts) or 'nothing'}; name two models."
            )
        networks = [kind for kind in parts.values() if kind[1].endswith(".onnx")]
        if preset and not networks:
            raise ValueError("--preset needs a network; name a file net.onnx.")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--models") from None
    models = {}
    for name, (kind, features) in parts.items():
        preset_of_it = preset if features.endswith(".onnx") else None
        models[name] = make_model(kind, features, preset=preset_of_it)
        if "random_state" in models[name].get_params():
            models[name].set_params(random_state=0)
    return models


def _models_options(default):
    models = click.option(
        "--models", default=default, show_default=True, metavar="NAMES", help=_NAMES
    )
    return lambda command: models(PRESET(command))


_SEED = click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of all random draws."
)


@cli.command()
@COLLECTION
@_models_options("pairwise,kmeans,rock")
@click.option(
    "--queries",
    type=int,
    default=200,
    show_default=True,
    help="Number of pictures to draw as queries.",
)
@click.option("-k", "k", type=_COUNT, default=10, show_default=True, help="Answers.")
@_SEED
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the comparison.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@jobs_options
def compare(collection, models, preset, queries, k, seed, plot, as_json):
    """Compare similarity models on pictures of the collection (A/B)."""
    models = _make_models(models, preset)
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
        echo(json.dumps(report, indent=2, default=float))
    else:
        echo(result)
    if plot:
        gi.visualize.save_figure(gi.Plots.comparison(result), plot)
        echo(f"Drew {plot}", err=True)


def _check_continued(votes, models, trials, k, given):
    """Print what a file of votes holds, and refuse contradicting options."""
    stored = votes.trials
    n_trials = sum(not trial.repeat_of for trial in stored)
    sides = {len(side) for trial in stored for side in (trial.left, trial.right)}
    named = {model_name(part.strip())[2] for part in models.split(",") if part.strip()}
    differ = {
        "models": named != set(stored.models),
        "trials": trials != n_trials,
        "k": sides != {k},
    }
    holds = (
        f"{votes.path.name} holds {n_trials} trials (and {len(stored) - n_trials} "
        f"repeats) of {' and '.join(stored.models)}, {max(sides)} answers a side"
    )
    wrong = [f"--{name}" if name != "k" else "-k" for name in given if differ[name]]
    if wrong:
        raise click.UsageError(
            f"{holds}; {' and '.join(sorted(wrong))} cannot change that. Leave it out to "
            "continue, or name another file of votes."
        )
    echo(f"{holds}; continuing.")


@cli.command()
@COLLECTION
@click.option(
    "--votes",
    "path",
    required=True,
    type=click.Path(dir_okay=False),
    help="The file of votes; created, or continued if it exists.",
)
@click.option("--voter", required=True, help="Your name.")
@_models_options("pairwise,rock")
@click.option(
    "--trials", type=_COUNT, default=40, show_default=True, help="Number of trials."
)
@click.option(
    "-k", "k", type=_COUNT, default=5, show_default=True, help="Answers per side."
)
@_SEED
@click.option(
    "--picture",
    type=click.Path(dir_okay=False),
    default="trial.png",
    show_default=True,
    help="File to draw each trial to; keep it open in a viewer.",
)
@jobs_options
@click.pass_context
def vote(ctx, collection, path, voter, models, preset, trials, k, seed, picture):
    """Vote in blind trials on which of two answers is better."""
    import numpy as np

    with gi.Collection(collection) as rocks:
        if Path(path).exists():
            votes = gi.record_votes(path)
            given = {
                name
                for name in ("models", "trials", "k")
                if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
            }
            _check_continued(votes, models, trials, k, given)
        else:
            models = _make_models(models, preset)
            queries = np.random.default_rng(seed).permutation(rocks.keys)
            queries = queries[: 2 * trials].tolist()
            fitted = {name: model.fit(rocks) for name, model in models.items()}
            drawn = gi.blind_trials(
                fitted, queries, k=k, n_trials=trials, random_state=seed
            )
            votes = gi.record_votes(path, drawn)
        gi.vote_in_terminal(
            votes, rocks, voter, picture, ask=lambda text: input(text), show=echo
        )


@cli.command()
@click.argument("votes", metavar="ROCKS.VOTES", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def votes(votes, as_json):
    """Analyze votes: which model is preferred, or how many more votes are needed."""
    result = gi.preference(gi.Votes(votes))
    if as_json:
        echo(json.dumps(result.as_dict(), indent=2))
    else:
        echo(result)
