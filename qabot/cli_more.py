"""The commands around measuring and around the Discord bot: `eval`, `calibrate`, `bot`, `doctor`, `feedback`.

Owns: their flags and exit codes, as `cli` does for the everyday commands.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from qabot.phrases import counted
from qabot.shell import (
    EXIT_ANSWERED,
    EXIT_NOTHING,
    TARGET,
    as_json_text,
    common,
    console_for,
    progress_bar,
    settings_of,
    teller,
)


@click.command("eval", short_help="Measure how well questions with known answers are answered.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@common
@click.option("--qrels", type=click.Path(path_type=Path), metavar="FILE", help="Relevant documents, for a collection.")
@click.option("--within-document", is_flag=True, help="Ask each question of the document that it names only.")
@click.option(
    "--compare",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Another config.toml, or an earlier --json report.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", **TARGET, metavar="OUT", help="Also write a report with plots and failures.")
@click.option(
    "--fail-under", multiple=True, metavar="METRIC=VALUE", help="Exit with 1 when a figure is worse than this."
)
def evaluate_command(
    files: tuple[Path, ...],
    documents: Path | None,
    index: Path | None,
    config: Path | None,
    no_color: bool,
    **flags: Any,
) -> None:
    """Ask the questions of FILE... and measure the answers against their gold (docs/evaluation.md)."""
    from qabot.evaluation.page import page
    from qabot.evaluation.report import lines, parse_floors, report, unmet
    from qabot.evaluation.run import evaluate, other_rows

    settings = settings_of(config, documents, index)
    errors = console_for(no_color, stderr=True)
    floors = parse_floors(flags["fail_under"])
    asking = {
        "qrels": flags["qrels"],
        "within_document": flags["within_document"],
        "progress": progress_bar(errors),
        "tell": teller(errors),
    }
    run = evaluate(settings, files, **asking)
    compared = other_rows(flags["compare"], files, **asking) if flags["compare"] else None
    found = report(run, compared, str(flags["compare"]))
    if flags["as_json"]:
        click.echo(as_json_text(found.as_json()))
    else:
        click.echo("\n".join(lines(found)))
    if flags["html"]:
        flags["html"].write_text(page(found), encoding="utf-8")
    failed = unmet(found, floors)
    for line in failed:
        click.echo(f"qabot: {line}", err=True)
    sys.exit(EXIT_NOTHING if failed else EXIT_ANSWERED)


@click.command(short_help="Fit the probabilities that decide between answer and refusal.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@common
@click.option("--out", required=True, **TARGET, metavar="FILE", help="Where to write the calibration.")
@click.option(
    "--method",
    type=click.Choice(["platt", "isotonic", "gated"]),
    default="platt",
    show_default=True,
    help="Kind of curve.",
)
@click.option("--signals", metavar="A,B", help="Signals to use (default: all there are).")
@click.option(
    "--share", type=click.FloatRange(0, 1), metavar="S", help="Answer this share of the answerable questions."
)
@click.option("--answered", type=click.FloatRange(0, 1), metavar="P", help="Least probability of an answer.")
@click.option("--related", type=click.FloatRange(0, 1), metavar="P", help="Least probability of a related passage.")
@click.option("--within-document", is_flag=True, help="Ask each question of the document that it names only.")
def calibrate(
    files: tuple[Path, ...],
    documents: Path | None,
    index: Path | None,
    config: Path | None,
    no_color: bool,
    **flags: Any,
) -> None:
    """Fit a calibration for the models in use on the labelled questions of FILE... (docs/evaluation.md)."""
    from qabot.evaluation.calibrate import calibrate as fit
    from qabot.evaluation.calibrate import lines
    from qabot.evaluation.run import evaluate
    from qabot.reader import load_reader
    from qabot.refusal import calibration_recipe

    # The calibration that is to be replaced may not fit any more.
    settings = settings_of(config, documents, index).model_copy(update={"calibration": None})
    errors = console_for(no_color, stderr=True)
    run = evaluate(
        settings, files, within_document=flags["within_document"], progress=progress_bar(errors), tell=teller(errors)
    )
    recipe = calibration_recipe(str(run.recipe["encoder"]), load_reader(settings.reader, settings.threads))
    made = fit(
        [run],
        recipe,
        method=flags["method"],
        use=tuple(flags["signals"].split(",")) if flags["signals"] else (),
        share=flags["share"],
        answered=flags["answered"],
        related=flags["related"],
    )
    flags["out"].write_text(made.as_json(), encoding="utf-8")
    click.echo("\n".join([*lines(made), f'Written to {flags["out"]}; set calibration = "{flags["out"]}" to use it.']))


@click.command(short_help="Run the Discord bot.")
@common
@click.option("--sync", is_flag=True, help="Register the commands even if they haven't changed.")
@click.option("--guild", type=int, metavar="ID", help="Register them for this server only, at once (for development).")
@click.option(
    "--log-level",
    type=click.Choice(["warning", "info", "debug"]),
    default="info",
    show_default=True,
    help="What is logged.",
)
def bot(
    documents: Path | None,
    index: Path | None,
    config: Path | None,
    no_color: bool,
    sync: bool,
    guild: int | None,
    log_level: str,
) -> None:
    """Run the Discord bot until it is told to stop (docs/bot.md).

    The token comes from QABOT_DISCORD_TOKEN, or from the file that QABOT_DISCORD_TOKEN_FILE names. Exit code 0:
    stopped by a signal; 2: error; 3: no token, or Discord refuses it; 4: an intent is not switched on.
    """
    import logging

    from qabot.bot.run import run_bot

    settings = settings_of(config, documents, index)
    level = logging.getLevelNamesMapping()[log_level.upper()]
    sys.exit(run_bot(settings, settings.bot, sync=sync, guild=guild, level=level))


@click.command(short_help="Check token, index, model and configuration of the bot.")
@common
@click.option("--online", is_flag=True, help="Also ask Discord which permissions are missing where.")
def doctor(documents: Path | None, index: Path | None, config: Path | None, no_color: bool, online: bool) -> None:
    """Check everything that the bot needs, and say what to do about what is wrong.

    Exit code 0: all well; 1: something is to be done; 2: error.
    """
    from qabot.bot.doctor import run_doctor

    settings = settings_of(config, documents, index)
    well = run_doctor(
        settings,
        settings.bot,
        online=online,
        tell=lambda finding: click.echo(f"{'ok' if finding.good else '! '}  {finding.text}"),
    )
    sys.exit(EXIT_ANSWERED if well else EXIT_NOTHING)


@click.group(short_help="What people thought of the bot's answers.")
def feedback() -> None:
    """What people thought of the bot's answers, after an admin has approved it."""


@feedback.command("export", short_help="Write approved feedback as questions for `qabot eval`.")
@click.argument("target", **TARGET, metavar="FILE")
@common
def feedback_export(
    target: Path, documents: Path | None, index: Path | None, config: Path | None, no_color: bool
) -> None:
    """Write approved feedback to FILE, in the format that `qabot eval` reads."""
    from qabot.bot.reviewing import export_feedback

    settings = settings_of(config, documents, index)
    count = export_feedback(settings.bot.store, target)
    click.echo(f"{counted(count, 'question')} written to {target}.")
