-- A recalibration as a whole, and more about each pair that mattered in it.
CREATE TABLE journal.calibration_runs (
    run_id VARCHAR NOT NULL, "at" TIMESTAMPTZ NOT NULL, universe VARCHAR, symbols BIGINT, tests BIGINT,
    correction VARCHAR, level DOUBLE, kept BIGINT, updated BIGINT, added BIGINT, retired BIGINT, rejected BIGINT,
    data_hash VARCHAR, timeframe VARCHAR, bars_from TIMESTAMPTZ, bars_to TIMESTAMPTZ, parameters JSON, duration_seconds DOUBLE, outcome VARCHAR, refusals VARCHAR,
    written_version BIGINT,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);
ALTER TABLE calibrations ADD COLUMN codes VARCHAR;
ALTER TABLE calibrations ADD COLUMN edge_ratio DOUBLE;
ALTER TABLE calibrations ADD COLUMN enabled BOOLEAN;
ALTER TABLE calibrations ADD COLUMN previous_half_life DOUBLE;
ALTER TABLE calibrations ADD COLUMN previous_t_stat DOUBLE;
ALTER TABLE calibrations ADD COLUMN previous_p_value DOUBLE;
