from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dashboards.data.engine import cached, columns_of, connect, fetch, quoted
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
def test_the_sandbox_holds(data: Path, sql: str) -> None:
    with pytest.raises(UserError):
        fetch(connect(data), sql, [])
    assert not Path("/tmp/winnow-should-not-exist.csv").exists()
    assert not Path("/tmp/winnow-should-not-exist.db").exists()


def test_broken_table_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="cannot be read"):
        columns_of(connect(tmp_path), str(tmp_path / "x.parquet"))
    with pytest.raises(UserError, match="cannot be read"):
        columns_of(connect(tmp_path), str(tmp_path / "missing.parquet"))


def test_quoted_column_names(data: Path) -> None:
    name = 'a"; DROP TABLE x; --'
    assert fetch(connect(data), f"SELECT 1 AS {quoted(name)}", []) == [{name: 1}]


def test_results_are_remembered_up_to_a_number_and_errors_are_not() -> None:
    calls: list[int] = []

    @cached(2)
    def double(number: int) -> int:
        """Doubles."""
        calls.append(number)
        if number < 0:
            raise UserError("negative")
        return 2 * number

    assert [double(1), double(1), double(2), double(1), double(3), double(1)] == [2, 2, 4, 2, 6, 2]
    assert calls == [1, 2, 3], "the last two arguments used are remembered"
    assert double(2) == 4 and calls == [1, 2, 3, 2]
    for _ in range(2):
        with pytest.raises(UserError):
            double(-1)
    assert calls[-2:] == [-1, -1] and double.__name__ == "double"


def test_sessions_that_ask_at_once_wait_for_one_computation() -> None:
    started, go = threading.Event(), threading.Event()
    calls: list[str] = []

    @cached(4)
    def slow(name: str) -> list[str]:
        calls.append(name)
        started.set()
        if name == "slow":
            assert go.wait(30)
        return [name]

    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(slow("slow"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert started.wait(30)
    assert slow("other") == ["other"], "another question does not wait"
    go.set()
    for thread in threads:
        thread.join()
    assert calls.count("slow") == 1 and found[0] is found[1] is found[2]
