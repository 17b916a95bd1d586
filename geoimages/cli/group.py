"""The command group."""

from pathlib import Path

import click

_WRITTEN = ("output", "plot", "vectors", "animation")


class Command(click.Command):
    """A command that refuses to overwrite its own input."""

    def invoke(self, ctx):
        """Check that no output is also an input, then run."""
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
        return super().invoke(ctx)


class Group(click.Group):
    """A group of `Command`."""

    command_class = Command


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="geoimages")
def cli():
    """Classify pictures of rock and find similar ones."""
