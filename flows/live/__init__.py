"""The live runner, hosted by Prefect."""
