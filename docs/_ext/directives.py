"""What pages show that the code knows: the house, and the help of every command."""

import click
from docutils import nodes
from docutils.parsers.rst import Directive
from house import draw

from geoimages.cli import cli

_WIDTH = 84


def _help(command, name):
    """The text that ``--help`` prints."""
    context = click.Context(
        command, info_name=name, terminal_width=_WIDTH, max_content_width=_WIDTH
    )
    return command.get_help(context)


class House(Directive):
    """The directive ``house``: the picture, where it stands."""

    def run(self):
        """Return the picture as it goes into the page."""
        return [nodes.raw("", draw(), format="html")]


class Commands(Directive):
    """The directive ``commands``: a section for each command."""

    def run(self):
        """Return the sections."""
        sections = []
        for name in cli.list_commands(click.Context(cli)):
            section = nodes.section(ids=[name], names=[name])
            section += nodes.title("", name)
            text = _help(cli.commands[name], f"geoimages {name}")
            section += nodes.literal_block(text, text, language="text")
            self.state.document.note_explicit_target(section, section)
            sections.append(section)
        return sections
