"""Post-only orders and the dead-man switch, as a client and its user stream see them."""

from typing import Any

import pytest
from scripted_market import ScriptedMarket
from test_paper_streams import ask, read, stream  # noqa: F401  (`stream` is a fixture.)

from paper.server import PaperExchange

BTC, ETH = "BTCUSDT", "ETHUSDT"


def post_only(price: object, quantity: object = "0.01", symbol: str = BTC, side: str = "BUY") -> dict[str, str]:
    return {
        "symbol": symbol, "side": side, "type": "LIMIT", "timeInForce": "GTX", "price": str(price), "quantity": str(quantity),
        "newOrderRespType": "RESULT",
    }  # fmt: skip


async def test_post_only_that_would_take_is_refused_and_leaves_nothing(stream: Any, client: Any) -> None:  # noqa: F811
    for price in ("82500.1", "82501"):  # At the offer, and through it.
        with pytest.raises(Exception, match="-5022"):
            await client.fapiPrivatePostOrder(post_only(price))
    with pytest.raises(Exception, match="-5022"):
        await client.fapiPrivatePostOrder(post_only("82499.9", side="SELL"))
    reply = await client.fapiPrivatePostOrder(post_only("82499.9"))
    assert (reply["status"], reply["timeInForce"], reply["executedQty"]) == ("NEW", "GTX", "0")
    (new,) = await read(stream, 1)
    assert (new["o"]["x"], new["o"]["f"]) == ("NEW", "GTX"), "the refused ones were never told of"


async def test_a_moving_market_fills_it_in_pieces_for_the_makers_fee(
    stream: Any,  # noqa: F811
    client: Any,
    market: ScriptedMarket,
) -> None:
    await client.fapiPrivatePostOrder(post_only("82499.9"))
    await read(stream, 1)
    for quantity in ("0.002", "0.003"):
        market.set_book(BTC, [(82499, 1)], [("82499.5", quantity), ("82500.5", 1)])
    market.set_book(BTC, [(82499, 1)], [("82500.0", 1)])  # Not through our price.
    events = await read(stream, 4)
    fills = [event["o"] for event in events if event["e"] == "ORDER_TRADE_UPDATE"]
    assert [(fill["L"], fill["l"], fill["z"], fill["X"], fill["m"]) for fill in fills] == [
        ("82499.9", "0.002", "0.002", "PARTIALLY_FILLED", True),
        ("82499.9", "0.003", "0.005", "PARTIALLY_FILLED", True),
    ]
    assert [fill["n"] for fill in fills] == ["0.03299996", "0.04949994"]
    reply = await client.fapiPrivateDeleteOrder({"symbol": BTC, "orderId": fills[0]["i"]})
    assert (reply["status"], reply["executedQty"]) == ("CANCELED", "0.005")
    with pytest.raises(Exception, match="-2011"):
        await client.fapiPrivateDeleteOrder({"symbol": BTC, "orderId": fills[0]["i"]})


async def test_a_cancel_that_a_fill_outran(client: Any, market: ScriptedMarket) -> None:
    reply = await client.fapiPrivatePostOrder(post_only("82499.9"))
    market.set_book(BTC, [(82490, 1)], [("82499.9", 1)])
    with pytest.raises(Exception, match="-2011"):
        await client.fapiPrivateDeleteOrder({"symbol": BTC, "orderId": reply["orderId"]})
    row = await client.fapiPrivateGetOrder({"symbol": BTC, "orderId": reply["orderId"]})
    assert (row["status"], row["executedQty"]) == ("FILLED", "0.010")


async def test_the_race_lost_inside_the_matching_engine(exchange: PaperExchange, stream: Any, client: Any) -> None:  # noqa: F811
    """Accepted and answered NEW; a moment later EXPIRED, expiry reason 11."""
    await ask(exchange, "POST", "/paper/faults", kind="post-only-expired")
    reply = await client.fapiPrivatePostOrder(post_only("82499.9"))
    assert reply["status"] == "NEW"
    events = await read(stream, 2)
    assert [(event["o"]["x"], event["o"]["X"], event["o"]["er"]) for event in events] == [
        ("NEW", "NEW", "0"), ("EXPIRED", "EXPIRED", "11"),
    ]  # fmt: skip
    row = await client.fapiPrivateGetOrder({"symbol": BTC, "orderId": reply["orderId"]})
    assert (row["status"], row["executedQty"]) == ("EXPIRED", "0")
    assert (await client.fapiPrivatePostOrder(post_only("82499.9")))["status"] == "NEW", "one order, once"


async def test_the_dead_man_cancels_everybody_in_its_symbol_and_says_so(
    exchange: PaperExchange,
    stream: Any,  # noqa: F811
    client: Any,
) -> None:
    """Whoever placed them, by whatever kind of order; other symbols stay."""
    for order in (post_only("82499.9"), post_only("82400") | {"timeInForce": "GTC"}, post_only("2999", "0.1", ETH)):
        await client.fapiPrivatePostOrder(order)
    await read(stream, 3)
    await client.fapiPrivatePostCountdownCancelAll({"symbol": BTC, "countdownTime": 60_000})
    reply = await client.fapiPrivatePostCountdownCancelAll({"symbol": BTC, "countdownTime": 50})
    assert reply == {"symbol": BTC, "countdownTime": "50"}
    events = await read(stream, 2)
    assert [(event["o"]["s"], event["o"]["X"]) for event in events] == [(BTC, "CANCELED")] * 2
    assert [row["symbol"] for row in await client.fapiPrivateGetOpenOrders()] == [ETH]
    assert exchange.desk.books.portfolios["paper-key"].account.countdowns == {}, "it fires once"


async def test_the_dead_man_is_disarmed_and_never_fires(exchange: PaperExchange, client: Any) -> None:
    await client.fapiPrivatePostOrder(post_only("82499.9"))
    await client.fapiPrivatePostCountdownCancelAll({"symbol": BTC, "countdownTime": 60_000})
    await client.fapiPrivatePostCountdownCancelAll({"symbol": BTC, "countdownTime": 0})
    exchange.core.on_timer(exchange.clock.now_ms() + 120_000)
    assert len(await client.fapiPrivateGetOpenOrders()) == 1


@pytest.mark.parametrize("bad", [{}, {"countdownTime": "soon"}, {"countdownTime": "-5"}, {"symbol": "NOBODY"}])
async def test_a_countdown_that_makes_no_sense_is_refused(client: Any, bad: dict[str, str]) -> None:
    asked = {"symbol": BTC, "countdownTime": "1000"} if "symbol" in bad else {"symbol": BTC}
    with pytest.raises(Exception, match=r"-1102|-1130|-1121"):
        await client.fapiPrivatePostCountdownCancelAll(asked | bad)


async def test_it_costs_its_weight(exchange: PaperExchange, client: Any) -> None:
    await client.fapiPublicGetTime()
    before = int(client.last_response_headers["x-mbx-used-weight-1m"])
    await client.fapiPrivatePostCountdownCancelAll({"symbol": BTC, "countdownTime": 60_000})
    assert int(client.last_response_headers["x-mbx-used-weight-1m"]) == before + 10
