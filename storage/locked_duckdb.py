"""DuckDB that touches only what it was opened for: every connection to a file that somebody else may have written comes from here.

Whatever a file or a statement says, such a connection reads and writes nothing else, loads no extension, attaches nothing
and cannot be talked out of it.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from storage.sql import literal, literals

_NO_EXTENSIONS = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
Options = dict[str, str | bool | int | float | list[str]]


def in_memory(*, files: Sequence[Path] = (), folders: Sequence[Path] = (), **options: Any) -> duckdb.DuckDBPyConnection:
    """An empty database that may open these files, and what lies in these folders. Times are in UTC. Raises: duckdb.Error."""
    return _locked(duckdb.connect(config={"threads": 1, **_NO_EXTENSIONS, **options}), files, folders)


def database(path: Path, *, read_only: bool, **options: Any) -> duckdb.DuckDBPyConnection:
    """A database file, and nothing beside it but its own log. Times are in UTC. Raises: duckdb.Error."""
    config: Options = {"threads": 1, **_NO_EXTENSIONS, **options}
    return _locked(duckdb.connect(path, read_only=read_only, config=config), (), ())


def file_name(path: Path) -> str:
    """The literal by which `read_csv` and `read_parquet` mean this very file.

    `prices[1].csv` is a name here, not a pattern that `prices1.csv` answers to.
    """
    return literal(_escaped(path))


@contextmanager
def interrupted_after(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """What still runs then ends with duckdb.InterruptException."""
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _locked(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path], folders: Sequence[Path]
) -> duckdb.DuckDBPyConnection:
    try:
        connection.execute("SET TimeZone = 'UTC'")
        if files:  # The pattern, too: DuckDB asks for leave to look it up before it opens what it found.
            names = [name for path in files for name in (str(path), _escaped(path))]
            connection.execute(f"SET allowed_paths = [{literals(names)}]")
        if folders:
            connection.execute(f"SET allowed_directories = [{literals(folders)}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def _escaped(path: Path) -> str:
    return re.sub(r"([*?[])", r"[\1]", str(path))
