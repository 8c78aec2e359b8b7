"""What the account must be set to before the first order: one-way mode, one collateral asset, cross margin, our leverage.

A reply proves nothing here: "no need to change" is as good as done, and a lost reply may be either. What counts is what the exchange
says when it is read afterwards.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from domain.errors import ConfigError
from domain.refusals import Refusal, RefusalKind
from domain.symbols import Symbol
from runner.exchange.binance.client import Client
from runner.exchange.binance.shapes import list_of, reading
from runner.exchange.binance.symbols import exchange_id
from runner.exchange.errors import OutcomeUnknown, Refused
from runner.exchange.port import SetupProblem
from runner.exchange.priority import Priority

CROSSED = "CROSSED"


class Send(Protocol):
    """`BinanceExchange`'s own way to the exchange. Raises: ExchangeError."""

    async def __call__(self, what: str, request: Callable[[], Awaitable[Any]], priority: Priority) -> Any: ...


class AccountSetup:
    """Checks the account's modes, sets margin type and leverage, and reads them back."""

    def __init__(self, client: Client, send: Send) -> None:
        self._client = client
        self._send = send

    async def prepare(
        self, symbols: Sequence[Symbol], leverage: int, *, may_change: bool = True
    ) -> Mapping[Symbol, SetupProblem]:
        """The symbols that could not be prepared, and why. Without `may_change` (a dry run) only the modes are checked.

        Raises: ConfigError when the account as a whole cannot be traded; ExchangeError.
        """
        await self._check_modes()
        if not may_change or not symbols:
            return {}
        found = await self._read(symbols)
        refusals: dict[Symbol, list[Refusal]] = {}
        changed = False
        for symbol in symbols:
            margin_type, set_leverage = found.get(symbol, ("", 0))
            listed_id = exchange_id(symbol)
            if margin_type != CROSSED:
                changed = True
                wanted = {"symbol": listed_id, "marginType": CROSSED}
                await self._try("marginType", self._client.fapiPrivatePostMarginType, wanted, symbol, refusals)
            if set_leverage != leverage:
                changed = True
                wanted = {"symbol": listed_id, "leverage": str(leverage)}
                await self._try("leverage", self._client.fapiPrivatePostLeverage, wanted, symbol, refusals)
        if changed:
            found = await self._read(symbols)
        return {
            symbol: SetupProblem(why, refusals[symbol][-1] if symbol in refusals else None)
            for symbol in symbols
            if (why := _problem(symbol, found.get(symbol), leverage, refusals.get(symbol, []))) is not None
        }

    async def _check_modes(self) -> None:
        config = await self._send("accountConfig", self._client.fapiPrivateGetAccountConfig, Priority.ACCOUNT)
        with reading("accountConfig"):
            hedge_mode, multi_assets, can_trade = (
                _flag(config[name]) for name in ("dualSidePosition", "multiAssetsMargin", "canTrade")
            )
        if hedge_mode:
            raise ConfigError(
                "the account is in hedge mode; switch it to one-way mode (Binance: Preferences → Position Mode) and start again"
            )
        if multi_assets:
            raise ConfigError(
                "the account is in multi-assets mode, where other coins' prices move our margin; switch it to single-asset mode"
                " (Binance: Preferences → Asset Mode) and start again"
            )
        if not can_trade:
            raise ConfigError("the account may not trade futures (canTrade is false); see the exchange's notices to it")

    async def _read(self, symbols: Sequence[Symbol]) -> dict[Symbol, tuple[str, int]]:
        rows = await self._send("symbolConfig", self._client.fapiPrivateGetSymbolConfig, Priority.ACCOUNT)
        wanted = {exchange_id(symbol): symbol for symbol in symbols}
        with reading("symbolConfig"):
            return {
                wanted[str(row["symbol"])]: (str(row["marginType"]).upper(), int(row["leverage"]))
                for row in list_of("symbolConfig", rows)
                if str(row["symbol"]) in wanted
            }

    async def _try(
        self,
        what: str,
        request: Callable[[Any], Awaitable[Any]],
        parameters: Mapping[str, str],
        symbol: Symbol,
        refusals: dict[Symbol, list[Refusal]],
    ) -> None:
        """Whatever is answered, the reading afterwards decides; a code explains it to people."""
        try:
            await self._send(what, lambda: request(dict(parameters)), Priority.ACCOUNT)
        except (Refused, OutcomeUnknown) as outcome:
            if outcome.refusal is not None and outcome.kind is not RefusalKind.NO_CHANGE:
                refusals.setdefault(symbol, []).append(outcome.refusal)


def _flag(raw: Any) -> bool:
    text = str(raw).lower()
    if text not in {"true", "false"}:
        raise ValueError(f"neither true nor false: {text[:20]!r}")
    return text == "true"


def _problem(symbol: Symbol, found: tuple[str, int] | None, leverage: int, refusals: Sequence[Refusal]) -> str | None:
    if found is None:
        return f"the exchange does not tell the margin type and leverage of {symbol}"
    margin_type, set_leverage = found
    codes = f" ({', '.join(refusal.code for refusal in refusals)})" if refusals else ""
    kinds = {refusal.kind for refusal in refusals}
    if margin_type != CROSSED:
        holds = _holder(kinds)
        return f"{symbol} has {margin_type.lower()} margin and {holds} there keeps it so{codes}; close it, or set cross margin"
    if set_leverage != leverage:
        if RefusalKind.LEVERAGE_INVALID in kinds:
            return f"the exchange refuses leverage {leverage} for {symbol}{codes}; lower risk.leverage"
        return f"{symbol} stays at leverage {set_leverage} instead of {leverage}{codes}; reduce what is held there, or set it"
    return None


def _holder(kinds: set[RefusalKind]) -> str:
    if RefusalKind.HAS_ORDERS in kinds:
        return "an open order"
    return "a position" if RefusalKind.HAS_POSITION in kinds else "something"
