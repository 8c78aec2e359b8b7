"""Names of contracts, as typed, as unified, as the exchange and its streams spell them."""

import pytest

from domain.symbols import Symbol, unified
from runner.exchange.binance.symbols import exchange_id, stream_name

# as typed -> unified, the exchange's id, the streams' name
NAMES = [
    ("BTC/USDT", "BTC/USDT:USDT", "BTCUSDT", "btcusdt"),
    ("BTC/USDT:USDT", "BTC/USDT:USDT", "BTCUSDT", "btcusdt"),
    ("1000CAT/USDT", "1000CAT/USDT:USDT", "1000CATUSDT", "1000catusdt"),
    ("1MBABYDOGE/USDT", "1MBABYDOGE/USDT:USDT", "1MBABYDOGEUSDT", "1mbabydogeusdt"),
    ("ETH/USDC", "ETH/USDC:USDC", "ETHUSDC", "ethusdc"),
    ("0G/USDT:USDT", "0G/USDT:USDT", "0GUSDT", "0gusdt"),
]


@pytest.mark.parametrize(("typed", "name", "venue_id", "stream"), NAMES)
def test_names(typed: str, name: str, venue_id: str, stream: str) -> None:
    symbol = unified(typed)
    assert symbol == name
    assert exchange_id(symbol) == venue_id
    assert stream_name(symbol) == stream
    assert unified(symbol) == symbol


@pytest.mark.parametrize(
    "typed",
    ["", "BTC", "BTCUSDT", "btc/usdt", "BTC/USD", "BTC/USDT:USDC", "BTC/USDT:BTC", "BTC/USDT:USDT-261225", "/USDT",
     "BTC/USDT ", " BTC/USDT", "BTC/USDT\n", "B-C/USDT", "A" * 21 + "/USDT", "BTC/USDT:USDT:USDT"],
)  # fmt: skip
def test_what_is_not_a_linear_perpetual_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(ValueError, match="BASE/USDT"):
        unified(typed)


def test_an_id_is_made_of_the_symbol_alone() -> None:
    assert exchange_id(Symbol("1000CAT/USDT:USDT")) != exchange_id(Symbol("CAT/USDT:USDT"))
