"""What a closing leg does after each refusal: stories told as rows of codes, and facts about any history."""

from decimal import Decimal

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
from runner.exchange.binance.codes import REFUSALS

D = Decimal
R = Remedy


def refused(code: int, order_type: OrderType = OrderType.MARKET, quantity: str = "100") -> Attempt:
    return Attempt(order_type=order_type, quantity=D(quantity), filled=D(0), status=OrderStatus.REFUSED, code=code)


def ended(status: OrderStatus, filled: str = "0", order_type: OrderType = OrderType.MARKET) -> Attempt:
    return Attempt(order_type=order_type, quantity=D(100), filled=D(filled), status=status)


# The venue's answer -> what the next order is. Stated from the exchange's documentation, not read from the table.
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
    (refused(-98765), R.PRESS),  # Nobody has listed it.
    (ended(OrderStatus.REFUSED), R.PRESS),  # Refused without a code.
    (ended(OrderStatus.EXPIRED), R.LADDER),  # A market order that met nobody inside its bound.
    (ended(OrderStatus.CANCELLED), R.PRESS),
    (ended(OrderStatus.DEAD), R.WAIT),
]


@pytest.mark.parametrize(("attempt", "remedy"), ANSWERS)
def test_every_answer_has_its_remedy(attempt: Attempt, remedy: Remedy) -> None:
    assert remedy_of(attempt) is remedy
    assert escalate(Escalation(), attempt).remedy is remedy


def test_the_codes_that_refuse_an_order_for_its_own_sake_are_all_thought_of() -> None:
    """Codes of malformed requests are bugs of ours: they are pressed on with, and page."""
    malformed = {
        -1020,
        -1100,
        -1101,
        -1102,
        -1103,
        -1104,
        -1105,
        -1106,
        -1114,
        -1115,
        -1117,
        -1128,
        -1130,
        -1131,
        -1136,
    }
    entries_only = {-2010, -4015, -4055, -4060, -4120, -5022}
    codes = {code for _, code in REFUSALS if code is not None}
    assert codes - malformed - entries_only - set(REMEDIES) == set()


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
def test_what_no_order_can_mend_calls_a_person_at_once(remedy: Remedy) -> None:
    code = next(code for code, listed in REMEDIES.items() if listed is remedy)
    assert escalate(Escalation(), refused(code)).calls(20)


ATTEMPTS = st.builds(
    Attempt,
    order_type=st.sampled_from(OrderType),
    quantity=st.integers(1, 10**6).map(D),
    filled=st.sampled_from([D(0), D(0), D(1)]),
    status=st.sampled_from([OrderStatus.REFUSED, OrderStatus.EXPIRED, OrderStatus.DEAD, OrderStatus.CANCELLED]),
    code=st.one_of(st.none(), st.sampled_from(sorted(REMEDIES)), st.integers(-9999, 0)),
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
CODES_OF = {
    R.WAIT: {-1001, -1003, -1008, -1015, -1021, -5028, -2023},
    R.PERSON: {-1002, -1022, -2014, -2015, -4061, -4088, -4109, -4192},
    R.LADDER: {-1014, -1116, -4131, -5021},
    R.ROUND: {-1111, -1013, -4003, -4014, -4023},
    R.HALTED: {-1121, -1122, -4141},
    R.SMALLER: {-2018, -2019, -2027, -2028, -4005, -4050},
    R.PLAIN: {-2022, -2024, -2026, -4062, -4118},
    R.PRESS: {-2025},
    R.STEP_BACK: {-4001, -4002, -4013, -4016, -4024},
    R.ENLARGE: {-4004, -4164},
    R.REDUCE: {-4087, -4140, -4400, -4401},
}


def test_every_code_has_the_remedy_that_was_chosen_for_it() -> None:
    assert {code: remedy for remedy, codes in CODES_OF.items() for code in codes} == REMEDIES
