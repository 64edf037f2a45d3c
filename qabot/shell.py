"""What all commands share: flags, errors and exit codes, settings, and where things are printed.

Owns: that what qabot raises on purpose ends as one message and exit code 2. Everything slow to import is imported
inside the function that needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qabot.errors import QabotError

if TYPE_CHECKING:
    from rich.console import Console

    from qabot.config import Settings

EXIT_ANSWERED, EXIT_NOTHING, EXIT_ERROR = 0, 1, 2


class Group(click.Group):
    """Reports what qabot raises on purpose as one message and exit code 2, and names the nearest command."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; `QabotError` ends here and nowhere else, and so does what the system refuses (rights, disks)."""
        try:
            return super().invoke(ctx)
        except QabotError as error:
            click.secho(f"qabot: {error}", err=True, fg="red" if sys.stderr.isatty() else None)
            ctx.exit(EXIT_ERROR)
        except BrokenPipeError:
            # The reader of a pipe (head, less) has seen enough.
            sys.stderr.close()
            ctx.exit(EXIT_ANSWERED)
        except Exception as error:
            from qabot.tables import DiskError

            if not isinstance(error, (OSError, DiskError)):
                raise
            said = f"{error}. See that the folder may be read and written and that its disk has room."
            click.secho(f"qabot: {said}", err=True, fg="red" if sys.stderr.isatty() else None)
            ctx.exit(EXIT_ERROR)

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


def in_a_folder(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """For flags that name a file to write: said before the work, not after it, that there is no folder for it."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"There is no folder {path.parent}. Make it first.")
    return path


TARGET: dict[str, Any] = {"type": click.Path(path_type=Path, dir_okay=False, writable=True), "callback": in_a_folder}
"""Options of a flag that names a file to write."""


def settings_of(config: Path | None, documents: Path | None, index: Path | None, **flags: Any) -> Settings:
    """The settings in force: the configuration file, the environment, and these flags."""
    from qabot.config import load_settings

    return load_settings(config, {"documents": documents, "index": index, **flags})


def console_for(no_color: bool, *, stderr: bool = False) -> Console:
    """A console that prints words as they are; colours only on a terminal."""
    from rich.console import Console

    return Console(stderr=stderr, no_color=no_color or None, highlight=False, emoji=False, markup=False)


def teller(console: Console) -> Callable[[str], None]:
    """Prints what takes long, dimmed."""
    return lambda sentence: console.print(sentence, style="dim")


def progress_bar(console: Console) -> Any:
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


def as_json_text(value: Any, indent: int | None = None) -> str:
    """JSON as people read it; half a character (a lone surrogate in a question) is spelt as JSON spells it."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=indent).encode(errors="backslashreplace").decode()
