"""The allow-list of proofs that an order was not executed, against the exchange's own words."""

import pytest

from runner.exchange.refusals import REFUSALS, is_refusal

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
    (400, -2020),
    (400, -4116),  # A duplicate id: an order of that name exists!
    (400, -1013),
    (400, -5029),
    (400, -99999),  # Nobody has listed it.
    (503, -2019),  # The right code under a status that proves nothing.
    (500, -2010),
    (408, -2019),
    (503, -1003),
    (200, -2019),
]
PROVES_ABSENCE: list[tuple[int, int | None]] = [
    (400, -1021), (400, -5028), (400, -1022), (401, -2015), (401, -2014), (400, -1111), (400, -1121), (400, -2010), (400, -2018),
    (400, -2019), (400, -2022), (400, -2027), (400, -4003), (400, -4014), (400, -4023), (400, -4131), (400, -4164), (400, -4400),
    (400, -5021), (400, -5022), (400, -1003), (400, -1015), (429, None), (429, -1003), (429, -1015), (418, None), (418, -1003),
    (503, -1008),
]  # fmt: skip


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
