"""The allow-list of proofs that an order was not executed, against the exchange's own words."""

import json
from typing import Any

import pytest
from exchange_rig import ETH, adapted, answering, order, trading

from domain.orders import LegName
from domain.refusals import RefusalKind
from runner.exchange.binance.client import ExchangeReply
from runner.exchange.binance.codes import REFUSALS, RULES_DOUBTED, TABLE, is_refusal, kind_of, kind_of_code
from runner.exchange.binance.requests import send
from runner.exchange.errors import OutcomeUnknown

# HTTP status, code: whatever says "unknown", or is said by something that cannot know.
PROVES_NOTHING: list[tuple[int, int | None]] = [
    (503, -1000),  # "Unknown error": may have been executed.
    (503, None),  # Plain text is documented as failed, but a proxy says the same.
    (400, -1000),
    (200, -1000),
    (503, -1001),
    (400, -1001),
    (400, -1006),  # "Execution status unknown."
    (200, -1006),
    (408, -1007),  # "Send status unknown; execution status unknown."
    (400, -1007),
    (504, None),
    (502, None),
    (500, None),
    (403, None),  # The firewall's page.
    (404, None),
    (400, None),
    (200, None),  # A body that cannot be read.
    (400, -2011),
    (400, -2012),
    (400, -2013),  # An answer to a query, never to an order.
    (400, -4116),  # A duplicate id: an order of that name exists!
    (400, -1013),  # Explained for spot alone.
    (400, -2008),
    (400, -4028),
    (400, -5029),
    (400, -99999),  # Nobody has listed it.
    (503, -2019),  # The right code under a status that proves nothing.
    (500, -2010),
    (408, -2019),
    (503, -1003),
    (200, -2019),
]
# Written down a second time: a row that comes or goes must be a decision, for a wrong one loses an order or looks one up for ever.
REFUSED_400 = {
    -1003, -1014, -1015, -1020, -1021, -1022, -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1111, -1114, -1115,
    -1116, -1117, -1121, -1122, -1128, -1130, -1131, -1136, -2010, -2014, -2015, -2017, -2018, -2019, -2020, -2022, -2023, -2024,
    -2025, -2026, -2027, -2028, -4001, -4002, -4003, -4004, -4005, -4013, -4014, -4015, -4016, -4023, -4024, -4050, -4055,
    -4060, -4061, -4062, -4087, -4088, -4109, -4118, -4120, -4131, -4140, -4141, -4164, -4192, -4400, -4401, -4402, -4411, -5021,
    -5022, -5028,
}  # fmt: skip
PROVES_ABSENCE: list[tuple[int, int | None]] = [
    (400, -1021), (400, -5028), (400, -1022), (401, -2015), (401, -2014), (400, -1111), (400, -1121), (400, -2010), (400, -2018),
    (400, -2019), (400, -2022), (400, -2027), (400, -4003), (400, -4014), (400, -4023), (400, -4131), (400, -4164), (400, -4400),
    (400, -5021), (400, -5022), (400, -1003), (400, -1015), (429, None), (429, -1003), (429, -1015), (418, None), (418, -1003),
    (503, -1008), (400, -2020), (400, -2017), (401, -2017), (400, -4050), (400, -4402), (400, -4411),
]  # fmt: skip


def test_every_row_is_meant() -> None:
    elsewhere = {
        (401, -1002),
        (401, -2014),
        (401, -2015),
        (401, -2017),
        (429, None),
        (429, -1003),
        (429, -1015),
        (418, None),
        (418, -1003),
    }
    assert {(400, code) for code in REFUSED_400} | elsewhere | {(503, -1008)} == REFUSALS


@pytest.mark.parametrize(("status", "code"), PROVES_NOTHING)
def test_what_proves_nothing(status: int, code: int | None) -> None:
    assert not is_refusal(status, code)


@pytest.mark.parametrize(("status", "code"), PROVES_ABSENCE)
def test_what_proves_absence(status: int, code: int | None) -> None:
    assert is_refusal(status, code)


def test_the_statuses_of_the_list() -> None:
    """A refusal is the client's fault or a throttle in front of everything; of the server errors, one is documented as such."""
    assert {status for status, _ in REFUSALS} == {400, 401, 418, 429, 503}
    assert [code for status, code in REFUSALS if status == 503] == [-1008]
    assert {s for s, c in REFUSALS if c is None} == {418, 429}
    assert not any(code in {-1000, -1001, -1006, -1007} for _, code in REFUSALS)


def test_every_row_has_a_source_and_is_there_once() -> None:
    assert all(row.meaning and row.source and row.advice for row in TABLE)
    assert len({(row.http_status, row.code) for row in TABLE}) == len(TABLE)


def test_a_code_means_the_same_under_every_status() -> None:
    for row in TABLE:
        if row.code is not None:
            assert kind_of_code(row.code) is kind_of_code(str(row.code)) is row.kind


# What each code is about, written down a second time; the remedy of a close hangs on it.
K = RefusalKind
CODES_OF: dict[RefusalKind, set[int | None]] = {
    K.THROTTLED: {None, -1003, -1008, -1015},
    K.UNAVAILABLE: {-1000, -1001, -1006, -1007, -1016},
    K.CLOCK: {-1021, -5028},
    K.LIQUIDATION: {-2023},
    K.KEY: {-1002, -1022, -2008, -2014, -2015, -2017},
    K.ACCOUNT_MODE: {-4061},
    K.NOT_PERMITTED: {-4088, -4109, -4192, -4402, -4411},
    K.UNSUPPORTED_TYPE: {-1014, -1116},
    K.NO_PRICE_IN_BAND: {-4131},
    K.NOT_FILLABLE: {-2020, -5021},
    K.WOULD_TAKE: {-5022},
    K.OFF_STEP: {-1111, -4003, -4023},
    K.OFF_TICK: {-4014},
    K.FILTER: {-1013},
    K.NOT_TRADING: {-1121, -1122, -4141},
    K.INSUFFICIENT_MARGIN: {-2018, -2019, -2028, -4050},
    K.POSITION_LIMIT: {-2027},
    K.TOO_LARGE: {-4005},
    K.TOO_SMALL: {-4004, -4164},
    K.PRICE_BAND: {-4001, -4002, -4013, -4016, -4024},
    K.REDUCE_ONLY_REJECTED: {-2022, -2024, -2026, -4062, -4118},
    K.REDUCE_ONLY_REQUIRED: {-4087, -4140, -4400, -4401},
    K.TOO_MANY_OPEN_ORDERS: {-2025},
    K.REJECTED: {-2010},
    K.MALFORMED: {
        -1020, -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1114, -1115, -1117, -1128, -1130, -1131, -1136, -4015,
        -4055, -4060, -4120,
    },
    K.NO_SUCH_ORDER: {-2011, -2013},
    K.DUPLICATE_ID: {-4116},
    K.LEVERAGE_INVALID: {-4028},
    K.NO_CHANGE: {-4046, -4059},
    K.HAS_ORDERS: {-4047},
    K.HAS_POSITION: {-4048},
    K.SESSION_EXPIRED: {-1125},
}  # fmt: skip
DOUBTS = {-1013, -1111, -1121, -1122, -2027, -4003, -4004, -4005, -4014, -4023, -4028, -4140, -4141, -4164}


def test_every_code_is_about_what_was_decided() -> None:
    believed = {row.code: kind_of(row.http_status, row.code) for row in TABLE}
    assert believed == {code: kind for kind, codes in CODES_OF.items() for code in codes}
    assert believed == {row.code: row.kind for row in TABLE}
    assert DOUBTS == RULES_DOUBTED


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, -2019, K.INSUFFICIENT_MARGIN),  # No proof under this status, and no secret what it is about.
        (200, -1125, K.SESSION_EXPIRED),
        (400, -99999, K.UNLISTED),
        (500, -2019, None),  # Not believed.
        (503, -2013, None),
        (403, None, None),
        (503, None, None),
    ],
)
def test_what_an_answer_is_about_though_no_row_lists_it(
    status: int, code: int | None, kind: RefusalKind | None
) -> None:
    assert kind_of(status, code) is kind


# What the wire brings for two orders, tdm-1 (XRP) and tdm-2 (ETH) -> what we believe of each: filled, refused or unknown.
def _row(name: str, symbol: str, order_id: int) -> dict[str, Any]:
    return {
        "orderId": order_id, "clientOrderId": name, "symbol": symbol, "status": "FILLED", "executedQty": "20", "updateTime": 1,
    }  # fmt: skip


ONE, TWO = _row("tdm-1", "XRPUSDT", 11), _row("tdm-2", "ETHUSDT", 12)
NO, WHO_KNOWS = {"code": -2019, "msg": "Margin is insufficient."}, {"code": -1007, "msg": "Send status unknown"}
F, R, U = "OrderReport", "Refused", "OutcomeUnknown"
BATCHES: list[tuple[str, int, Any, tuple[str, str]]] = [
    ("both filled", 200, [ONE, TWO], (F, F)),
    ("one refused", 200, [ONE, NO], (F, R)),
    ("the other refused", 200, [NO, TWO], (R, F)),
    ("one unknown", 200, [WHO_KNOWS, TWO], (U, F)),
    ("a code nobody listed", 200, [ONE, {"code": -9999, "msg": "?"}], (F, U)),
    ("a duplicate id: it exists", 200, [ONE, {"code": -4116, "msg": "ClientOrderId is duplicated."}], (F, U)),
    ("shorter than sent", 200, [ONE], (U, U)),
    ("longer than sent", 200, [ONE, TWO, TWO], (U, U)),
    ("empty", 200, [], (U, U)),
    ("null beside a report", 200, [None, TWO], (U, F)),
    ("the first one twice", 200, [ONE, ONE], (F, U)),
    ("swapped", 200, [TWO, ONE], (U, U)),
    ("swapped, and one refused: whose refusal?", 200, [NO, ONE], (U, U)),
    ("somebody else's", 200, [_row("tdm-9", "XRPUSDT", 99), TWO], (U, F)),
    ("without a name", 200, [{k: v for k, v in ONE.items() if k != "clientOrderId"}, TWO], (U, F)),
    ("a status nobody knows", 200, [{**ONE, "status": "PENDING_HEAVEN"}, TWO], (U, F)),
    ("not a list", 200, ONE, (U, U)),
    ("one error for both", 400, NO, (R, R)),
    ("outside the window", 400, {"code": -1021, "msg": "Timestamp"}, (R, R)),
    ("the throttle", 503, {"code": -1008, "msg": "Request throttled"}, (R, R)),
    ("an internal error", 503, {"code": -1001, "msg": "Internal error"}, (U, U)),
    ("unknown error", 503, {"code": -1000, "msg": "Unknown error"}, (U, U)),
    ("unknown by its own words", 408, {"code": -1007, "msg": "Send status unknown"}, (U, U)),
    ("a refusal's code under a 5xx", 502, NO, (U, U)),
    ("the firewall's page", 403, "<html>Forbidden</html>", (U, U)),
    ("plain 503", 503, "Service Unavailable.", (U, U)),
    ("a gateway's 504", 504, "<html>Gateway Time-out</html>", (U, U)),
    ("an empty 200", 200, "", (U, U)),
    ("half a body", 200, '[{"orderId": 11, "clientOr', (U, U)),
    ("an empty 500", 500, "", (U, U)),
]


@pytest.mark.parametrize(("name", "status", "body", "believed"), BATCHES, ids=[batch[0] for batch in BATCHES])
async def test_what_a_batch_reply_says_of_each_order(
    name: str, status: int, body: Any, believed: tuple[str, str]
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    async with trading() as (_, listed), answering(text, status) as url, adapted(url, load=False) as rig:
        rig.adapter._rules = listed.rules  # The contracts are known; only the order's reply is strange.
        answers = await rig.adapter.place([order("tdm-1"), order("tdm-2", symbol=ETH, leg=LegName.B)])
    assert tuple(type(answer).__name__ for answer in answers) == believed, name


@pytest.mark.parametrize(
    ("status", "code", "believed"), [(400, -2013, -2013), (400, -2011, -2011), (503, -2013, None), (500, -2011, None)]
)
async def test_a_code_under_a_server_error_is_not_believed(status: int, code: int, believed: int | None) -> None:
    """Else "no such order" from a proxy that is down would pass for an absence."""

    async def answered() -> None:
        raise ExchangeReply(status, code, "Order does not exist.")

    with pytest.raises(OutcomeUnknown) as outcome:
        await send("order query", answered, timeout_seconds=5)
    assert outcome.value.code == believed
