"""Positions that the exchange closes by itself: liquidation, auto-deleveraging, settlement of a delisted contract."""

from decimal import Decimal

from paper import events
from paper.books import Books
from paper.margin import account_margin
from paper.numbers import ZERO, q8
from paper.orders import Order
from paper.portfolio import Portfolio


def force_close(
    books: Books,
    portfolio: Portfolio,
    *,
    symbol: str,
    position_side: str,
    signed_quantity: Decimal,
    now_ms: int,
    client_id_prefix: str,
    price: Decimal | None = None,
    execution: str = "CALCULATED",
    fee_rate: Decimal = ZERO,
) -> Order:
    """Book an order nobody sent, filled whole at the given price (default: the mark price)."""
    order_id = books.next_order_id()
    suffix = "" if client_id_prefix == "adl_autoclose" else str(order_id)
    order = Order(
        order_id=order_id,
        account_key=portfolio.account.key,
        client_order_id=f"{client_id_prefix}{suffix}",
        symbol=symbol,
        side="BUY" if signed_quantity > 0 else "SELL",
        type="MARKET" if execution == "TRADE" else "LIMIT",
        time_in_force="GTC" if execution == "TRADE" else "IOC",
        quantity=abs(signed_quantity),
        price=ZERO if execution == "TRADE" else q8(books.market.mark(symbol).mark_price),
        reduce_only=False,
        position_side=position_side,
        stp_mode="NONE",
        good_till_ms=0,
        created_ms=now_ms,
        updated_ms=now_ms,
    )
    books.admit(portfolio, order, now_ms)
    fill_price = books.market.mark(symbol).mark_price if price is None else price
    books.fill(
        portfolio, order, fill_price, order.quantity, now_ms, maker=False, fee_rate=fee_rate, execution=execution
    )
    return order


def liquidate_lost(books: Books, portfolio: Portfolio, now_ms: int) -> list[Order]:
    """Liquidate the account if its margin balance fell below maintenance."""
    if not any(True for _ in portfolio.held()) or not account_margin(portfolio, books.market).lost:
        return []
    return liquidate(books, portfolio, now_ms)


def liquidate(books: Books, portfolio: Portfolio, now_ms: int) -> list[Order]:
    """Cancel every order, close every position at the mark, and settle with the insurance fund.

    The fund takes its fee from what is left, or pays what is missing, so that the wallet never stays below zero.
    """
    for order in list(portfolio.open.values()):
        books.end(portfolio, order, "EXPIRED", now_ms, expiry_reason=5)
    closed = [
        force_close(
            books,
            portfolio,
            symbol=position.symbol,
            position_side=position.side,
            signed_quantity=-position.amount,
            now_ms=now_ms,
            client_id_prefix="autoclose-",
        )
        for position in list(portfolio.held())
    ]
    if not closed:
        return []
    books.liquidations.extend(closed)
    notional = sum((order.quote_filled for order in closed), ZERO)
    wallet = portfolio.account.wallet
    clearance = -wallet if wallet < 0 else -min(wallet, q8(notional * books.options.liquidation_fee_rate))
    if clearance:
        books.book_income(portfolio, "INSURANCE_CLEAR", "", clearance, now_ms, info="INSURANCE_CLEAR")
    books.publish(portfolio, events.account_update(portfolio.account, "INSURANCE_CLEAR", now_ms, change=clearance))
    return closed
