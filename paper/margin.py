"""Cross margin in one asset: initial and maintenance margin, what is available, and when an account is lost."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from paper.account import LEVERAGE_DEFAULT
from paper.market import LeverageBracket, Listing, Market
from paper.numbers import ZERO
from paper.portfolio import Portfolio

LEVERAGE_MAX = 125
NOTIONAL_WITHOUT_BRACKETS = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolMargin:
    """The margin of one symbol: positions and resting orders together."""

    initial: Decimal
    position_initial: Decimal
    maintenance: Decimal
    exposure: Decimal  # The largest notional the position could reach.


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountMargin:
    """The account in one glance, in the quote asset."""

    wallet: Decimal
    unrealized: Decimal
    initial: Decimal
    position_initial: Decimal
    maintenance: Decimal
    symbols: Mapping[str, SymbolMargin]

    @property
    def balance(self) -> Decimal:
        """Wallet plus unrealised profit."""
        return self.wallet + self.unrealized

    @property
    def available(self) -> Decimal:
        """What new orders may use."""
        return max(ZERO, self.balance - self.initial)

    @property
    def lost(self) -> bool:
        """True when the account must be liquidated."""
        return self.maintenance > 0 and self.balance < self.maintenance


def bracket_of(listing: Listing, notional: Decimal) -> LeverageBracket | None:
    """The step of the ladder this notional stands on."""
    for bracket in listing.brackets:
        if notional <= bracket.notional_cap:
            return bracket
    return listing.brackets[-1] if listing.brackets else None


def maintenance_of(listing: Listing, notional: Decimal) -> Decimal:
    """Maintenance margin of a position of this (unsigned) notional."""
    bracket = bracket_of(listing, notional)
    if bracket is None:
        return notional * Decimal("0.01")
    return max(ZERO, notional * bracket.maintenance_margin_rate - bracket.cumulative)


def leverage_max(listing: Listing) -> int:
    """The highest leverage the contract allows."""
    return max((bracket.leverage_max for bracket in listing.brackets), default=LEVERAGE_MAX)


def leverage_of(portfolio: Portfolio, listing: Listing) -> int:
    """The leverage set for a symbol, 20 (or the contract's maximum) when never set."""
    chosen = portfolio.account.leverages.get(listing.symbol)
    return min(LEVERAGE_DEFAULT, leverage_max(listing)) if chosen is None else chosen


def notional_max(listing: Listing, leverage: int) -> Decimal:
    """The largest position notional at this leverage."""
    caps = [bracket.notional_cap for bracket in listing.brackets if bracket.leverage_max >= leverage]
    return max(caps, default=NOTIONAL_WITHOUT_BRACKETS)


def symbol_margin(
    portfolio: Portfolio,
    listing: Listing,
    mark_price: Decimal,
    *,
    extra_buys: Decimal = ZERO,
    extra_sells: Decimal = ZERO,
) -> SymbolMargin:
    """Margin of one symbol, with the notional of orders that are only being considered added.

    Hedge mode counts extra buys as opening the long side and extra sells as opening the short one.
    """
    leverage = leverage_of(portfolio, listing)
    symbol = listing.symbol
    account = portfolio.account
    if account.hedge_mode:
        long_notional = account.amount(symbol, "LONG") * mark_price
        short_notional = -account.amount(symbol, "SHORT") * mark_price
        buys = portfolio.resting_notional(symbol, "BUY", "LONG") + extra_buys
        sells = portfolio.resting_notional(symbol, "SELL", "SHORT") + extra_sells
        held = long_notional + short_notional
        maintenance = maintenance_of(listing, long_notional) + maintenance_of(listing, short_notional)
        exposure = held + buys + sells
    else:
        notional = account.amount(symbol) * mark_price
        buys = portfolio.resting_notional(symbol, "BUY", "BOTH") + extra_buys
        sells = portfolio.resting_notional(symbol, "SELL", "BOTH") + extra_sells
        held = abs(notional)
        maintenance = maintenance_of(listing, held)
        exposure = max(abs(notional + buys), abs(notional - sells), held)
    return SymbolMargin(
        initial=exposure / leverage,
        position_initial=held / leverage,
        maintenance=maintenance,
        exposure=exposure,
    )


def account_margin(portfolio: Portfolio, market: Market) -> AccountMargin:
    """Margin of the whole account at the market's present marks."""
    symbols: dict[str, SymbolMargin] = {}
    unrealized = ZERO
    for symbol in portfolio.symbols_in_use():
        listing = market.listings.get(symbol)
        if listing is not None:
            symbols[symbol] = symbol_margin(portfolio, listing, market.mark(symbol).mark_price)
    for position in portfolio.held():
        unrealized += position.unrealized(market.mark(position.symbol).mark_price)
    return AccountMargin(
        wallet=portfolio.account.wallet,
        unrealized=unrealized,
        initial=sum((row.initial for row in symbols.values()), ZERO),
        position_initial=sum((row.position_initial for row in symbols.values()), ZERO),
        maintenance=sum((row.maintenance for row in symbols.values()), ZERO),
        symbols=symbols,
    )


def liquidation_price(summary: AccountMargin, listing: Listing, amount: Decimal, mark_price: Decimal) -> Decimal:
    """The mark price at which the whole account would be lost, all other marks standing still; 0 if there is none."""
    bracket = bracket_of(listing, abs(amount) * mark_price)
    if bracket is None or not amount:
        return ZERO
    own = abs(amount) * mark_price * bracket.maintenance_margin_rate - bracket.cumulative
    slack = summary.balance - (summary.maintenance - own) + bracket.cumulative - amount * mark_price
    slope = abs(amount) * bracket.maintenance_margin_rate - amount
    price = slack / slope if slope else ZERO
    return max(ZERO, price)
