"""Every direction of a scan in a file of the user's own."""

from pathlib import Path

import duckdb
import numpy as np

from domain.errors import ConfigError
from domain.statistics.gates import REASONS
from domain.statistics.scan import ScanResult
from domain.statistics.status import STATUSES, PairStatus
from flows.common.output_files import replacing
from flows.scan.report import notes_of
from storage import locked_duckdb
from storage.sql import literal

OUTPUT_SUFFIXES = (".parquet", ".csv", ".json")


def write_directions(path: Path, result: ScanResult) -> int:
    """One row a direction, the ranked ones first and best first; the file is replaced whole (a link stays one). Returns the rows.

    Raises: ConfigError.
    """
    tests = result.tests
    rest = np.argwhere((tests.status != STATUSES.index(PairStatus.OK)) & ~np.eye(len(tests.symbols), dtype=bool))
    places = np.concatenate((result.ranked(), rest))
    at = tuple(places.T)
    rows = {
        "y": at[0],
        "x": at[1],
        "n": tests.bars[at],
        **{name: getattr(tests, name)[at] for name in ("hedge_ratio", "intercept", "lag", "t_stat")},
        "p_value": result.p_value[at],
        "q_value": result.q_value[at],
        **{name: getattr(tests, name)[at] for name in ("half_life", "hurst", "johansen_trace")},
        "status": tests.status[at],
        "reason": result.reason[at],
    }
    names = {"place": np.arange(len(tests.symbols)), "name": np.array(tests.symbols, dtype=object)}
    statuses = {"place": np.arange(len(STATUSES)), "name": np.array([str(word) for word in STATUSES], dtype=object)}
    reasons = {"place": np.arange(len(REASONS)), "name": np.array([str(word) for word in REASONS], dtype=object)}
    notes = notes_of(result)
    left_out = {
        "name": np.array(list(result.excluded_symbols), dtype=object),
        "why": np.array(list(result.excluded_symbols.values()), dtype=object),
    }
    noted = {
        "y": np.array([y for y, _ in notes], dtype=np.int64),
        "x": np.array([x for _, x in notes], dtype=np.int64),
        "note": np.array(list(notes.values()), dtype=object),
    }
    kind = {".parquet": "PARQUET, COMPRESSION ZSTD", ".csv": "CSV, HEADER", ".json": "JSON, ARRAY true"}[
        path.suffix.lower()
    ]
    try:
        with replacing("--output", path) as beside, locked_duckdb.in_memory(files=[beside]) as connection:
            for name, table in {
                "rows": rows, "names": names, "statuses": statuses, "reasons": reasons, "noted": noted,
                "left_out": left_out,
            }.items():  # fmt: skip
                connection.register(name, table)
            connection.execute(f"COPY ({_DIRECTIONS}) TO {literal(beside)} (FORMAT {kind}, USE_TMP_FILE false)")
    except duckdb.Error as problem:
        raise ConfigError(f"--output {path}: cannot be written ({str(problem).splitlines()[0]})") from None
    return len(places)


def _number(name: str) -> str:
    return f"CASE WHEN isfinite(rows.{name}) THEN rows.{name} END AS {name}"


_DIRECTIONS = f"""
SELECT y.name AS y, x.name AS x, rows.n, {_number("hedge_ratio")}, {_number("intercept")},
    CASE WHEN rows.lag < 0 THEN NULL ELSE rows.lag END AS lag, {_number("t_stat")}, {_number("p_value")},
    {_number("q_value")}, {_number("half_life")}, {_number("hurst")}, {_number("johansen_trace")},
    statuses.name AS status, reasons.name = 'kept' AS kept,
    CASE
        WHEN noted.note IS NOT NULL THEN noted.note
        WHEN statuses.name = 'excluded'
        THEN 'excluded: ' || coalesce(y.name || ': ' || y_out.why, x.name || ': ' || x_out.why, 'not the same sector')
        WHEN reasons.name = 'not_ranked' THEN statuses.name
        ELSE reasons.name
    END AS reason
FROM (SELECT *, row_number() OVER () AS number FROM rows) AS rows
JOIN names AS y ON y.place = rows.y JOIN names AS x ON x.place = rows.x
JOIN statuses ON statuses.place = rows.status JOIN reasons ON reasons.place = rows.reason
LEFT JOIN left_out AS y_out ON y_out.name = y.name LEFT JOIN left_out AS x_out ON x_out.name = x.name
LEFT JOIN noted ON noted.y = rows.y AND noted.x = rows.x
ORDER BY rows.number
"""  # noqa: S608 - names of our own.
