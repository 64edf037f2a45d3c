"""The command line.

Owns: flags, exit codes and what goes to which stream. stdout carries the result alone; everything said beside
it goes to stderr. Exit codes: 0 answered (or done), 1 nothing answers (or something differs), 2 error.
Everything slow to import is imported inside the command that needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qabot import __version__
from qabot.errors import QabotError

if TYPE_CHECKING:
    from rich.console import Console

    from qabot.config import Settings

EXIT_ANSWERED, EXIT_NOTHING, EXIT_ERROR = 0, 1, 2

QUESTION_HELP = """Answer QUESTION with quotes from the documents.

Without a question, on a terminal, an interactive session opens. Exit code 0: answered; 1: nothing
answers; 2: error.

\b
  qabot ask "who signed the statement?"
  qabot ask "when does the office open?" --in handbook --quotes 1
  qabot ask --batch questions.jsonl > answers.jsonl
"""


class Group(click.Group):
    """Reports what qabot raises on purpose as one message and exit code 2, and names the nearest command."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; `QabotError` ends here and nowhere else."""
        try:
            return super().invoke(ctx)
        except QabotError as error:
            click.secho(f"qabot: {error}", err=True, fg="red" if sys.stderr.isatty() else None)
            ctx.exit(EXIT_ERROR)
        except BrokenPipeError:
            # The reader of a pipe (head, less) has seen enough.
            sys.stderr.close()
            ctx.exit(EXIT_ANSWERED)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or an error that names the nearest one."""
        import difflib

        if args and args[0] not in self.commands and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.commands, 1, cutoff=0.4)
            hint = f"Did you mean {near[0]!r}?" if near else 'To ask something: qabot ask "..."'
            raise click.UsageError(f"No such command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that every command has."""
    flags = (
        click.option("--documents", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the documents."),
        click.option("--index", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the index."),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Configuration file (default: config.toml).",
        ),
        click.option("--no-color", is_flag=True, help="No colours, on a terminal either."),
    )
    for flag in reversed(flags):
        command = flag(command)
    return command


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="qabot")
def main() -> None:
    """Ask a folder of documents; get the passages that answer, word for word, with their source.

    \b
    Start here:
      qabot index                     read the documents (again, after they changed)
      qabot ask "your question"       get quotes, or hear that nothing answers
    """


@main.command(short_help="Read the documents into the index.")
@common
@click.option("--skip-unreadable", is_flag=True, help="Go on without files that can't be read as text, and list them.")
@click.option("--rebuild", is_flag=True, help="Embed everything again and don't trust the index that is there.")
def index(documents: Path | None, index: Path | None, config: Path | None, no_color: bool, **flags: bool) -> None:
    """Bring the index in step with the documents.

    Only new text is embedded; a build that fails or is interrupted leaves the old index serving.
    """
    from qabot.indexing import reindex
    from qabot.summaries import build_lines

    settings = _settings(config, documents, index)
    errors = _console(no_color, stderr=True)
    report = reindex(settings, progress=_bar(errors), tell=_tell(errors), **flags)
    for line in build_lines(report, settings):
        click.echo(line)


@main.command(short_help="Answer a question with quotes.", help=QUESTION_HELP)
@click.argument("question", required=False)
@common
@click.option("-k", "--quotes", type=click.IntRange(1, 50), metavar="N", help="How many quotes at most.")
@click.option(
    "--in",
    "scope",
    multiple=True,
    metavar="NAME",
    help="Search only this document or folder (a path, or part of a title).",
)
@click.option("--per-document", is_flag=True, help="The best quote of each document.")
@click.option("--explain", is_flag=True, help="Also show the candidates and their scores.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (docs/json.md).")
@click.option(
    "--batch",
    type=click.File("r", encoding="utf-8"),
    metavar="FILE",
    help='Answer JSON lines {"id", "question"}; - reads stdin.',
)
def ask(
    question: str | None, documents: Path | None, index: Path | None, config: Path | None, no_color: bool, **flags: Any
) -> None:
    """See `QUESTION_HELP`."""
    from qabot.answering import Answerer
    from qabot.render import answer_json, print_answer, print_trace

    if question is not None and flags["batch"]:
        raise click.UsageError("--batch reads its questions from a file; leave the QUESTION out.")
    settings = _settings(config, documents, index, quotes=flags["quotes"])
    answerer = Answerer(settings, _tell(_console(no_color, stderr=True)))
    options = {"scope": flags["scope"], "per_document": flags["per_document"], "explain": flags["explain"]}
    if flags["batch"]:
        from qabot.batch import read_questions

        for identifier, text in read_questions(flags["batch"]):
            click.echo(_json(answer_json(answerer.ask(text, **options), identifier)))
        return
    console = _console(no_color)
    if question is None:
        if not sys.stdin.isatty():
            raise click.UsageError('There is no question. Give one: qabot ask "..."; or a file of them: --batch FILE.')
        from qabot.session import Session

        Session(answerer, console).run(**options)
        return
    answer = answerer.ask(question, **options)
    if flags["as_json"]:
        click.echo(_json(answer_json(answer), indent=2 if console.is_terminal else None))
    else:
        print_answer(console, answer, settings.documents)
        if flags["explain"]:
            console.print()
            print_trace(console, answer)
    sys.exit(EXIT_ANSWERED if answer.answered else EXIT_NOTHING)


@main.command(short_help="Show a passage in its surroundings.")
@click.argument("reference", metavar="REF")
@common
@click.option(
    "--sentences", type=click.IntRange(0, 1000), default=4, show_default=True, help="Sentences to show on each side."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(
    reference: str,
    documents: Path | None,
    index: Path | None,
    config: Path | None,
    no_color: bool,
    sentences: int,
    as_json: bool,
) -> None:
    """Show the passage REF (path:start-end, as --json and --explain give it) in its surroundings."""
    from qabot.library import Library
    from qabot.render import print_quote, quote_json

    settings = _settings(config, documents, index)
    library = Library(settings)
    quote = library.around(library.quote(reference), sentences)
    if as_json:
        click.echo(_json(quote_json(quote)))
    else:
        print_quote(_console(no_color), quote, settings.documents)


@main.command(short_help="Check every passage against the files as they are now.")
@click.argument("answers", required=False, type=click.File("r", encoding="utf-8"), metavar="[ANSWERS]")
@common
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(
    answers: Any, documents: Path | None, index: Path | None, config: Path | None, no_color: bool, as_json: bool
) -> None:
    """Check the index, every passage in it, and every quote of ANSWERS, against the files as they are now.

    ANSWERS is what `qabot ask --json` or `--batch` printed (- reads stdin). Exit code 0: all as it was
    indexed; 1: something differs.
    """
    from qabot.verify import verify_answers, verify_index

    settings = _settings(config, documents, index)
    found = verify_index(settings)
    if answers is not None:
        found = found.with_quotes(verify_answers(settings, answers))
    if as_json:
        click.echo(_json(found.as_json()))
    else:
        for line in found.lines():
            click.echo(line)
    sys.exit(EXIT_ANSWERED if found.sound else EXIT_NOTHING)


@main.command(short_help="Show what the index holds and whether it is up to date.")
@common
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(documents: Path | None, index: Path | None, config: Path | None, no_color: bool, as_json: bool) -> None:
    """Show what the index holds, how it was made, and which documents have changed since."""
    from qabot.library import Library
    from qabot.summaries import status_json, status_lines

    settings = _settings(config, documents, index)
    found = Library(settings).status()
    if as_json:
        click.echo(_json(status_json(found)))
        return
    for line in status_lines(found, settings):
        click.echo(line)


@main.command("eval", short_help="Measure how well questions with known answers are answered.")
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
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="OUT", help="Also write a report with plots and failures."
)
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

    settings = _settings(config, documents, index)
    errors = _console(no_color, stderr=True)
    floors = parse_floors(flags["fail_under"])
    asking = {
        "qrels": flags["qrels"],
        "within_document": flags["within_document"],
        "progress": _bar(errors),
        "tell": _tell(errors),
    }
    run = evaluate(settings, files, **asking)
    compared = other_rows(flags["compare"], files, **asking) if flags["compare"] else None
    found = report(run, compared, str(flags["compare"]))
    if flags["as_json"]:
        click.echo(_json(found.as_json()))
    else:
        click.echo("\n".join(lines(found)))
    if flags["html"]:
        flags["html"].write_text(page(found), encoding="utf-8")
    failed = unmet(found, floors)
    for line in failed:
        click.echo(f"qabot: {line}", err=True)
    sys.exit(EXIT_NOTHING if failed else EXIT_ANSWERED)


@main.command(short_help="Fit the probabilities that decide between answer and refusal.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@common
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to write the calibration."
)
@click.option(
    "--method", type=click.Choice(["platt", "isotonic"]), default="platt", show_default=True, help="Kind of curve."
)
@click.option("--signals", metavar="A,B", help="Signals to use (default: all there are).")
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
    settings = _settings(config, documents, index).model_copy(update={"calibration": None})
    errors = _console(no_color, stderr=True)
    run = evaluate(settings, files, within_document=flags["within_document"], progress=_bar(errors), tell=_tell(errors))
    recipe = calibration_recipe(str(run.recipe["encoder"]), load_reader(settings.reader, settings.threads))
    made = fit(
        [run],
        recipe,
        method=flags["method"],
        use=tuple(flags["signals"].split(",")) if flags["signals"] else (),
        answered=flags["answered"],
        related=flags["related"],
    )
    flags["out"].write_text(made.as_json(), encoding="utf-8")
    click.echo("\n".join([*lines(made), f'Written to {flags["out"]}; set calibration = "{flags["out"]}" to use it.']))


def _json(value: Any, indent: int | None = None) -> str:
    """JSON as people read it; half a character (a lone surrogate in a question) is spelt as JSON spells it."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=indent).encode(errors="backslashreplace").decode()


@main.command(short_help="Run the Discord bot.")
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

    settings = _settings(config, documents, index)
    level = logging.getLevelNamesMapping()[log_level.upper()]
    sys.exit(run_bot(settings, settings.bot, sync=sync, guild=guild, level=level))


@main.command(short_help="Check token, index, model and configuration of the bot.")
@common
@click.option("--online", is_flag=True, help="Also ask Discord which permissions are missing where.")
def doctor(documents: Path | None, index: Path | None, config: Path | None, no_color: bool, online: bool) -> None:
    """Check everything that the bot needs, and say what to do about what is wrong.

    Exit code 0: all well; 1: something is to be done; 2: error.
    """
    from qabot.bot.doctor import run_doctor

    settings = _settings(config, documents, index)
    well = run_doctor(
        settings,
        settings.bot,
        online=online,
        tell=lambda finding: click.echo(f"{'ok' if finding.good else '! '}  {finding.text}"),
    )
    sys.exit(EXIT_ANSWERED if well else EXIT_NOTHING)


@main.group(short_help="What people thought of the bot's answers.")
def feedback() -> None:
    """What people thought of the bot's answers, after an admin has approved it."""


@feedback.command("export", short_help="Write approved feedback as questions for `qabot eval`.")
@click.argument("target", type=click.Path(path_type=Path), metavar="FILE")
@common
def feedback_export(
    target: Path, documents: Path | None, index: Path | None, config: Path | None, no_color: bool
) -> None:
    """Write approved feedback to FILE, in the format that `qabot eval` reads."""
    from qabot.bot.reviewing import export_feedback

    settings = _settings(config, documents, index)
    count = export_feedback(settings.bot.store, target)
    click.echo(f"{count} questions written to {target}.")


def _settings(config: Path | None, documents: Path | None, index: Path | None, **flags: Any) -> Settings:
    from qabot.config import load_settings

    return load_settings(config, {"documents": documents, "index": index, **flags})


def _console(no_color: bool, *, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, no_color=no_color or None, highlight=False, emoji=False, markup=False)


def _tell(console: Console) -> Callable[[str], None]:
    return lambda sentence: console.print(sentence, style="dim")


def _bar(console: Console) -> Any:
    """Progress bars on a terminal, nothing elsewhere."""
    from qabot.build import no_progress

    if not console.is_terminal:
        return no_progress
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    @contextmanager
    def stage(name: str, total: int) -> Iterator[Callable[[int], None]]:
        columns = (
            TextColumn("{task.description:>9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(name, total=total, rate="")

            def advance(steps: int) -> None:
                progress.advance(task, steps)
                speed = progress.tasks[0].speed
                progress.update(task, rate=f"{speed:,.0f}/s" if speed else "")

            yield advance

    return stage


if __name__ == "__main__":
    main()
