"""How Tandem is hosted on one machine: processes, ports, Prefect's API, the order of starting and stopping.

May import runner and domain. Only `warm.py` imports Prefect, so that `tandem up` itself starts in a blink.
"""
