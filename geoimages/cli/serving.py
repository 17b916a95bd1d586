"""The command that opens the page."""

from pathlib import Path

import click

from .classes import load_classifier
from .group import cli
from .options import COLLECTION, features_options
from .printing import echo
from .shorthands import FEATURES, make_features, make_model


@cli.command()
@COLLECTION
@click.option(
    "--model",
    "classifier",
    type=click.Path(),
    metavar="MODEL.SKOPS",
    help="A classifier that 'geoimages train' made: the page says what a picture is.",
)
@click.option(
    "--votes",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The file of blind votes; by default beside the collection.",
)
@click.option(
    "--labels",
    type=click.Path(dir_okay=False),
    metavar="CSV",
    help="The file of labels given on the page; by default beside the collection.",
)
@features_options("rock")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="0: a free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Another address than this machine's own; visitors then need the token that is "
    "printed.",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def serve(
    collection, classifier, votes, labels, features, preset, port, host, no_browser
):
    """Open a page: drop a picture, see what it is and where it occurs."""
    try:
        from ..web.desk import Desk
        from ..web.server import serve as run
    except ImportError as error:
        raise ImportError(
            f"The page needs {error.name}; pip install 'geoimages[web]'."
        ) from None
    if classifier is not None:
        classifier = load_classifier(classifier)
    make_features(features, preset=preset)  # whatever is wrong is said now
    known = {Path(name).name: name for name in (features, *FEATURES)}

    def make(model, name, color=None):
        return make_model(model, name, color, preset if name == features else None)

    desk = Desk(
        collection, make, known, classifier=classifier, votes=votes, labels=labels
    )
    run(desk, host, port, browser=not no_browser, echo=echo)
