"""A fee in another coin must not pass for dollars: 0.0005 BNB is not a twentieth of a cent."""

from decimal import Decimal

import pytest

from domain.orders import Fill, Side
from domain.symbols import ClientOrderId, Symbol

FEES = [
    ("0.25", "USDT", "0.25"),
    ("-0.05", "USDC", "-0.05"),
    ("0.0004", "BNB", "0.25"),
    ("0", "BNB", "0"),
    ("-0.0001", "BNB", "0"),
]


@pytest.mark.parametrize(("fee", "asset", "counted"), FEES)
def test_what_a_fee_counts_as(fee: str, asset: str, counted: str) -> None:
    """500 USD traded: the taker rate is 0.25."""
    fill = Fill(
        symbol=Symbol("BTC/USDT:USDT"),
        exchange_trade_id="1",
        exchange_order_id="1",
        client_order_id=ClientOrderId("tdm-t-ae0"),
        side=Side.BUY,
        quantity=Decimal("0.01"),
        price=Decimal(50_000),
        fee=Decimal(fee),
        fee_asset=asset,
        at_ms=0,
    )
    assert fill.fee_usd_at_most == Decimal(counted)
