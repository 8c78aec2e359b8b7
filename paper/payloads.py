"""REST bodies of orders, trades, balances and positions, field by field as Binance sends them."""

from decimal import Decimal

from paper.account import AccountPosition, Income, Trade
from paper.books import Books
from paper.events import ASSET
from paper.margin import (
    AccountMargin,
    account_margin,
    leverage_of,
    liquidation_price,
    maintenance_of,
    notional_max,
)
from paper.market import Listing
from paper.numbers import ZERO, fixed8, plain, q8, stepped
from paper.orders import Order
from paper.portfolio import Portfolio

Row = dict[str, object]


def _order_core(order: Order, listing: Listing) -> Row:
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": order.status,
        "clientOrderId": order.client_order_id,
        "price": plain(order.price),
        "origQty": stepped(order.quantity, listing.step),
        "executedQty": stepped(order.filled, listing.step),
        "timeInForce": order.time_in_force,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": False,
        "side": order.side,
        "positionSide": order.position_side,
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": order.type,
        "priceMatch": "NONE",
        "selfTradePreventionMode": order.stp_mode,
        "goodTillDate": order.good_till_ms,
        "updateTime": order.updated_ms,
    }


def _average_price(order: Order, listing: Listing) -> str:
    if not order.filled:
        return "0.00"
    return format(order.average_price.quantize(listing.tick / 1000), "f")


def order_reply(order: Order, listing: Listing, *, with_average: bool) -> Row:
    """The answer to placing, amending or cancelling an order."""
    row = _order_core(order, listing)
    row["cumQty"] = row["executedQty"]
    if with_average:
        row["avgPrice"] = _average_price(order, listing)
        row["cumQuote"] = plain(order.quote_filled)
    return row


def acknowledgement(order: Order, listing: Listing, *, with_average: bool) -> Row:
    """The answer to newOrderRespType=ACK: accepted, and nothing more is said."""
    row = order_reply(order, listing, with_average=with_average)
    row |= {"status": "NEW", "executedQty": "0", "cumQty": "0", "updateTime": order.created_ms}
    if with_average:
        row |= {"avgPrice": "0.00", "cumQuote": "0"}
    return row


def order_row(order: Order, listing: Listing) -> Row:
    """The answer to a query."""
    return _order_core(order, listing) | {
        "avgPrice": _average_price(order, listing),
        "cumQuote": plain(order.quote_filled),
        "cumBase": "0",
        "pair": order.symbol,
        "time": order.created_ms,
    }


def trade_row(trade: Trade) -> Row:
    """One row of userTrades."""
    return {
        "symbol": trade.symbol,
        "pair": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "side": trade.side,
        "price": plain(trade.price),
        "qty": plain(trade.quantity),
        "realizedPnl": plain(trade.realized),
        "marginAsset": ASSET,
        "quoteQty": plain(trade.price * trade.quantity),
        "baseQty": "0",
        "commission": plain(trade.commission),
        "commissionAsset": ASSET,
        "time": trade.time_ms,
        "positionSide": trade.position_side,
        "maker": trade.maker,
        "buyer": trade.side == "BUY",
    }


def income_row(income: Income) -> Row:
    """One row of income."""
    return {
        "symbol": income.symbol,
        "incomeType": income.kind,
        "income": fixed8(income.amount),
        "asset": ASSET,
        "info": income.info,
        "time": income.time_ms,
        "tranId": income.transaction_id,
        "tradeId": income.trade_id,
    }


def account_body(books: Books, portfolio: Portfolio, *, version: int) -> Row:
    """GET account v2 or v3."""
    account = portfolio.account
    summary = account_margin(portfolio, books.market)
    asset = _asset_row(summary, account.updated_ms) | ({"marginAvailable": True} if version == 2 else {})
    totals: Row = {
        "totalInitialMargin": asset["initialMargin"],
        "totalMaintMargin": asset["maintMargin"],
        "totalWalletBalance": asset["walletBalance"],
        "totalUnrealizedProfit": asset["unrealizedProfit"],
        "totalMarginBalance": asset["marginBalance"],
        "totalPositionInitialMargin": asset["positionInitialMargin"],
        "totalOpenOrderInitialMargin": asset["openOrderInitialMargin"],
        "totalCrossWalletBalance": asset["walletBalance"],
        "totalCrossUnPnl": asset["unrealizedProfit"],
        "availableBalance": asset["availableBalance"],
        "maxWithdrawAmount": asset["maxWithdrawAmount"],
        "assets": [asset],
        "positions": [
            _account_position(books, portfolio, summary, position, version=version)
            for position in _positions(books, portfolio, whole_universe=version == 2)
        ],
    }
    if version == 2:
        totals = {
            "feeTier": 0,
            "feeBurn": False,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "updateTime": 0,
            "multiAssetsMargin": False,
            "tradeGroupId": -1,
        } | totals
    return totals


def _asset_row(summary: AccountMargin, updated_ms: int) -> Row:
    withdrawable = max(ZERO, min(summary.wallet, summary.available))
    return {
        "asset": ASSET,
        "walletBalance": fixed8(summary.wallet),
        "unrealizedProfit": fixed8(summary.unrealized),
        "marginBalance": fixed8(summary.balance),
        "maintMargin": fixed8(summary.maintenance),
        "initialMargin": fixed8(summary.initial),
        "positionInitialMargin": fixed8(summary.position_initial),
        "openOrderInitialMargin": fixed8(summary.initial - summary.position_initial),
        "crossWalletBalance": fixed8(summary.wallet),
        "crossUnPnl": fixed8(summary.unrealized),
        "availableBalance": fixed8(summary.available),
        "maxWithdrawAmount": fixed8(withdrawable),
        "updateTime": updated_ms,
    }


def balance_rows(books: Books, portfolio: Portfolio) -> list[Row]:
    """GET balance v2 or v3."""
    account = portfolio.account
    summary = account_margin(portfolio, books.market)
    asset = _asset_row(summary, account.updated_ms)
    return [
        {
            "accountAlias": "Paper",
            "asset": ASSET,
            "balance": asset["walletBalance"],
            "crossWalletBalance": asset["crossWalletBalance"],
            "crossUnPnl": asset["crossUnPnl"],
            "availableBalance": asset["availableBalance"],
            "maxWithdrawAmount": asset["maxWithdrawAmount"],
            "marginAvailable": True,
            "updateTime": account.updated_ms,
        }
    ]


def _positions(
    books: Books, portfolio: Portfolio, *, whole_universe: bool, symbol: str | None = None
) -> list[AccountPosition]:
    """Positions to report: those in use, or one per contract and side."""
    sides = ("LONG", "SHORT") if portfolio.account.hedge_mode else ("BOTH",)
    if whole_universe:
        symbols = [symbol] if symbol is not None else list(books.market.listings)
        keys = [(name, side) for name in symbols for side in sides]
    else:
        used = portfolio.symbols_in_use() if symbol is None else portfolio.symbols_in_use() & {symbol}
        keys = [(name, side) for name in sorted(used) for side in sides]
    known = portfolio.account.positions
    return [known.get(f"{name}:{side}") or AccountPosition(symbol=name, side=side) for name, side in keys]


def _account_position(
    books: Books, portfolio: Portfolio, summary: AccountMargin, position: AccountPosition, *, version: int
) -> Row:
    listing = books.market.listings[position.symbol]
    mark_price = books.market.mark(position.symbol).mark_price
    notional = position.amount * mark_price
    margin = summary.symbols.get(position.symbol)
    row: Row = {
        "symbol": position.symbol,
        "positionSide": position.side,
        "positionAmt": plain(position.amount),
        "unrealizedProfit": fixed8(position.unrealized(mark_price)),
        "isolatedMargin": "0",
        "notional": fixed8(notional),
        "isolatedWallet": "0",
        "initialMargin": fixed8(ZERO if margin is None else margin.initial),
        "maintMargin": fixed8(maintenance_of(listing, abs(notional))),
        "updateTime": position.updated_ms,
    }
    if version == 2:
        row |= {
            "leverage": str(leverage_of(portfolio, listing)),
            "isolated": position.symbol in portfolio.account.isolated,
            "entryPrice": plain(position.entry_price),
            "breakEvenPrice": plain(books.break_even(position)),
            "maxNotional": plain(notional_max(listing, leverage_of(portfolio, listing))),
            "positionInitialMargin": fixed8(ZERO if margin is None else margin.position_initial),
            "openOrderInitialMargin": fixed8(ZERO if margin is None else margin.initial - margin.position_initial),
            "bidNotional": "0",
            "askNotional": "0",
        }
    return row


def position_risk_rows(books: Books, portfolio: Portfolio, *, version: int, symbol: str | None) -> list[Row]:
    """GET positionRisk v2 (every contract) or v3 (those in use)."""
    summary = account_margin(portfolio, books.market)
    rows = []
    for position in _positions(books, portfolio, whole_universe=version == 2, symbol=symbol):
        listing = books.market.listings[position.symbol]
        mark_price = books.market.mark(position.symbol).mark_price
        notional = position.amount * mark_price
        row: Row = {
            "symbol": position.symbol,
            "positionSide": position.side,
            "positionAmt": plain(position.amount),
            "entryPrice": plain(position.entry_price),
            "breakEvenPrice": plain(books.break_even(position)),
            "markPrice": fixed8(mark_price),
            "unRealizedProfit": fixed8(position.unrealized(mark_price)),
            "liquidationPrice": plain(q8(liquidation_price(summary, listing, position.amount, mark_price))),
            "isolatedMargin": "0",
            "notional": fixed8(notional),
            "isolatedWallet": "0",
            "updateTime": position.updated_ms,
        }
        row |= _risk_v2(portfolio, listing) if version == 2 else _risk_v3(portfolio, listing, summary, notional)
        rows.append(row)
    return rows


def _risk_v2(portfolio: Portfolio, listing: Listing) -> Row:
    leverage = leverage_of(portfolio, listing)
    return {
        "leverage": str(leverage),
        "maxNotionalValue": plain(notional_max(listing, leverage)),
        "marginType": "isolated" if listing.symbol in portfolio.account.isolated else "cross",
        "isAutoAddMargin": "false",
    }


def _risk_v3(portfolio: Portfolio, listing: Listing, summary: AccountMargin, notional: Decimal) -> Row:
    margin = summary.symbols.get(listing.symbol)
    initial = ZERO if margin is None else margin.initial
    held = ZERO if margin is None else margin.position_initial
    hedge = portfolio.account.hedge_mode
    return {
        "marginAsset": ASSET,
        "initialMargin": fixed8(initial),
        "maintMargin": fixed8(maintenance_of(listing, abs(notional))),
        "positionInitialMargin": fixed8(held),
        "openOrderInitialMargin": fixed8(initial - held),
        "adl": 1 if notional else 0,
        "bidNotional": plain(portfolio.resting_notional(listing.symbol, "BUY", "LONG" if hedge else "BOTH")),
        "askNotional": plain(portfolio.resting_notional(listing.symbol, "SELL", "SHORT" if hedge else "BOTH")),
    }


def bracket_rows(listing: Listing) -> Row:
    """One contract of leverageBracket."""
    return {
        "symbol": listing.symbol,
        "notionalCoef": 1.0,
        "brackets": [
            {
                "bracket": number,
                "initialLeverage": bracket.leverage_max,
                "notionalCap": int(bracket.notional_cap),
                "notionalFloor": int(bracket.notional_floor),
                "maintMarginRatio": float(bracket.maintenance_margin_rate),
                "cum": float(bracket.cumulative),
            }
            for number, bracket in enumerate(listing.brackets, 1)
        ],
    }


def symbol_config_row(portfolio: Portfolio, listing: Listing) -> Row:
    """One contract of symbolConfig."""
    leverage = leverage_of(portfolio, listing)
    return {
        "symbol": listing.symbol,
        "marginType": "ISOLATED" if listing.symbol in portfolio.account.isolated else "CROSSED",
        "isAutoAddMargin": False,
        "leverage": leverage,
        "maxNotionalValue": plain(notional_max(listing, leverage)),
    }
