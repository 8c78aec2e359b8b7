"""What Prometheus may scrape: counters read from the status at the moment of asking, so that a tick pays nothing for them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from domain.trades import TradeState

_LATENCIES = CollectorRegistry()
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

ORDER_SECONDS = Histogram(
    "tandem_order_seconds", "From an order request leaving to its answer.", buckets=_BUCKETS, registry=_LATENCIES
)
NAKED_SECONDS = Histogram(
    "tandem_naked_seconds", "How long one leg stood without the other.", buckets=_BUCKETS, registry=_LATENCIES
)

NAKED_NOTIONAL = Histogram(
    "tandem_naked_notional_usd_seconds",
    "Notional that stood without its other leg, times the seconds it did.",
    buckets=(1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000),
    registry=_LATENCIES,
)


def observe_naked(trade: TradeState) -> None:
    """Once for every trade that has ended."""
    NAKED_SECONDS.observe(trade.naked_seconds())
    NAKED_NOTIONAL.observe(trade.naked_notional_usd_seconds())


Status = Mapping[str, Any]

_COUNTERS = (
    ("signals", "tandem_signals", "Signals processed."),
    ("executed", "tandem_trades_opened", "Pair trades that ended hedged."),
    ("closed", "tandem_trades_closed", "Pair trades closed."),
    ("rolled_back", "tandem_trades_rolled_back", "Openings that were undone."),
)
_FEED_COUNTERS = (
    ("messages", "tandem_stream_messages", "Websocket messages received."),
    ("reconnects", "tandem_stream_reconnects", "Market-data connections lost and opened again."),
    ("rollovers", "tandem_stream_rollovers", "Connections replaced before the exchange's 24 hours."),
)
_GAUGES = (
    ("uptime_seconds", "tandem_uptime_seconds", "Since start."),
    ("wallet_usd", "tandem_wallet_usd", "Wallet balance."),
    ("unrealized_usd", "tandem_unrealized_usd", "Unrealized profit."),
    ("exchange_blocked_ms", "tandem_exchange_blocked_ms", "How long a ban or our budget keeps us from sending."),
    ("used_weight", "tandem_exchange_used_weight", "Request weight used in this minute."),
)
_FEED_GAUGES = (
    ("connections_open", "tandem_stream_connections_open", "Open market-data connections."),
    ("symbols", "tandem_stream_symbols", "Watched symbols."),
    ("symbols_stale", "tandem_stream_symbols_stale", "Watched symbols without a recent quote."),
)


class StatusCollector(Collector):
    """Turns one status into metrics; a key the status does not have is left out."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        feed = status.get("feed") or {}
        for source, counters in ((status, _COUNTERS), (feed, _FEED_COUNTERS)):
            for key, name, help_text in counters:
                if key in source:
                    yield CounterMetricFamily(name, help_text, value=float(source[key]))
        for source, gauges in ((status, _GAUGES), (feed, _FEED_GAUGES)):
            for key, name, help_text in gauges:
                if source.get(key) is not None:
                    yield GaugeMetricFamily(name, help_text, value=float(source[key]))
        yield _labelled("tandem_signals_denied", "Denials by code.", "reason", status.get("denied") or {})
        yield _labelled("tandem_stream_refused", "Messages that could not be.", "kind", feed.get("refused") or {})
        yield _labelled("tandem_stream_ignored", "Messages not for us.", "kind", feed.get("ignored") or {})
        trades = status.get("open_trades")
        if trades is not None:
            yield GaugeMetricFamily("tandem_open_trades", "Pair trades that are not over.", value=float(len(trades)))
        yield from _by_pair(status.get("pairs") or {})


def _labelled(name: str, help_text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for key, count in counts.items():
        family.add_metric([str(key)], float(count))
    return family


def _by_pair(pairs: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    z_scores = GaugeMetricFamily("tandem_z_score", "Newest z-score of a pair.", labels=["pair_id"])
    for pair_id, row in pairs.items():
        if row.get("z_score") is not None:
            z_scores.add_metric([pair_id], float(row["z_score"]))
    yield z_scores


def exposition(status: Callable[[], Status]) -> bytes:
    """The whole page, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(status))
    return generate_latest(registry) + generate_latest(_LATENCIES)
