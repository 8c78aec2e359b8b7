"""Best bid and ask of one symbol, as floats for signals; money is Decimal only from the intent outward."""

import msgspec


class Quote(msgspec.Struct, frozen=True, gc=False):
    """Top of book. `received_ns` is the local monotonic clock: staleness is judged by receipt, bars by event time."""

    bid: float
    ask: float
    bid_quantity: float
    ask_quantity: float
    event_ms: int
    received_ns: int

    @property
    def mid(self) -> float:
        return (self.bid + self.ask) * 0.5
