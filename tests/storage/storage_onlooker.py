"""A process that opens the ledger over and over until its stdin closes; prints how often, and exits 1 on any failure."""

import select
import sys

import duckdb

opened = 0
newest = 0
while not select.select([sys.stdin], [], [], 0.1)[0]:
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        rows, distinct = connection.execute(
            "SELECT count(*), count(DISTINCT signal_id) FROM journal.signals_received"
        ).fetchall()[0]
    assert rows == distinct, "a row twice"
    assert rows >= newest, "the ledger went back"
    newest = rows
    opened += 1
sys.stdout.write(f"{opened} {newest}\n")
