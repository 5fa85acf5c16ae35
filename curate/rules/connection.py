"""What keeps rules, which are text of a recipe, within bounds: a connection that reaches nothing, and a time limit."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import duckdb

from winnow.errors import UserError


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Lock the connection: from here on it reaches no file, network, extension or setting."""
    for setting in ("autoinstall_known_extensions", "autoload_known_extensions", "enable_external_access"):
        connection.execute(f"SET {setting} = false")
    connection.execute("SET lock_configuration = true")


@contextlib.contextmanager
def time_limit(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt the connection's query when the time is over.

    Raises:
        UserError: the query was interrupted.
    """
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise UserError(f"the rules took longer than {seconds:,.0f} s; simplify their conditions") from error
    finally:
        timer.cancel()
