"""The command that all others belong to."""

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="geoimages")
def cli():
    """Tell what rock a picture shows, and where else its pattern occurs."""
