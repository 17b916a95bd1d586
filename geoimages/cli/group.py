"""The command that all others belong to."""

from pathlib import Path

import click

_WRITTEN = ("output", "plot", "vectors", "animation")


class Command(click.Command):
    """A command that does not write over a file it reads."""

    def invoke(self, ctx):
        """Run it, once no file is both."""
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
                        f"{path} is the {what} itself and would be lost; name another "
                        "file."
                    )
        return super().invoke(ctx)


class Group(click.Group):
    """The group, whose commands are such."""

    command_class = Command


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="geoimages")
def cli():
    """Tell what rock a picture shows, and where else its pattern occurs."""
