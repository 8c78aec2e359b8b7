"""The exchange's core: pure and synchronous. It is given the time, asks the market, and changes the books."""

from collections.abc import Mapping
from decimal import Decimal

from paper import filters
from paper.books import Books
from paper.errors import refused
from paper.events import account_update, order_trade_update
from paper.liquidation import force_close, liquidate_lost
from paper.margin import account_margin, leverage_of, notional_max, symbol_margin
from paper.market import Book, FundingSettlement, Level, Listing
from paper.matching import Depth
from paper.numbers import ZERO, floor_to, q8
from paper.orders import Order, OrderRequest
from paper.portfolio import Portfolio

AMENDMENTS_MAX = 10_000


class ExchangeCore:
    """Places, matches, cancels and amends orders; settles funding; closes lost accounts."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.market = books.market
        self._depths: dict[str, Depth] = {}

    def listing(self, symbol: str | None) -> Listing:
        """The contract. Raises: VenueError -1121 (unknown), -1102 (missing)."""
        if not symbol:
            raise refused(-1102, "symbol")
        listing = self.market.listings.get(symbol)
        if listing is None:
            raise refused(-1121)
        return listing

    def depth(self, symbol: str) -> Depth:
        """The newest book minus what was taken from it."""
        book = self.market.book(symbol)
        depth = self._depths.get(symbol)
        if depth is None:
            depth = self._depths[symbol] = Depth(book)
        elif depth.book is not book:
            depth.renew(book)
        return depth

    def place(
        self, portfolio: Portfolio, request: OrderRequest, now_ms: int, *, fill_quantity_max: Decimal | None = None
    ) -> Order:
        """Judge a new order, match what can be matched, let the rest stand or expire.

        `fill_quantity_max` bounds what fills at once (a fault). Raises: VenueError; then nothing happened.
        """
        listing = self.listing(request.symbol)
        mark_price = self.market.mark(request.symbol).mark_price
        self._check_status(listing, request)
        filters.check_filters(listing, request, mark_price)
        self._check_identity(portfolio, request)
        quantity = self._check_reduce_only(portfolio, request)
        depth = self.depth(request.symbol)
        best_price = depth.best(request.side)
        if request.type == "MARKET" and best_price is not None:
            filters.check_counterparty(listing, request.side, best_price, mark_price)
        self._check_margin(portfolio, listing, request, mark_price, best_price)
        held = abs(portfolio.account.amount(request.symbol, request.position_side))
        reachable = min(quantity, held) if request.reduces else quantity
        fills = self._plan(listing, request, reachable, mark_price, fill_quantity_max)
        if request.time_in_force == "FOK" and sum((part for _, part in fills), ZERO) < quantity:
            raise refused(-5021)
        if request.time_in_force in ("GTX", "RPI") and best_price is not None and _crosses(request, best_price):
            raise refused(-5022)
        order = self._admit(portfolio, request, quantity, now_ms)
        if fills:
            self._prevent_self_trade(portfolio, order, fills[-1][0], now_ms)
        for price, part in fills:
            if not order.open:
                break
            depth.take(order.side, price, part)
            self.books.fill(portfolio, order, price, part, now_ms, maker=False)
        if order.open and (order.type == "MARKET" or order.time_in_force in ("IOC", "FOK")):
            reason = 9 if order.type == "MARKET" else 2
            self.books.end(portfolio, order, "EXPIRED", now_ms, expiry_reason=reason)
        return order

    def _plan(
        self,
        listing: Listing,
        request: OrderRequest,
        quantity: Decimal,
        mark_price: Decimal,
        fill_quantity_max: Decimal | None,
    ) -> list[Level]:
        worst = filters.take_limit(listing, request.side, mark_price) if request.type == "MARKET" else request.price
        wanted = quantity if fill_quantity_max is None else min(quantity, floor_to(fill_quantity_max, listing.step))
        return self.depth(request.symbol).plan(request.side, wanted, worst)

    def _check_status(self, listing: Listing, request: OrderRequest) -> None:
        if listing.status == "TRADING":
            return
        if listing.status == "CLOSE" or request.reduce_only:
            raise refused(-4141)
        raise refused(-4140)

    def _check_identity(self, portfolio: Portfolio, request: OrderRequest) -> None:
        account = portfolio.account
        if account.hedge_mode != (request.position_side != "BOTH"):
            raise refused(-4061)
        if account.hedge_mode and request.reduce_only:
            raise refused(-1106, "reduceonly")
        if account.reduce_only and not request.reduce_only:
            raise refused(-4087)
        if request.client_order_id and portfolio.has_open_client_id(request.client_order_id):
            raise refused(-4116)
        listing = self.market.listings[request.symbol]
        if len(portfolio.open_orders(request.symbol)) >= listing.open_orders_max:
            raise refused(-2025)

    def _check_reduce_only(self, portfolio: Portfolio, request: OrderRequest) -> Decimal:
        """The quantity that may trade: a reduce-only order that takes is cut to the position it reduces."""
        if not request.reduces:
            return request.quantity
        held = portfolio.account.amount(request.symbol, request.position_side)
        direction = 1 if request.side == "BUY" else -1
        if held * direction >= 0 or (not request.reduce_only and request.quantity > abs(held)):
            raise refused(-2022)
        if request.type == "MARKET" or request.time_in_force in ("IOC", "FOK"):
            return min(request.quantity, abs(held))
        promised = sum(
            (order.remaining for order in portfolio.reducing_orders(request.symbol, request.position_side)), ZERO
        )
        if promised and promised + request.quantity > abs(held):
            raise refused(-4118)
        return request.quantity

    def _check_margin(
        self,
        portfolio: Portfolio,
        listing: Listing,
        request: OrderRequest,
        mark_price: Decimal,
        best_price: Decimal | None,
    ) -> None:
        if request.reduces:
            return
        price = request.price if request.type == "LIMIT" else (best_price or mark_price)
        notional = request.quantity * price
        buys, sells = (notional, ZERO) if request.side == "BUY" else (ZERO, notional)
        before = symbol_margin(portfolio, listing, mark_price)
        after = symbol_margin(portfolio, listing, mark_price, extra_buys=buys, extra_sells=sells)
        if after.exposure <= before.exposure:
            return
        if after.exposure > notional_max(listing, leverage_of(portfolio, listing)):
            raise refused(-2027)
        adverse = price - mark_price if request.side == "BUY" else mark_price - price
        open_loss = max(ZERO, adverse) * request.quantity
        if after.initial - before.initial + open_loss > account_margin(portfolio, self.market).available:
            raise refused(-2019)

    def _admit(self, portfolio: Portfolio, request: OrderRequest, quantity: Decimal, now_ms: int) -> Order:
        order_id = self.books.next_order_id()
        order = Order(
            order_id=order_id,
            account_key=portfolio.account.key,
            client_order_id=request.client_order_id or f"paper-{order_id}",
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            time_in_force=request.time_in_force,
            quantity=quantity,
            price=request.price,
            reduce_only=request.reduce_only,
            position_side=request.position_side,
            stp_mode=request.stp_mode,
            good_till_ms=request.good_till_ms,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        self.books.admit(portfolio, order, now_ms)
        return order

    def _prevent_self_trade(self, portfolio: Portfolio, taker: Order, worst_price: Decimal, now_ms: int) -> None:
        """Own resting orders that the taker would have met on its way expire first (or the taker does)."""
        if taker.stp_mode == "NONE":
            return
        for order in portfolio.open_orders(taker.symbol):
            if order.side == taker.side or order.order_id == taker.order_id:
                continue
            met = order.price <= worst_price if taker.side == "BUY" else order.price >= worst_price
            if not met:
                continue
            if taker.stp_mode in ("EXPIRE_MAKER", "EXPIRE_BOTH"):
                self.books.end(portfolio, order, "EXPIRED_IN_MATCH", now_ms, expiry_reason=1)
            if taker.stp_mode in ("EXPIRE_TAKER", "EXPIRE_BOTH") and taker.open:
                self.books.end(portfolio, taker, "EXPIRED_IN_MATCH", now_ms, expiry_reason=1)

    def cancel(
        self, portfolio: Portfolio, symbol: str, order_id: int | None, client_order_id: str | None, now_ms: int
    ) -> Order:
        """Cancel an open order. Raises: VenueError -2011 when it is unknown or final."""
        order = portfolio.find(symbol, order_id, client_order_id)
        if order is None or not order.open:
            raise refused(-2011)
        self.books.end(portfolio, order, "CANCELED", now_ms)
        return order

    def cancel_all(self, portfolio: Portfolio, symbol: str, now_ms: int, *, expiry_reason: int = 0) -> int:
        """Cancel every open order of a symbol; with a reason they expire instead. Returns how many."""
        orders = portfolio.open_orders(symbol)
        for order in orders:
            status = "EXPIRED" if expiry_reason else "CANCELED"
            self.books.end(portfolio, order, status, now_ms, expiry_reason=expiry_reason)
        return len(orders)

    def amend(self, portfolio: Portfolio, order: Order, quantity: Decimal, price: Decimal, now_ms: int) -> Order:
        """Change price and quantity of a resting limit order. Raises: VenueError."""
        listing = self.listing(order.symbol)
        if not order.open:
            raise refused(-2013)
        if listing.status != "TRADING":
            raise refused(-5024)
        if order.type != "LIMIT":
            raise refused(-5025)
        if order.amendments >= AMENDMENTS_MAX:
            raise refused(-5026)
        if (quantity, price) == (order.quantity, order.price):
            raise refused(-5027)
        filters.check_quantity(listing, quantity, market=False)
        filters.check_price(listing, order.side, price, self.market.mark(order.symbol).mark_price)
        best_price = self.depth(order.symbol).best(order.side)
        crosses = best_price is not None and (best_price - price) * order.sign <= 0
        if quantity <= order.filled or (crosses and order.time_in_force == "GTX"):
            self.books.end(portfolio, order, "CANCELED", now_ms)
            return order
        order.quantity, order.price, order.updated_ms = quantity, price, now_ms
        order.amendments += 1
        self.books.changes.orders[order.order_id] = order
        self.books.publish(portfolio, order_trade_update(order, "AMENDMENT", now_ms))
        self._match_resting(portfolio, order, self.depth(order.symbol), now_ms, maker=False)
        return order

    def on_book(self, book: Book, now_ms: int) -> None:
        """A newer book: resting orders that it crosses fill at their own price, as makers."""
        rows = self.books.resting.get(book.symbol)
        if not rows:
            return
        depth = self.depth(book.symbol)
        for order in sorted(rows.values(), key=_priority):
            if order.open:
                self._match_resting(self.books.portfolios[order.account_key], order, depth, now_ms, maker=True)

    def _match_resting(self, portfolio: Portfolio, order: Order, depth: Depth, now_ms: int, *, maker: bool) -> None:
        quantity = order.remaining
        if order.reduces:
            quantity = min(quantity, abs(portfolio.account.amount(order.symbol, order.position_side)))
        for price, part in depth.plan(order.side, quantity, order.price):
            if not order.open:
                return
            depth.take(order.side, price, part)
            self.books.fill(portfolio, order, order.price if maker else price, part, now_ms, maker=maker)

    def on_funding(self, settlement: FundingSettlement, now_ms: int) -> None:
        """Longs pay a positive rate, shorts receive it: position × mark × rate, into the wallet."""
        for portfolio in self.books.portfolios.values():
            paid = sum(
                (
                    q8(position.amount * settlement.mark_price * settlement.rate)
                    for position in portfolio.held(settlement.symbol)
                ),
                ZERO,
            )
            if not paid:
                continue
            self.books.book_income(portfolio, "FUNDING_FEE", settlement.symbol, -paid, now_ms, info="FUNDING_FEE")
            event = account_update(portfolio.account, "FUNDING_FEE", now_ms, change=-paid, symbol=settlement.symbol)
            self.books.publish(portfolio, event)

    def on_timer(self, now_ms: int) -> None:
        """What happens by the clock: good-till-date, dead-man switches, liquidations."""
        for portfolio in self.books.portfolios.values():
            for order in [order for order in portfolio.open.values() if order.good_till_ms]:
                if now_ms >= order.good_till_ms:
                    self.books.end(portfolio, order, "EXPIRED", now_ms)
            countdowns = portfolio.account.countdowns
            for symbol in [symbol for symbol, due_ms in countdowns.items() if now_ms >= due_ms]:
                del countdowns[symbol]
                self.books.touch(portfolio, now_ms)
                self.cancel_all(portfolio, symbol, now_ms)
            liquidate_lost(self.books, portfolio, now_ms)

    def manual_trade(
        self, portfolio: Portfolio, symbol: str, signed_quantity: Decimal, price: Decimal | None, now_ms: int
    ) -> Order:
        """A trade made by hand on the web site: a position change that the API client did not ask for."""
        self.listing(symbol)
        return force_close(
            self.books,
            portfolio,
            symbol=symbol,
            position_side="BOTH",
            signed_quantity=signed_quantity,
            now_ms=now_ms,
            client_id_prefix="web_",
            price=price,
            execution="TRADE",
            fee_rate=self.books.options.taker_fee_rate,
        )

    def auto_deleverage(self, portfolio: Portfolio, symbol: str, fraction: Decimal, now_ms: int) -> list[Order]:
        """Close a fraction of the positions of a symbol at the mark price, as ADL does."""
        listing = self.listing(symbol)
        closed = []
        for position in list(portfolio.held(symbol)):
            quantity = min(
                abs(position.amount), max(listing.step, floor_to(abs(position.amount) * fraction, listing.step))
            )
            signed = -quantity if position.amount > 0 else quantity
            closed.append(
                force_close(
                    self.books,
                    portfolio,
                    symbol=symbol,
                    position_side=position.side,
                    signed_quantity=signed,
                    now_ms=now_ms,
                    client_id_prefix="adl_autoclose",
                )
            )
        return closed

    def delist(self, symbol: str, status: str, now_ms: int) -> Mapping[str, int]:
        """Stop trading a contract: orders expire, positions settle at the mark price. Returns counts."""
        self.listing(symbol)
        self.market.set_status(symbol, status)
        expired = settled = 0
        for portfolio in self.books.portfolios.values():
            expired += self.cancel_all(portfolio, symbol, now_ms, expiry_reason=7)
            for position in list(portfolio.held(symbol)):
                force_close(
                    self.books,
                    portfolio,
                    symbol=symbol,
                    position_side=position.side,
                    signed_quantity=-position.amount,
                    now_ms=now_ms,
                    client_id_prefix="settlement_autoclose-",
                )
                settled += 1
        return {"orders": expired, "positions": settled}


def _crosses(request: OrderRequest, best_price: Decimal) -> bool:
    return best_price <= request.price if request.side == "BUY" else best_price >= request.price


def _priority(order: Order) -> tuple[Decimal, int]:
    return (-order.price * order.sign, order.order_id)
