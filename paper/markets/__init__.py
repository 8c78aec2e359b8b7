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
    match kind:
        case "synthetic":
            return SyntheticMarket(
                seed=seed, speed=speed, snapshot=snapshot, funding_interval_seconds=funding_interval_seconds
            )
        case "replay":
            if data is None:
                raise ValueError("the replay market needs data: a Parquet or CSV file of klines or quotes")
            # DuckDB is loaded for a replay only: the usual market must start fast and small.
            from paper.markets.replay import ReplayMarket  # noqa: PLC0415

            return ReplayMarket(
                data, speed=speed, seed=seed, snapshot=snapshot, funding_interval_seconds=funding_interval_seconds
            )
        case "upstream":
            from paper.markets.upstream import UpstreamMarket  # noqa: PLC0415

            return await UpstreamMarket.open(rest_url=upstream_rest, stream_url=upstream_stream)
        case _:
            raise ValueError(f"unknown market {kind!r}: use synthetic, replay or upstream")
