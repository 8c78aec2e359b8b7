"""The live process: stream, signals, execution, control.

May import storage and domain; never flows, paper, pandas, statsmodels, numba, Prefect or DuckDB.
"""
