"""What a closing leg does after each refusal: stories told as rows of codes, and facts about any history."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.escalation import (
    CALLS_AT_ONCE,
    LADDER_STEPS_MAX,
    REMEDIES,
    WAITS_BEFORE_CALL,
    Attempt,
    Escalation,
    Remedy,
    escalate,
    escalation_of,
    remedy_of,
)
from domain.orders import OrderStatus, OrderType
from domain.refusals import ADVICE, RefusalKind
from runner.exchange.binance.codes import KINDS, kind_of

D = Decimal
R = Remedy


def refused(code: int, order_type: OrderType = OrderType.MARKET, quantity: str = "100") -> Attempt:
    return Attempt(
        order_type=order_type, quantity=D(quantity), filled=D(0), status=OrderStatus.REFUSED, kind=kind_of(400, code)
    )


def ended(
    status: OrderStatus, filled: str = "0", order_type: OrderType = OrderType.MARKET, code: int | None = None
) -> Attempt:
    kind = None if code is None else kind_of(400, code)
    return Attempt(order_type=order_type, quantity=D(100), filled=D(filled), status=status, kind=kind)


# The exchange's answer -> what the next order is. Stated from the exchange's documentation, not read from the table.
ANSWERS = [
    (refused(-4131), R.LADDER),
    (refused(-4016), R.STEP_BACK),
    (refused(-4024), R.STEP_BACK),
    (refused(-4005), R.SMALLER),
    (refused(-2027), R.SMALLER),
    (refused(-2019), R.SMALLER),
    (refused(-2018), R.SMALLER),
    (refused(-2022), R.PLAIN),
    (refused(-4118), R.PLAIN),
    (refused(-4062), R.PLAIN),
    (refused(-1008), R.WAIT),
    (refused(-1021), R.WAIT),
    (refused(-1015), R.WAIT),
    (refused(-4164), R.ENLARGE),
    (refused(-4004), R.ENLARGE),
    (refused(-1111), R.ROUND),
    (refused(-4023), R.ROUND),
    (refused(-4400), R.REDUCE),
    (refused(-4401), R.REDUCE),
    (refused(-4087), R.REDUCE),
    (refused(-4140), R.REDUCE),
    (refused(-1122), R.HALTED),
    (refused(-4141), R.HALTED),
    (refused(-2015), R.PERSON),
    (refused(-98765), R.RETRY),  # Nobody has listed it.
    (ended(OrderStatus.REFUSED), R.RETRY),  # Refused without a code.
    (ended(OrderStatus.EXPIRED), R.LADDER),  # A market order that found no counterparty inside its bound.
    (ended(OrderStatus.CANCELLED), R.RETRY),
    (ended(OrderStatus.DEAD), R.WAIT),
    (refused(-4050), R.SMALLER),
    (refused(-2020), R.LADDER),
    (refused(-2017), R.PERSON),
    (refused(-4402), R.PERSON),
    (refused(-4411), R.PERSON),
    # Looked up and proven absent; what had been said before is the reason, though it was no proof.
    (ended(OrderStatus.DEAD, code=-1013), R.ROUND),
    (ended(OrderStatus.DEAD, code=-1001), R.WAIT),
    (ended(OrderStatus.DEAD, code=-1007), R.WAIT),
    (ended(OrderStatus.DEAD, code=-98765), R.RETRY),
]


@pytest.mark.parametrize(("attempt", "remedy"), ANSWERS)
def test_every_answer_has_its_remedy(attempt: Attempt, remedy: Remedy) -> None:
    assert remedy_of(attempt) is remedy
    assert escalate(Escalation(), attempt).remedy is remedy


def test_the_ladder_goes_up_rung_by_rung_and_round() -> None:
    state = Escalation()
    steps = []
    for _ in range(LADDER_STEPS_MAX + 2):
        state = escalate(state, ended(OrderStatus.EXPIRED))
        steps.append(state.ladder_step)
    assert steps == [*range(1, LADDER_STEPS_MAX + 1), 0, 1]
    assert escalate(Escalation(ladder_step=3, failures=3), refused(-4016)).ladder_step == 2
    assert escalate(Escalation(), refused(-4016)).ladder_step == 0


def test_a_partial_fill_keeps_the_rung_and_forgets_the_failures() -> None:
    state = escalation_of([refused(-4131), refused(-4131), ended(OrderStatus.EXPIRED, "30", OrderType.LIMIT)])
    assert (state.failures, state.waits, state.remedy, state.ladder_step) == (0, 0, None, 2)


def test_pieces_halve_until_one_is_taken_then_grow() -> None:
    state = escalation_of([refused(-2027), refused(-2027, quantity="50")])
    assert state.quantity_max == 25
    taken = Attempt(order_type=OrderType.MARKET, quantity=D(25), filled=D(25), status=OrderStatus.FILLED)
    assert escalate(state, taken).quantity_max == 50


def test_overload_is_no_failure_but_ends_in_a_call() -> None:
    state = escalation_of([refused(-1008)] * (WAITS_BEFORE_CALL - 1))
    assert (state.failures, state.calls(3)) == (0, False)
    assert escalate(state, refused(-1008)).calls(3)


@pytest.mark.parametrize("remedy", sorted(CALLS_AT_ONCE))
def test_what_no_order_can_correct_calls_a_person_at_once(remedy: Remedy) -> None:
    kind = next(kind for kind, listed in REMEDIES.items() if listed is remedy)
    attempt = msgspec.structs.replace(ended(OrderStatus.REFUSED), kind=kind)
    assert escalate(Escalation(), attempt).calls(20)


ATTEMPTS = st.builds(
    Attempt,
    order_type=st.sampled_from(OrderType),
    quantity=st.integers(1, 10**6).map(D),
    filled=st.sampled_from([D(0), D(0), D(1)]),
    status=st.sampled_from([OrderStatus.REFUSED, OrderStatus.EXPIRED, OrderStatus.DEAD, OrderStatus.CANCELLED]),
    kind=st.one_of(st.none(), st.sampled_from(RefusalKind)),
)


@given(st.lists(ATTEMPTS, max_size=60))
def test_any_history_has_a_next_order(history: list[Attempt]) -> None:
    """Never an exception, never a negative counter, a bounded pause; a fill wipes the failures away."""
    state = escalation_of(history)
    assert 0 <= state.ladder_step <= LADDER_STEPS_MAX
    assert 0.0 <= state.pause_seconds <= 10.0
    since = 0
    for attempt in history:
        since = 0 if attempt.filled > 0 else since + (remedy_of(attempt) is not Remedy.WAIT)
    assert state.failures == since
    if history and history[-1].filled > 0:
        assert (state.remedy, state.pause_seconds) == (None, 0.0)


@given(st.lists(ATTEMPTS, max_size=30), st.lists(ATTEMPTS, max_size=30))
def test_a_restart_in_the_middle_changes_nothing(before: list[Attempt], after: list[Attempt]) -> None:
    resumed = escalation_of(before)
    for attempt in after:
        resumed = escalate(resumed, attempt)
    assert resumed == escalation_of(before + after)


# The whole table the other way round, by what the next order is.
K = RefusalKind
KINDS_OF = {
    R.WAIT: {K.THROTTLED, K.UNAVAILABLE, K.CLOCK, K.LIQUIDATION},
    R.PERSON: {K.KEY, K.ACCOUNT_MODE, K.NOT_PERMITTED},
    R.LADDER: {K.UNSUPPORTED_TYPE, K.NO_PRICE_IN_BAND, K.NOT_FILLABLE},
    R.ROUND: {K.OFF_STEP, K.OFF_TICK, K.FILTER},
    R.HALTED: {K.NOT_TRADING},
    R.SMALLER: {K.INSUFFICIENT_MARGIN, K.POSITION_LIMIT, K.TOO_LARGE},
    R.PLAIN: {K.REDUCE_ONLY_REJECTED},
    R.STEP_BACK: {K.PRICE_BAND},
    R.ENLARGE: {K.TOO_SMALL},
    R.REDUCE: {K.REDUCE_ONLY_REQUIRED},
    R.RETRY: {
        K.TOO_MANY_OPEN_ORDERS, K.WOULD_TAKE, K.REJECTED, K.MALFORMED, K.NO_SUCH_ORDER, K.DUPLICATE_ID,
        K.LEVERAGE_INVALID, K.NO_CHANGE, K.HAS_ORDERS, K.HAS_POSITION, K.SESSION_EXPIRED, K.UNLISTED,
    },
}  # fmt: skip


def test_every_kind_has_the_remedy_that_was_chosen_for_it() -> None:
    assert {kind: remedy for remedy, kinds in KINDS_OF.items() for kind in kinds} == REMEDIES
    assert set(REMEDIES) == set(ADVICE) == set(RefusalKind)


def test_every_remedy_is_reached_from_a_code_of_the_exchange_and_every_kind_has_one() -> None:
    assert {REMEDIES[kind] for kind in KINDS.values()} == set(Remedy)
    assert set(KINDS.values()) == set(RefusalKind) - {RefusalKind.UNLISTED}
