"""How the feed behaves when it misbehaves: limits of the exchange and patience of ours."""

from dataclasses import dataclass

from runner.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSettings:
    """Defaults are for the real exchange; tests shorten the times."""

    stream_url: str
    silence_seconds_max: float = 15.0
    streams_per_connection_max: int = 200
    streams_per_request_max: int = 100
    requests_per_second_max: float = 5.0  # The exchange disconnects beyond 10, pings and pongs counted.
    connect_seconds_max: float = 10.0
    rollover_seconds: float = 23.5 * 3600  # The exchange closes a connection after 24 h.
    backoff_seconds_min: float = 0.5
    backoff_seconds_max: float = 30.0

    @property
    def url(self) -> str:
        """bookTicker lives on the public route; on any other it is acknowledged and stays silent for ever."""
        return f"{self.stream_url}/public/ws"


def feed_settings(settings: Settings) -> FeedSettings:
    """The feed that config.json asks for."""
    return FeedSettings(stream_url=settings.exchange_stream_url, silence_seconds_max=settings.data.silence_seconds_max)
