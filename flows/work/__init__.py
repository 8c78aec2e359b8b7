"""What the flows do, as plain functions: no Prefect in here. May import runner, storage and domain."""
