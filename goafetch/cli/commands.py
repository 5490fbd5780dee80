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
    from goafetch.cli import (
        caldb,
        dataselect,
        demo,
        fetch,
        login,
        plan,
        practice,
        reduce,
        report,
        run,
        search,
        showd,
        showpars,
        tutorial,
        typewalk,
        unpack,
    )

    app.command("run")(run.run)
    app.command("search")(search.search)
    app.command("fetch")(fetch.fetch)
    app.command("unpack")(unpack.unpack)
    app.command("plan")(plan.plan)
    app.command("explain")(plan.explain)
    app.command("reduce")(reduce.reduce)
    app.command("disco")(reduce.disco)
    app.command("dataselect")(dataselect.dataselect)
    app.command("showd")(showd.showd)
    app.command("showpars")(showpars.showpars)
    app.command("typewalk")(typewalk.typewalk)
    app.add_typer(caldb.app, name="caldb")
    app.command("tutorial")(tutorial.tutorial)
    app.command("report")(report.report)
    app.command("export")(report.export)
    app.command("login")(login.login)
    app.command("logout")(login.logout)
    app.command("whoami")(login.whoami)
    app.command("demo")(demo.demo)
    app.command("practice")(practice.practice)


_register()
