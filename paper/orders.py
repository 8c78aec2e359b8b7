"""Orders: what a client asks for, read strictly, and what the exchange keeps of it."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

import msgspec

from paper.errors import refused
from paper.numbers import ZERO

CLIENT_ID_MAX = 36
CLIENT_ID = re.compile(r"^[\.A-Z\:/a-z0-9_-]{1,36}$")
CLIENT_ID_RANGE = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
ALGO_TYPES = frozenset({"STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"})
TIMES_IN_FORCE = frozenset({"GTC", "IOC", "FOK", "GTX", "GTD", "RPI"})
STP_MODES = frozenset({"NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"})
DECIMAL = re.compile(r"^-?\d{1,20}(\.\d{1,20})?$")
HEDGE_CLOSERS = frozenset({("LONG", "SELL"), ("SHORT", "BUY")})
OPEN_STATUSES = frozenset({"NEW", "PARTIALLY_FILLED"})
GTD_MS_MIN = 600_000


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A new order as asked for; syntax is checked, the market's rules are not yet."""

    symbol: str
    side: str
    type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    reduce_only: bool
    position_side: str
    client_order_id: str
    stp_mode: str
    good_till_ms: int
    result: bool  # RESULT instead of ACK.

    @property
    def reduces(self) -> bool:
        """True when it may only make a position smaller: by its flag, or by its side in hedge mode."""
        return self.reduce_only or (self.position_side, self.side) in HEDGE_CLOSERS


class Order(msgspec.Struct, kw_only=True):
    """An order in the exchange's books. Mutable: matching owns it, everybody else reads."""

    order_id: int
    account_key: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    reduce_only: bool
    position_side: str
    stp_mode: str
    good_till_ms: int
    created_ms: int
    updated_ms: int
    status: str = "NEW"
    filled: Decimal = ZERO
    quote_filled: Decimal = ZERO
    expiry_reason: int = 0
    amendments: int = 0

    @property
    def open(self) -> bool:
        """True while it can still trade."""
        return self.status in OPEN_STATUSES

    @property
    def remaining(self) -> Decimal:
        """What may still fill."""
        return self.quantity - self.filled

    @property
    def average_price(self) -> Decimal:
        """Volume-weighted fill price; zero before the first fill."""
        return self.quote_filled / self.filled if self.filled else ZERO

    @property
    def reduces(self) -> bool:
        """True when it may only make a position smaller: by its flag, or by its side in hedge mode."""
        return self.reduce_only or (self.position_side, self.side) in HEDGE_CLOSERS

    @property
    def sign(self) -> int:
        """+1 buys, -1 sells."""
        return 1 if self.side == "BUY" else -1


def decimal_of(params: Mapping[str, str], name: str) -> Decimal | None:
    """A decimal parameter. Raises: VenueError -1102 (empty) or -1100 (not a plain decimal)."""
    text = params.get(name)
    if text is None:
        return None
    if not text:
        raise refused(-1102, name)
    if DECIMAL.match(text) is None:
        raise refused(-1100, name, r"^([0-9]{1,20})(\.[0-9]{1,20})?$")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise refused(-1102, name) from None


def flag_of(params: Mapping[str, str], name: str) -> bool | None:
    """A true/false parameter. Raises: VenueError -1102 for anything else."""
    text = params.get(name)
    if text is None:
        return None
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise refused(-4062) if name == "reduceOnly" else refused(-1102, name)
    return lowered == "true"


def check_client_order_id(text: str, name: str) -> None:
    """Raises: VenueError -4015 when too long, -1100 for an illegal character."""
    if len(text) > CLIENT_ID_MAX:
        raise refused(-4015)
    if CLIENT_ID.match(text) is None:
        raise refused(-1100, name, CLIENT_ID_RANGE)


def _mandatory(params: Mapping[str, str], name: str) -> str:
    text = params.get(name)
    if not text:
        raise refused(-1102, name)
    return text


def parse_order(params: Mapping[str, str], now_ms: int) -> OrderRequest:
    """Read a new order. Raises: VenueError with the documented code for whatever is missing or malformed."""
    symbol = _mandatory(params, "symbol")
    side = _mandatory(params, "side")
    if side not in ("BUY", "SELL"):
        raise refused(-1117)
    kind = _mandatory(params, "type")
    if kind in ALGO_TYPES:
        raise refused(-4120)
    if kind not in ("LIMIT", "MARKET"):
        raise refused(-1116)
    quantity = decimal_of(params, "quantity")
    if quantity is None:
        raise refused(-1102, "quantity")
    price = decimal_of(params, "price")
    time_in_force = params.get("timeInForce")
    if kind == "MARKET":
        if time_in_force:
            raise refused(-1106, "timeInForce")
        if price is not None:
            raise refused(-1106, "price")
    else:
        if not time_in_force:
            raise refused(-1102, "timeInForce")
        if time_in_force not in TIMES_IN_FORCE:
            raise refused(-1115)
        if price is None:
            raise refused(-1102, "price")
    response = params.get("newOrderRespType", "ACK")
    if response not in ("ACK", "RESULT"):
        raise refused(-1136)
    position_side = params.get("positionSide", "BOTH")
    if position_side not in ("BOTH", "LONG", "SHORT"):
        raise refused(-4060)
    stp_mode = params.get("selfTradePreventionMode", "EXPIRE_MAKER")
    if stp_mode not in STP_MODES:
        raise refused(-5039)
    if params.get("priceMatch", "NONE") != "NONE":
        raise refused(-5037)
    client_order_id = params.get("newClientOrderId", "")
    if client_order_id:
        check_client_order_id(client_order_id, "newClientOrderId")
    reduce_only = flag_of(params, "reduceOnly") or False
    if flag_of(params, "closePosition"):
        raise refused(-4120)
    return OrderRequest(
        symbol=symbol,
        side=side,
        type=kind,
        time_in_force=time_in_force or "GTC",
        quantity=quantity,
        price=price or ZERO,
        reduce_only=reduce_only,
        position_side=position_side,
        client_order_id=client_order_id,
        stp_mode=stp_mode,
        good_till_ms=_good_till(params, time_in_force, now_ms),
        result=response == "RESULT",
    )


def _good_till(params: Mapping[str, str], time_in_force: str | None, now_ms: int) -> int:
    text = params.get("goodTillDate")
    if time_in_force != "GTD":
        return 0
    if not text or not text.isdigit():
        raise refused(-1102, "goodTillDate")
    if int(text) <= now_ms + GTD_MS_MIN:
        raise refused(-5040)
    return int(text) // 1000 * 1000
