"""Names of contracts, as typed and as unified."""

import pytest

from domain.symbols import unified

# as typed -> unified
NAMES = [
    ("BTC/USDT", "BTC/USDT:USDT"),
    ("BTC/USDT:USDT", "BTC/USDT:USDT"),
    ("1000CAT/USDT", "1000CAT/USDT:USDT"),
    ("1MBABYDOGE/USDT", "1MBABYDOGE/USDT:USDT"),
    ("ETH/USDC", "ETH/USDC:USDC"),
    ("0G/USDT:USDT", "0G/USDT:USDT"),
]


@pytest.mark.parametrize(("typed", "name"), NAMES)
def test_names(typed: str, name: str) -> None:
    symbol = unified(typed)
    assert symbol == name
    assert unified(symbol) == symbol


@pytest.mark.parametrize(
    "typed",
    ["", "BTC", "BTCUSDT", "btc/usdt", "BTC/USD", "BTC/USDT:USDC", "BTC/USDT:BTC", "BTC/USDT:USDT-261225", "/USDT",
     "BTC/USDT ", " BTC/USDT", "BTC/USDT\n", "B-C/USDT", "A" * 21 + "/USDT", "BTC/USDT:USDT:USDT"],
)  # fmt: skip
def test_what_is_not_a_linear_perpetual_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(ValueError, match="BASE/USDT"):
        unified(typed)
