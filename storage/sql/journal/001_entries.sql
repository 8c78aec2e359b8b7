-- One row per fact, never updated. The kind's index lets a restart read trades past millions of samples.
CREATE TABLE entries (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms      INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    unique_key TEXT UNIQUE,
    trade_id   TEXT,
    pair_id    TEXT,
    body       TEXT NOT NULL
);
CREATE INDEX entries_kind ON entries (kind);

-- Who this file is: a recorder that meets another file under the same name starts it from its first row.
CREATE TABLE identity (journal_id TEXT NOT NULL);
INSERT INTO identity VALUES (lower(hex(randomblob(16))));
