"""The markets the paper exchange can sit on: made up, replayed, or Binance's own public streams."""

from pathlib import Path

from paper.market import Market
from paper.markets.pairs import KnownPair, known_pairs
from paper.markets.synthetic import SyntheticMarket

__all__ = ["KnownPair", "SyntheticMarket", "known_pairs", "open_market"]


async def open_market(
    kind: str,
    *,
    seed: int,
    speed: float,
    data: Path | None,
    upstream_rest: str | None,
    upstream_stream: str | None,
    snapshot: bytes | None,
    funding_interval_seconds: float | None,
) -> Market:
    """Open a market of this kind: "synthetic", "replay" or "upstream".

    Raises: ValueError when an option is missing or wrong, or the data cannot be used; OSError when the upstream
    cannot be reached.
    """
    if kind == "synthetic":
        return SyntheticMarket(
            seed=seed, speed=speed, snapshot=snapshot, funding_interval_seconds=funding_interval_seconds
        )
    raise ValueError(f"unknown market {kind!r}: use synthetic, replay or upstream")
