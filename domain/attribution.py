"""Who held what at each moment of the exchange's clock, and whose holding an execution closed that none of our orders made:
auto-deleveraging, liquidation, settlement, a person.

The exchange speaks of one net position a symbol; several trades may share it, and others may hold beside them. Executions are
facts with a time, so the account's story is told in their order: ours change what their trade holds; those of others close what
is held on the other side *at that moment*, oldest trade first, and never more than is held. What a later execution does cannot
change who was hit by an earlier one, so a list whose newest rows are still missing tells the same story, less its end.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import msgspec

from domain.orders import Fill, LegName
from domain.symbols import Symbol, TradeId
from domain.trade_book import SHARE_MARK
from domain.trades import ZERO, TradeState

FEE_PLACES = Decimal("1E-8")

_Holder = tuple[TradeId, LegName]


class ExternalExecution(NamedTuple):
    """An execution of somebody else's order."""

    fill: Fill
    is_forced: bool  # By an order of the exchange's own, which only ever closes.
    booked: Sequence[Decimal] = ()  # The shares of it that are in our books already.

    @property
    def left(self) -> Decimal:
        """What of it is in no trade's books; signed as it changes the account's position."""
        return (self.fill.quantity - sum(self.booked, ZERO)) * self.fill.side.sign


class Share(NamedTuple):
    """The part of a external party's execution that closed one leg of one trade."""

    trade: TradeState
    leg: LegName
    fill: Fill
    is_forced: bool


class Moment(NamedTuple):
    """What the account held from then on, until the next moment; signed."""

    at_ms: int
    net: Decimal
    others_held: Decimal  # What of it is not ours.


class Story(NamedTuple):
    """One symbol's executions told in order."""

    shares: Sequence[Share]  # Not booked yet.
    moments: Sequence[Moment]  # The first is before all executions.

    def passes(self, net: Decimal, others_held: Decimal | None, from_ms: int, to_ms: int) -> bool:
        """Whether the account held that much, so much of it not ours (None: whatever), at some moment of this stretch, both ends
        included."""
        until = (*(moment.at_ms for moment in self.moments[1:]), to_ms + 1)
        return any(
            moment.net == net and others_held in {None, moment.others_held} and moment.at_ms <= to_ms and end > from_ms
            for moment, end in zip(self.moments, until, strict=True)
        )


class _Event(NamedTuple):
    at_ms: int
    number: int  # The exchange counts a symbol's executions; it orders those of one millisecond.
    change: Decimal
    holder: _Holder | None
    external: ExternalExecution | None


def explain(
    symbol: Symbol, trades: Iterable[TradeState], externals: Iterable[ExternalExecution], others_held: Decimal
) -> Story:
    """The story that begins with `foreign` in the account beside our trades.

    A person's execution closes first what is not ours, then what our trades hold: nobody sells somebody else's while they have
    their own. One of the exchange's closes ours first: better the other leg closed for nothing than a leg that is not there.
    A trade that has closed more than it held (what it closed was gone already) holds the rest on the other side, and may lose it
    the same way. What nobody held is a external party's new holding. Nothing changes sides by it, and nothing is lost.
    """
    legs = _legs_in(symbol, trades)
    held: dict[_Holder, Decimal] = dict.fromkeys(((trade.trade_id, leg) for trade, leg in legs), ZERO)
    net, shares = others_held, list[Share]()
    moments = [Moment(0, net, others_held)]
    for event in _events(legs, externals):
        net += event.change
        if event.holder is not None:
            held[event.holder] += event.change
        elif event.external is not None:
            taken = _share_out(event.external, legs, held, others_held)
            shares += taken
            for share in taken:
                held[share.trade.trade_id, share.leg] += share.fill.quantity * share.fill.side.sign
            others_held += event.change - sum((share.fill.quantity * share.fill.side.sign for share in taken), ZERO)
        moments.append(Moment(event.at_ms, net, others_held))
    return Story(shares, moments)


def readings(
    symbol: Symbol, trades: Sequence[TradeState], externals: Sequence[ExternalExecution], net: Decimal, since_ms: int
) -> Iterable[Story]:
    """The stories in which the account holds `net` at the end, or held it before what happened after `since_ms`.

    The likeliest first: a position may be older news than the list of executions, never by more than a moment.
    """
    events = _events(_legs_in(symbol, trades), externals)
    total = sum((event.change for event in events), ZERO)
    yield explain(symbol, trades, externals, net - total)
    for event in reversed(events):
        if event.at_ms < since_ms:
            return
        total -= event.change
        yield explain(symbol, trades, externals, net - total)


def held_at(trade: TradeState, leg: LegName, at_ms: int) -> Decimal:
    """What a trade held of a leg at a moment of the exchange's clock, by the executions booked until now.

    Negative: it had closed more than was there.
    """
    return sum((change for when_ms, of, change, _ in trade.executions if of is leg and when_ms <= at_ms), ZERO)


def _legs_in(symbol: Symbol, trades: Iterable[TradeState]) -> list[tuple[TradeState, LegName]]:
    """Oldest trade first. A trade that is over counts: what it closed thinking it was there may have been somebody else's."""
    found = [(trade, leg) for trade in trades for leg in LegName if trade.symbol_of(leg) == symbol]
    return sorted(found, key=lambda holder: (holder[0].plan.at_ms, holder[0].trade_id))


def _events(legs: Iterable[tuple[TradeState, LegName]], externals: Iterable[ExternalExecution]) -> list[_Event]:
    events = [
        _Event(at_ms, _number(name), change * trade.plan.side.side_of(leg).sign, (trade.trade_id, leg), None)
        for trade, leg in legs
        for at_ms, of, change, name in trade.executions
        if of is leg
    ]
    events += [
        _Event(each.fill.at_ms, _number(each.fill.exchange_trade_id), each.left, None, each) for each in externals
    ]
    return sorted(events, key=lambda event: (event.at_ms, event.number))


def _number(exchange_trade_id: str) -> int:
    digits = exchange_trade_id.split(SHARE_MARK, maxsplit=1)[0]
    return int(digits) if digits.isdecimal() else 0


def _share_out(
    external: ExternalExecution,
    legs: Sequence[tuple[TradeState, LegName]],
    held: dict[_Holder, Decimal],
    others_held: Decimal,
) -> list[Share]:
    """Fees go with the quantities. The first share ever given of an execution keeps its identity, so that news of it told
    twice is known; the others carry `#2`, `#3`."""
    fill, sign, left = external.fill, external.fill.side.sign, abs(external.left)
    if not external.is_forced and others_held * sign < 0:
        left -= min(left, abs(others_held))
    shares: list[Share] = []
    for trade, leg in legs:
        holding = held[trade.trade_id, leg]
        part = min(left, abs(holding))
        if part <= 0 or holding * sign > 0:
            continue
        left -= part
        number = len(external.booked) + len(shares) + 1
        identity = fill.exchange_trade_id if number == 1 else f"{fill.exchange_trade_id}{SHARE_MARK}{number}"
        fee = (fill.fee * part / fill.quantity).quantize(FEE_PLACES, ROUND_HALF_EVEN)
        part_of_it = msgspec.structs.replace(fill, exchange_trade_id=identity, quantity=part, fee=fee)
        shares.append(Share(trade, leg, part_of_it, external.is_forced))
    if shares and sum((share.fill.quantity for share in shares), ZERO) == fill.quantity:
        rest = fill.fee - sum((share.fill.fee for share in shares), ZERO)
        last = shares[-1]
        shares[-1] = last._replace(fill=msgspec.structs.replace(last.fill, fee=last.fill.fee + rest))
    return shares
