"""Signed endpoints about the account: balances, positions, settings, income, and its listen key."""

from collections.abc import Callable

from aiohttp import web

from domain.units import WEEK_MS
from paper import payloads
from paper.desk import Call, Desk
from paper.errors import refused
from paper.events import assets_mode_update, leverage_update
from paper.gateway import Gateway
from paper.margin import account_margin, leverage_max, notional_max, symbol_margin
from paper.numbers import plain
from paper.orders import flag_of
from paper.portfolio import Portfolio
from paper.private_orders import inside, integer_of, limit_of, period_of

INCOME_ROWS_DEFAULT = 100
INCOME_PERIOD_MS_DEFAULT = WEEK_MS
SUCCESS = {"code": 200, "msg": "success"}


class AccountEndpoints:
    """Handlers; each takes a Call and returns the JSON payload."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._core = desk.core
        self._books = desk.books

    def routes(self, gateway: Gateway) -> list[web.RouteDef]:
        """All routes of this desk."""
        signed: list[tuple[str, str, Callable[[Call], object]]] = [
            ("GET", "/v2/account", lambda call: payloads.account_body(self._books, call.portfolio, version=2)),
            ("GET", "/v3/account", lambda call: payloads.account_body(self._books, call.portfolio, version=3)),
            ("GET", "/v2/balance", lambda call: payloads.balance_rows(self._books, call.portfolio)),
            ("GET", "/v3/balance", lambda call: payloads.balance_rows(self._books, call.portfolio)),
            ("GET", "/v1/positionRisk", lambda call: self.position_risk(call, version=2)),
            ("GET", "/v2/positionRisk", lambda call: self.position_risk(call, version=2)),
            ("GET", "/v3/positionRisk", lambda call: self.position_risk(call, version=3)),
            ("POST", "/v1/leverage", self.set_leverage),
            ("POST", "/v1/marginType", self.set_margin_type),
            ("GET", "/v1/positionSide/dual", self.position_mode),
            ("POST", "/v1/positionSide/dual", self.set_position_mode),
            ("GET", "/v1/multiAssetsMargin", self.assets_mode),
            ("POST", "/v1/multiAssetsMargin", self.set_assets_mode),
            ("GET", "/v1/leverageBracket", self.brackets),
            ("GET", "/v1/symbolConfig", self.symbol_config),
            ("GET", "/v1/accountConfig", self.account_config),
            ("GET", "/v1/commissionRate", self.commission_rate),
            ("GET", "/v1/income", self.income),
        ]
        keyed: list[tuple[str, Callable[[Call], object]]] = [
            ("POST", self.open_listen_key),
            ("PUT", self.extend_listen_key),
            ("DELETE", self.close_listen_key),
        ]
        return [web.route(method, "/fapi" + path, gateway.signed(endpoint)) for method, path, endpoint in signed] + [
            web.route(method, "/fapi/v1/listenKey", gateway.keyed(endpoint)) for method, endpoint in keyed
        ]

    def position_risk(self, call: Call, *, version: int) -> object:
        """GET positionRisk."""
        symbol = call.params.get("symbol")
        if symbol is not None:
            self._core.listing(symbol)
        return payloads.position_risk_rows(self._books, call.portfolio, version=version, symbol=symbol)

    def set_leverage(self, call: Call) -> object:
        """POST leverage."""
        listing = self._core.listing(call.params.get("symbol"))
        leverage = integer_of(call.params, "leverage")
        if leverage is None:
            raise refused(-1102, "leverage")
        if not 1 <= leverage <= leverage_max(listing):
            raise refused(-4028, leverage)
        portfolio = call.portfolio
        mark_price = self._books.market.mark(listing.symbol).mark_price
        before = symbol_margin(portfolio, listing, mark_price)
        if before.exposure > notional_max(listing, leverage):
            raise refused(-2027)
        available = account_margin(portfolio, self._books.market).available
        if before.exposure / leverage - before.initial > available:
            raise refused(-2028)
        portfolio.account.leverages[listing.symbol] = leverage
        self._books.touch(portfolio, call.now_ms)
        self._books.publish(portfolio, leverage_update(listing.symbol, leverage, call.now_ms))
        return {
            "leverage": leverage,
            "maxNotionalValue": plain(notional_max(listing, leverage)),
            "symbol": listing.symbol,
        }

    def set_margin_type(self, call: Call) -> object:
        """POST marginType. Isolated is remembered and reported; margin is still counted as cross."""
        symbol = self._core.listing(call.params.get("symbol")).symbol
        wanted = call.params.get("marginType")
        if wanted not in ("ISOLATED", "CROSSED"):
            raise refused(-1102, "marginType")
        isolated = call.portfolio.account.isolated
        if (wanted == "ISOLATED") == (symbol in isolated):
            raise refused(-4046)
        self._refuse_when_busy(call.portfolio, symbol, with_orders=-4047, with_position=-4048)
        if wanted == "ISOLATED":
            isolated.add(symbol)
        else:
            isolated.discard(symbol)
        self._books.touch(call.portfolio, call.now_ms)
        return SUCCESS

    def _refuse_when_busy(
        self, portfolio: Portfolio, symbol: str | None, *, with_orders: int, with_position: int
    ) -> None:
        if portfolio.open_orders(symbol):
            raise refused(with_orders)
        if any(True for _ in portfolio.held(symbol)):
            raise refused(with_position)

    def position_mode(self, call: Call) -> object:
        """GET positionSide/dual."""
        return {"dualSidePosition": call.portfolio.account.hedge_mode}

    def set_position_mode(self, call: Call) -> object:
        """POST positionSide/dual."""
        wanted = flag_of(call.params, "dualSidePosition")
        if wanted is None:
            raise refused(-1102, "dualSidePosition")
        if wanted == call.portfolio.account.hedge_mode:
            raise refused(-4059)
        self._refuse_when_busy(call.portfolio, None, with_orders=-4067, with_position=-4068)
        call.portfolio.account.hedge_mode = wanted
        self._books.touch(call.portfolio, call.now_ms)
        return SUCCESS

    def assets_mode(self, call: Call) -> object:
        """GET multiAssetsMargin."""
        return {"multiAssetsMargin": call.portfolio.account.multi_assets}

    def set_assets_mode(self, call: Call) -> object:
        """POST multiAssetsMargin. Remembered, reported and published; there is one asset all the same."""
        wanted = flag_of(call.params, "multiAssetsMargin")
        if wanted is None:
            raise refused(-1102, "multiAssetsMargin")
        if wanted == call.portfolio.account.multi_assets:
            raise refused(-4171)
        call.portfolio.account.multi_assets = wanted
        self._books.touch(call.portfolio, call.now_ms)
        self._books.publish(call.portfolio, assets_mode_update(multi_assets=wanted, now_ms=call.now_ms))
        return SUCCESS

    def brackets(self, call: Call) -> object:
        """GET leverageBracket, one contract or all."""
        symbol = call.params.get("symbol")
        listings = [self._core.listing(symbol)] if symbol is not None else self._books.market.listings.values()
        return [payloads.bracket_rows(listing) for listing in listings]

    def symbol_config(self, call: Call) -> object:
        """GET symbolConfig, one contract or all."""
        symbol = call.params.get("symbol")
        listings = [self._core.listing(symbol)] if symbol is not None else self._books.market.listings.values()
        return [payloads.symbol_config_row(call.portfolio, listing) for listing in listings]

    def account_config(self, call: Call) -> object:
        """GET accountConfig."""
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "dualSidePosition": call.portfolio.account.hedge_mode,
            "updateTime": 0,
            "multiAssetsMargin": call.portfolio.account.multi_assets,
            "tradeGroupId": -1,
        }

    def commission_rate(self, call: Call) -> object:
        """GET commissionRate."""
        options = self._desk.options.core
        return {
            "symbol": self._core.listing(call.params.get("symbol")).symbol,
            "makerCommissionRate": plain(options.maker_fee_rate),
            "takerCommissionRate": plain(options.taker_fee_rate),
            "rpiCommissionRate": "0.00005",
        }

    def income(self, call: Call) -> object:
        """GET income: ascending; without times the last seven days."""
        limit = limit_of(call.params, default=INCOME_ROWS_DEFAULT)
        page = integer_of(call.params, "page", default=1) or 1
        start_ms, end_ms = period_of(call.params, length_ms_max=None)
        latest = start_ms is None and end_ms is None and "page" not in call.params
        if start_ms is None and end_ms is None:
            start_ms = call.now_ms - INCOME_PERIOD_MS_DEFAULT
        symbol, kind = call.params.get("symbol"), call.params.get("incomeType")
        rows = [
            row
            for row in call.portfolio.incomes
            if (symbol is None or row.symbol == symbol)
            and (kind is None or row.kind == kind)
            and inside(row.time_ms, start_ms, end_ms)
        ]
        chosen = rows[-limit:] if latest else rows[(page - 1) * limit : page * limit]
        return [payloads.income_row(row) for row in chosen]

    def _extend(self, call: Call) -> None:
        life_ms = int(self._desk.options.streams.listen_key_life_seconds * 1000)
        call.portfolio.account.listen_key_expires_ms = call.now_ms + life_ms
        self._books.touch(call.portfolio, call.now_ms)

    def open_listen_key(self, call: Call) -> object:
        """POST listenKey: the active key again, or a new one; valid for another hour."""
        account = call.portfolio.account
        if account.listen_key is None:
            account.listen_key = self._books.new_listen_key(account.key)
        self._extend(call)
        return {"listenKey": account.listen_key}

    def extend_listen_key(self, call: Call) -> object:
        """PUT listenKey."""
        if call.portfolio.account.listen_key is None:
            raise refused(-1125)
        self._extend(call)
        return {"listenKey": call.portfolio.account.listen_key}

    def close_listen_key(self, call: Call) -> object:
        """DELETE listenKey: the stream goes silent."""
        call.portfolio.account.listen_key = None
        self._books.touch(call.portfolio, call.now_ms)
        return {}
