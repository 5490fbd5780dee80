"""All commands under their names."""

from __future__ import annotations

import sys

import typer

from goafetch import __version__

#: In a pipe help and usage errors have neither boxes nor sentences cut to a width.
_WATCHED = sys.stdout.isatty() and sys.stderr.isatty()

app = typer.Typer(
    name="goafetch",
    help="From a Gemini program ID to a stacked, calibrated GSAOI image with one command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if _WATCHED else None,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "terminal_width": None if _WATCHED else 200,
    },
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"goafetch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="The version."
    ),
) -> None:
    """From a Gemini program ID to a stacked, calibrated GSAOI image with one command."""


def _register() -> None:
    from goafetch.cli import archive, caldb, colour, compare, files, photometry, practice, reduce, run, stacks

    for command in (
        *(run.run, archive.search, archive.fetch, archive.unpack, run.plan, run.explain),
        *(reduce.reduce, reduce.disco, files.dataselect, files.showd, files.showpars, files.typewalk),
        *(photometry.photometry, colour.colour, compare.compare, stacks.cutout, stacks.trends),
        *(practice.tutorial, run.report, run.export, run.config),
        *(archive.login, archive.logout, archive.whoami, practice.demo, practice.practice),
    ):
        app.command()(command)
    app.add_typer(caldb.app, name="caldb")


_register()
