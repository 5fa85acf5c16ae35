"""The console scripts: one look of help, and every error as one line on stderr with exit code 2."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TextIO, cast

import typer

from winnow.errors import UserError, disk_problem
from winnow.remote.addresses import shown
from winnow.remote.hub import go_offline
from winnow.text import visible

# typer exports neither of these bases, and the package they come from depends on its version.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]


def _go_offline(asked: bool) -> None:
    if asked:
        go_offline()


Offline = Annotated[
    bool, typer.Option("--offline", callback=_go_offline, help="Download nothing; use what is on this machine.")
]


def new_app(help: str | None = None, *, single_command: bool = False) -> typer.Typer:
    """A typer app with the settings that all console scripts share.

    Args:
        help: what the command does, what a newcomer has to know, and an example.
        single_command: the app has no sub-commands; it takes its help from the function.
    """
    return typer.Typer(
        help=help,
        no_args_is_help=not single_command,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def run(app: typer.Typer, arguments: Sequence[str] | None = None, *, name: str | None = None) -> None:
    """Run a console script and end the process.

    ``UserError``, a wrong command line, and a full or read-only disk are printed as one line on stderr and
    end with exit code 2; Ctrl-C ends with 130.

    Args:
        arguments: in place of the command line's.
        name: of the command, for its help; None takes the program's.
    """
    with _lasting_streams():
        _run(app, arguments, name)


def _run(app: typer.Typer, arguments: Sequence[str] | None, name: str | None) -> None:
    try:
        code = typer.main.get_command(app).main(arguments, prog_name=name, standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except _ClickException as error:
        _fail_usage(error)
    except typer.Abort:
        sys.exit(130)
    except OSError as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        _fail(problem)
    except Exception as error:
        if type(error).__module__ == "_duckdb" and "KeyboardInterrupt" in str(error):  # what DuckDB makes of Ctrl-C
            sys.exit(130)
        raise
    else:
        sys.exit(code if isinstance(code, int) else 0)


@contextlib.contextmanager
def _lasting_streams() -> Iterator[None]:
    streams = [_Lasting(sys.stdout), _Lasting(sys.stderr)]
    out, err = (cast(TextIO, stream) for stream in streams)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield
        finally:
            for stream in streams:
                stream.flush()


class _Lasting:
    """A stream whose reader may go, as in ``curate run … | head -1``: the work goes on without one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._without_reader():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._without_reader():
            self._stream.flush()

    @contextlib.contextmanager
    def _without_reader(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _fail(sentence: str) -> None:
    print(f"error: {visible(shown(sentence))}", file=sys.stderr)
    sys.exit(2)


def _fail_usage(error: Exception) -> None:
    """A wrong command line: what is wrong with it, and where the help is."""
    possible: Sequence[str] = getattr(error, "possibilities", None) or ()
    message: str = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
        print(message, file=sys.stderr)
        sys.exit(2)
    if possible:
        message = f"no such option: {error.option_name}; did you mean {' or '.join(possible)}?"  # type: ignore[attr-defined]
    see = f"; see `{context.command_path} --help`" if isinstance(error, _UsageError) and context else ""
    message = message.rstrip(".").replace(". Did you mean", "; did you mean")
    _fail(f"{message[:1].lower()}{message[1:]}{see}")
