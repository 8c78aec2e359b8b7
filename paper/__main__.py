"""`python -m paper` is `tandem exchange`."""

from paper.cli import exchange

if __name__ == "__main__":
    exchange()
