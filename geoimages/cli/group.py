"""The command group, and how its errors are reported."""

import re
import traceback
from pathlib import Path

import click

from ..files import OF_WRITING
from .printing import echo

ISSUES = "https://github.com/geoimages/geoimages/issues"

_WRITTEN = ("output", "plot", "vectors", "animation")
# What the library calls the options of a shell.
_OPTIONS = {
    "dev_size": "--dev",
    "dist_metric": "--metric",
    "k_candidates": "-k",
    "n_neighbors": "-k",
    "n_queries": "--queries",
    "n_trials": "--trials",
    "num_clusters": "--clusters",
    "random_state": "--seed",
    "test_size": "--test",
}


class Fault(click.ClickException):
    """An unexpected error, or too little memory."""


class Command(click.Command):
    """A command that refuses to overwrite its own input and says errors in one line."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--traceback"],
                is_flag=True,
                help="Print the traceback of an error.",
            )
        )

    def invoke(self, ctx):
        """Check that no output is also an input, then run."""
        in_full = ctx.params.pop("traceback")
        read = {
            name: value
            for name, value in ctx.params.items()
            if name not in _WRITTEN and isinstance(value, str) and Path(value).is_file()
        }
        for name in _WRITTEN:
            path = ctx.params.get(name)
            for what, given in read.items():
                if path and Path(path).exists() and Path(path).samefile(given):
                    raise click.UsageError(
                        f"{path} is the {what} itself and would be overwritten; name "
                        "another file."
                    )
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except BrokenPipeError:
            raise
        except Exception as error:
            if in_full:
                echo(traceback.format_exc(), err=True, nl=False)
            raise self.explained(error) from error

    def explained(self, error):
        """Turn an exception into the one line that a user reads."""
        if isinstance(error, MemoryError):
            why = str(error) or "the machine has no more"
            return Fault(f"Out of memory: {why}; ask for fewer or smaller pictures.")
        if isinstance(error, OSError) and error.errno in OF_WRITING and error.args[1:]:
            where = error.filename or "The output"  # a file says its name by itself
            return click.ClickException(f"{where} cannot be written: {error.strerror}.")
        if isinstance(error, (ValueError, OSError, ImportError)) or (
            isinstance(error, (KeyError, TypeError)) and _is_ours(error)
        ):
            text = str(error.args[0] if isinstance(error, KeyError) else error)
            return click.ClickException(self._in_options(text))
        return Fault(
            f"{type(error).__name__}: {error}. This is a bug; please report it at "
            f"{ISSUES} with the output of --traceback."
        )

    def _in_options(self, text):
        """Name options as the shell does: num_clusters=61 becomes --clusters 61."""
        for parameter in self.params:
            if not isinstance(parameter, click.Option):
                continue
            for name, option in _OPTIONS.items():
                if option in parameter.opts:
                    text = re.sub(rf"\b{name}\b=?", f"{option} ", text)
            option = max(parameter.opts, key=len)
            text = re.sub(rf"(?<![\w-]){parameter.name}=(?=\S)", f"{option} ", text)
        return text


def _is_ours(error):
    """Whether the package itself raised the error, so that it says what to do."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(__file__).parents[1] in Path(frames[-1].filename).parents


class Group(click.Group):
    """A group of `Command`."""

    command_class = Command


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="geoimages")
def cli():
    """Classify pictures of rock and find similar ones."""
