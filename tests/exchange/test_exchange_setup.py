"""What the account is set to before the first order: replies prove nothing, the reading afterwards does."""

import pytest
from exchange_rig import ETH, XRP, D, fault, order, trading

from domain.errors import ConfigError
from domain.orders import OrderReport, TimeInForce
from runner.exchange.errors import ExchangeError

LEVERAGE, MARGIN = "/fapi/v1/leverage", "/fapi/v1/marginType"


async def test_everything_is_set_once_and_then_left_alone() -> None:
    async with trading() as (exchange, rig):
        await rig.client.fapiPrivatePostMarginType({"symbol": "XRPUSDT", "marginType": "ISOLATED"})
        assert await rig.adapter.prepare([XRP, ETH], 3) == {}
        account = exchange.desk.books.portfolios["paper-key"].account
        assert account.leverages == {"XRPUSDT": 3, "ETHUSDT": 3}
        assert account.isolated == set()
        fault(exchange, "lost-503", count=None, path=LEVERAGE, method="POST")
        assert await rig.adapter.prepare([XRP, ETH], 3) == {}, "nothing had to be changed, so nothing was asked"


# What the exchange does with the change -> whether the symbol may be entered. The reading decides, not the reply.
REPLIES: list[tuple[str, str, bool]] = [
    ("executed-503", LEVERAGE, True),  # Done, and the reply was lost.
    ("executed-408", LEVERAGE, True),
    ("executed-garbage", LEVERAGE, True),
    ("executed-503", MARGIN, True),
    ("lost-503", LEVERAGE, False),
    ("lost-503", MARGIN, False),
    ("lost-408", MARGIN, False),
]


@pytest.mark.parametrize(("kind", "path", "prepared"), REPLIES)
async def test_the_reading_decides(kind: str, path: str, *, prepared: bool) -> None:
    async with trading() as (exchange, rig):
        await rig.client.fapiPrivatePostMarginType({"symbol": "XRPUSDT", "marginType": "ISOLATED"})
        fault(exchange, kind, path=path, method="POST")
        problems = await rig.adapter.prepare([XRP, ETH], 3)
        assert (problems == {}) is prepared
        assert ETH not in problems or path == LEVERAGE
        assert await rig.adapter.prepare([XRP, ETH], 3) == {}, "the next try corrects it"


async def test_isolated_margin_with_a_position_keeps_that_symbol_out() -> None:
    """-4048: not for us to close what is not ours; the other symbol is prepared all the same."""
    async with trading() as (_, rig):
        await rig.client.fapiPrivatePostMarginType({"symbol": "XRPUSDT", "marginType": "ISOLATED"})
        await rig.adapter.place([order("web-1")])
        problems = await rig.adapter.prepare([XRP, ETH], 3)
        assert set(problems) == {XRP}
        assert (refusal := problems[XRP].refusal) is not None
        assert refusal.code == "-4048"
        assert "isolated margin and a position" in problems[XRP].why


async def test_isolated_margin_with_a_resting_order_keeps_that_symbol_out_until_it_is_gone() -> None:
    async with trading() as (_, rig):
        await rig.client.fapiPrivatePostMarginType({"symbol": "XRPUSDT", "marginType": "ISOLATED"})
        resting = order("web-2", limit_price=D("0.49"), time_in_force=TimeInForce.GTC)
        (answer,) = await rig.adapter.place([resting])
        assert isinstance(answer, OrderReport)
        problems = await rig.adapter.prepare([XRP], 3)
        assert (refusal := problems[XRP].refusal) is not None
        assert refusal.code == "-4047"
        assert "an open order" in problems[XRP].why
        await rig.adapter.cancel(XRP, resting.client_order_id)
        assert await rig.adapter.prepare([XRP], 3) == {}


async def test_cross_margin_with_a_position_is_fine() -> None:
    async with trading() as (_, rig):
        await rig.adapter.place([order("web-3")])
        assert await rig.adapter.prepare([XRP], 3) == {}


async def test_multi_assets_mode_is_refused_with_the_remedy() -> None:
    async with trading() as (_, rig):
        await rig.client.fapiPrivatePostMultiAssetsMargin({"multiAssetsMargin": "true"})
        with pytest.raises(ConfigError, match="single-asset mode"):
            await rig.adapter.prepare([XRP], 3)
        await rig.client.fapiPrivatePostMultiAssetsMargin({"multiAssetsMargin": "false"})
        assert await rig.adapter.prepare([XRP], 3) == {}


async def test_a_dry_run_looks_and_changes_nothing() -> None:
    async with trading() as (exchange, rig):
        assert await rig.adapter.prepare([XRP], 3, may_change=False) == {}
        assert exchange.desk.books.portfolios["paper-key"].account.leverages == {}
        await rig.client.fapiPrivatePostPositionSideDual({"dualSidePosition": "true"})
        with pytest.raises(ConfigError, match="hedge mode"):
            await rig.adapter.prepare([XRP], 3, may_change=False)


async def test_what_cannot_be_read_back_is_not_believed() -> None:
    async with trading() as (exchange, rig):
        fault(exchange, "lost-503", count=None, path="/fapi/v1/symbolConfig", method="GET")
        with pytest.raises(ExchangeError):
            await rig.adapter.prepare([XRP], 3)
