from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.data.engine import Connection, columns_of, connect, fetch, quoted
from winnow.errors import UserError


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/winnow-should-not-exist.csv'",
        "ATTACH '/tmp/winnow-should-not-exist.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SELECT * FROM read_parquet('https://example.com/x.parquet')",
    ],
)
def test_the_sandbox_holds(connection: Connection, sql: str) -> None:
    with pytest.raises(UserError):
        fetch(connection, sql, [])
    assert not Path("/tmp/winnow-should-not-exist.csv").exists()
    assert not Path("/tmp/winnow-should-not-exist.db").exists()


def test_broken_table_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="cannot be read"):
        columns_of(connect(tmp_path), str(tmp_path / "x.parquet"))
    with pytest.raises(UserError, match="cannot be read"):
        columns_of(connect(tmp_path), str(tmp_path / "missing.parquet"))


def test_quoted_column_names(connection: Connection) -> None:
    name = 'a"; DROP TABLE x; --'
    assert fetch(connection, f"SELECT 1 AS {quoted(name)}", []) == [{name: 1}]
