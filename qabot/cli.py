"""The command line.

Owns: flags, exit codes and what goes to which stream. stdout carries the result alone; everything said beside
it goes to stderr. Exit codes: 0 answered (or done), 1 nothing answers (or something differs), 2 error.
Everything slow to import is imported inside the command that needs it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from qabot import __version__, cli_more
from qabot.shell import (
    EXIT_ANSWERED,
    EXIT_NOTHING,
    Group,
    as_json_text,
    common,
    console_for,
    progress_bar,
    settings_of,
    teller,
)

QUESTION_HELP = """Answer QUESTION with quotes from the documents.

Without a question, on a terminal, an interactive session opens. Exit code 0: answered; 1: nothing
answers; 2: error.

\b
  qabot ask "who signed the statement?"
  qabot ask "when does the office open?" --in handbook --quotes 1
  qabot ask --batch questions.jsonl > answers.jsonl
"""


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
@click.option("--replace", is_flag=True, help="Go on though not one indexed document is in the folder any more.")
@click.option("--rebuild", is_flag=True, help="Embed everything again and don't trust the index that is there.")
def index(documents: Path | None, index: Path | None, config: Path | None, no_color: bool, **flags: bool) -> None:
    """Bring the index in step with the documents.

    Only new text is embedded; a build that fails or is interrupted leaves the old index serving.
    """
    from qabot.indexing import reindex
    from qabot.summaries import build_lines

    settings = settings_of(config, documents, index)
    errors = console_for(no_color, stderr=True)
    report = reindex(settings, progress=progress_bar(errors), tell=teller(errors), **flags)
    for line in build_lines(report, settings):
        click.echo(line)


@main.command(short_help="Answer a question with quotes.", help=QUESTION_HELP)
@click.argument("words", nargs=-1, metavar="[QUESTION]")
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
    words: tuple[str, ...],
    documents: Path | None,
    index: Path | None,
    config: Path | None,
    no_color: bool,
    **flags: Any,
) -> None:
    """See `QUESTION_HELP`."""
    question = " ".join(words) if words else None
    if question is not None and flags["batch"]:
        raise click.UsageError("--batch reads its questions from a file; leave the QUESTION out.")
    settings = settings_of(config, documents, index, quotes=flags["quotes"])
    # First the models begin to load, in a thread; the rest is imported meanwhile.
    from qabot.loading import Loading

    loading = Loading(settings, lambda sentence: teller(console_for(no_color, stderr=True))(sentence))
    from qabot.answering import Answerer
    from qabot.render import answer_json, print_answer, print_trace

    answerer = Answerer(settings, teller(console_for(no_color, stderr=True)), loading)
    answerer.check_scope(flags["scope"])
    options = {"scope": flags["scope"], "per_document": flags["per_document"], "explain": flags["explain"]}
    if flags["batch"]:
        from qabot.batch import read_questions

        for identifier, text in read_questions(flags["batch"]):
            click.echo(as_json_text(answer_json(answerer.ask(text, **options), identifier)))
        return
    console = console_for(no_color)
    if question is None:
        if not sys.stdin.isatty():
            raise click.UsageError('There is no question. Give one: qabot ask "..."; or a file of them: --batch FILE.')
        from qabot.session import Session

        Session(answerer, console).run(**options)
        return
    answer = answerer.ask(question, **options)
    if flags["as_json"]:
        click.echo(as_json_text(answer_json(answer), indent=2 if console.is_terminal else None))
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

    settings = settings_of(config, documents, index)
    library = Library(settings)
    quote = library.around(library.quote(reference), sentences)
    if as_json:
        click.echo(as_json_text(quote_json(quote)))
    else:
        print_quote(console_for(no_color), quote, settings.documents, whole=True)


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

    settings = settings_of(config, documents, index)
    found = verify_index(settings)
    if answers is not None:
        found = found.with_quotes(verify_answers(settings, answers))
    if as_json:
        click.echo(as_json_text(found.as_json()))
    else:
        for line in found.lines():
            click.echo(line)
    sys.exit(EXIT_ANSWERED if found.sound else EXIT_NOTHING)


@main.command(short_help="Show what the index holds and whether it is up to date.")
@common
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(documents: Path | None, index: Path | None, config: Path | None, no_color: bool, as_json: bool) -> None:
    """Show what the index holds, how it was made, and which documents have changed since."""
    from qabot.library import Library, require_folder
    from qabot.reader import chosen_reader
    from qabot.summaries import status_json, status_lines

    settings = settings_of(config, documents, index)
    library = Library(settings)
    found = library.status()
    if found.gone:
        require_folder(settings, library.index)
    reader = chosen_reader(settings.reader)
    if as_json:
        click.echo(as_json_text(status_json(found, reader)))
        return
    for line in status_lines(found, settings, reader):
        click.echo(line)


for command in (cli_more.evaluate_command, cli_more.calibrate, cli_more.bot, cli_more.doctor, cli_more.feedback):
    main.add_command(command)


def run() -> None:
    """The program `qabot`: `main`, but it ends a question without taking the process apart piece by piece.

    Freeing models, index and modules one after the other takes an eighth of a cold question's time, for nothing:
    all that is written is flushed, and nothing is left to close.
    """
    # pydantic looks through all installed packages for plugins of its own, which cost time and have no say here.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        main()
    except SystemExit as end:
        if sys.argv[1:2] == ["ask"] and isinstance(end.code, int):
            # What can't be written is for Python's own way out to report.
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(end.code)
        raise


if __name__ == "__main__":
    run()
