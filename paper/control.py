"""The control endpoint: faults, accounts and acts of the exchange, for who has its token. Binance has nothing like it."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from paper.desk import Desk
from paper.door import Door
from paper.errors import ApiError, refused
from paper.faults import FaultSpec
from paper.gateway import Handler
from paper.liquidation import liquidate
from paper.market import PlayedByHand
from paper.numbers import plain
from paper.orders import Order
from paper.outcomes import json_reply
from paper.portfolio import Portfolio
from paper.private_ws import UserStreams

Asked = TypeVar("Asked", bound=msgspec.Struct)


class NewAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /paper/account."""

    key: str
    secret: str
    balance: Decimal = Decimal(10_000)
    reduce_only: bool = False


class Adl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /paper/adl."""

    symbol: str
    fraction: Decimal = Decimal(1)
    key: str | None = None


class OfAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /paper/liquidate and /paper/expire-listen-key."""

    key: str | None = None


class Delisting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /paper/delist: settle a contract now; or announce it (a delivery), or halt it, with `settle` false."""

    symbol: str
    status: str = "SETTLING"
    delivery_ms: int | None = None
    settle: bool = True


class ManualTrade(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /paper/position: a signed quantity, at the mark price unless said otherwise."""

    symbol: str
    quantity: Decimal
    price: Decimal | None = None
    key: str | None = None


class Play(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /paper/play: up to and including this moment of market time."""

    until_ms: int


class Control:
    """Handlers of /paper/…; each answers JSON, errors as {"error": …} with status 400, or 401 without the token."""

    def __init__(self, desk: Desk, streams: UserStreams, door: Door) -> None:
        self._desk = desk
        self._streams = streams
        self._door = door

    def routes(self) -> list[web.RouteDef]:
        """All control routes."""
        return [
            web.post("/paper/faults", self._posting(FaultSpec, self.add_fault)),
            web.get("/paper/faults", self._getting(self.faults)),
            web.delete("/paper/faults", self._getting(self.remove_faults)),
            web.delete("/paper/faults/{id}", self._getting(self.remove_faults)),
            web.post("/paper/account", self._posting(NewAccount, self.open_account)),
            web.post("/paper/adl", self._posting(Adl, self.auto_deleverage)),
            web.post("/paper/liquidate", self._posting(OfAccount, self.liquidate)),
            web.post("/paper/delist", self._posting(Delisting, self.delist)),
            web.post("/paper/expire-listen-key", self._posting(OfAccount, self.expire_listen_key)),
            web.post("/paper/position", self._posting(ManualTrade, self.trade_by_hand)),
            web.post("/paper/play", self._posting(Play, self.play)),
            web.get("/paper/state", self._getting(self.state)),
            web.get("/paper/orders-log", self._getting(self.orders_log)),
        ]

    def _posting(self, kind: type[Asked], act: Callable[[Asked], object]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            text = await request.read()
            try:
                return self._done(act(msgspec.json.decode(text or b"{}", type=kind)))
            except (msgspec.MsgspecError, ApiError, ValueError, re.error) as error:
                return json_reply({"error": str(error)}, status=400)

        return self._door.with_token(handle)

    def _getting(self, act: Callable[[web.Request], object]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            try:
                return self._done(act(request))
            except (ApiError, ValueError) as error:
                return json_reply({"error": str(error)}, status=400)

        return self._door.with_token(handle)

    def _done(self, payload: object) -> web.Response:
        self._desk.commit()
        return json_reply(payload)

    def _portfolio(self, key: str | None) -> Portfolio:
        """The account asked for; without a key, the first one. Raises: VenueError -2015."""
        portfolios = self._desk.books.portfolios
        portfolio = next(iter(portfolios.values()), None) if key is None else portfolios.get(key)
        if portfolio is None:
            raise refused(-2015)
        return portfolio

    def add_fault(self, spec: FaultSpec) -> object:
        """Put a fault on the board."""
        return {"id": self._desk.board.add(spec).fault_id}

    def faults(self, _request: web.Request) -> object:
        """Every fault with its hits, and what chaos has drawn."""
        return {"faults": self._desk.board.rows(), "chaos": self._desk.board.chaos_hits}

    def remove_faults(self, request: web.Request) -> object:
        """Take one fault or all off the board."""
        text = request.match_info.get("id")
        return {"removed": self._desk.board.remove(None if text is None else int(text))}

    def open_account(self, asked: NewAccount) -> object:
        """Add an account, or (for a known key) change what it may do."""
        now_ms = self._desk.clock.now_ms()
        portfolio = self._desk.books.portfolios.get(asked.key)
        if portfolio is None:
            portfolio = self._desk.books.open_account(asked.key, asked.secret, asked.balance, now_ms)
        portfolio.account.reduce_only = asked.reduce_only
        self._desk.books.touch(portfolio, now_ms)
        return {"key": asked.key}

    def auto_deleverage(self, asked: Adl) -> object:
        """Close a part of a position against its owner's will."""
        closed = self._desk.core.auto_deleverage(
            self._portfolio(asked.key), asked.symbol, asked.fraction, self._desk.clock.now_ms()
        )
        return {"closed": [_brief(order) for order in closed]}

    def liquidate(self, asked: OfAccount) -> object:
        """Liquidate an account whatever its margin."""
        closed = liquidate(self._desk.books, self._portfolio(asked.key), self._desk.clock.now_ms())
        return {"closed": [_brief(order) for order in closed]}

    def delist(self, asked: Delisting) -> object:
        """Stop trading a contract, or say that it will stop."""
        if not asked.settle:
            self._desk.core.listing(asked.symbol)
            self._desk.books.market.set_status(asked.symbol, asked.status, asked.delivery_ms)
            return {}
        return self._desk.core.delist(asked.symbol, asked.status, self._desk.clock.now_ms())

    def expire_listen_key(self, asked: OfAccount) -> object:
        """Let a listen key run out now."""
        self._streams.expire_key(self._portfolio(asked.key).account.key, self._desk.clock.now_ms())
        return {}

    def trade_by_hand(self, asked: ManualTrade) -> object:
        """A trade on the web site, behind the API client's back."""
        if not asked.quantity.is_finite() or not asked.quantity:
            raise refused(-4003)
        order = self._desk.core.manual_trade(
            self._portfolio(asked.key), asked.symbol, asked.quantity, asked.price, self._desk.clock.now_ms()
        )
        return _brief(order)

    def play(self, asked: Play) -> object:
        """Move a replay that stands still. Raises: ValueError for every other market."""
        market = self._desk.books.market
        if not isinstance(market, PlayedByHand):
            raise ValueError("only a replay can be played by hand: --market replay --speed 0")  # noqa: TRY004 - told to a client.
        market.play_until(asked.until_ms)
        return {"market_ms": market.now_ms()}

    def state(self, _request: web.Request) -> object:
        """Accounts, positions and open orders in one glance."""
        books = self._desk.books
        return {
            "server_ms": self._desk.clock.now_ms(),
            "market_ms": books.market.now_ms(),
            "totals": books.totals(),
            "accounts": [_account(portfolio) for portfolio in books.portfolios.values()],
        }

    def orders_log(self, _request: web.Request) -> object:
        """When each request with new orders arrived (monotonic ns of this machine), newest last."""
        return msgspec.to_builtins(list(self._desk.orders_log))


def _brief(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": plain(order.quantity),
        "filled": plain(order.filled),
        "status": order.status,
    }


def _account(portfolio: Portfolio) -> dict[str, Any]:
    account = portfolio.account
    return {
        "key": account.key,
        "wallet": plain(account.wallet),
        "deposited": plain(account.deposited),
        "listen_key": account.listen_key,
        "positions": [
            {"symbol": row.symbol, "side": row.side, "amount": plain(row.amount), "entry": plain(row.entry_price)}
            for row in portfolio.held()
        ],
        "open_orders": [_brief(order) for order in portfolio.open.values()],
    }
