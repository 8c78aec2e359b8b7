"""`python -m paper` is `tandem exchange`."""

import os

from paper.cli import exchange

if __name__ == "__main__":
    os.umask(0o077)  # The account's file is for this user alone.
    exchange()
