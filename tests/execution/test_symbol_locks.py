"""Symbol locks: no two holders, urgent first, nothing leaks when a waiter is cancelled, disjoint pairs side by side."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.symbols import Symbol
from runner.execution.symbol_locks import SymbolLocks, Urgency

A, B, C, D = (Symbol(name) for name in "ABCD")
SYMBOLS = (A, B, C, D)

# Symbols, urgency (None: an entry, which never waits), turns of the loop it holds them, cancelled after so many turns or never.
WANTS = st.lists(
    st.tuples(
        st.sets(st.sampled_from(SYMBOLS), min_size=1, max_size=3),
        st.sampled_from((None, *Urgency)),
        st.integers(0, 5),
        st.one_of(st.none(), st.integers(0, 12)),
        st.integers(0, 6),
    ),
    max_size=25,
)


class Watch:
    """Fails when two hold one symbol, or when somebody is served before a more urgent waiter who could have been."""

    def __init__(self) -> None:
        self.locks = SymbolLocks()
        self.holding: dict[int, set[Symbol]] = {}
        self.waiting: dict[int, tuple[Urgency, set[Symbol], int]] = {}
        self.turn = 0
        self.served = 0

    def enter(self, number: int, symbols: set[Symbol], urgency: Urgency | None) -> None:
        for other in self.holding.values():
            assert not other & symbols, "two holders"
        self.waiting.pop(number, None)
        for other, wanted, since in self.waiting.values():
            # Served in one turn of the loop, it runs in the next: whoever asked in between came too late.
            overtaken = wanted & symbols and (urgency is None or other < urgency) and since < self.turn - 1
            assert not overtaken, "overtook a more urgent waiter"
        self.holding[number] = symbols
        self.served += 1

    async def client(
        self, number: int, symbols: set[Symbol], urgency: Urgency | None, turns: int, starts_after: int
    ) -> None:
        for _ in range(starts_after):
            await asyncio.sleep(0)
        try:
            if urgency is None:
                with self.locks.hold_now(symbols) as held:
                    if held:
                        self.enter(number, symbols, None)
                        await self.stay(number, turns)
                return
            self.waiting[number] = (urgency, symbols, self.turn)
            async with self.locks.hold(symbols, urgency):
                self.enter(number, symbols, urgency)
                await self.stay(number, turns)
        finally:
            self.waiting.pop(number, None)

    async def stay(self, number: int, turns: int) -> None:
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
        finally:
            del self.holding[number]


@settings(max_examples=500, deadline=None)
@given(WANTS)
def test_random_pairs_come_and_go(
    wants: list[tuple[set[Symbol], Urgency | None, int, int | None, int]],
) -> None:
    """Whoever waits is served in the end, cancelled waiters and holders leave nothing behind."""

    async def story() -> None:
        watch = Watch()
        tasks = [
            asyncio.create_task(watch.client(number, symbols, urgency, turns, start))
            for number, (symbols, urgency, turns, _, start) in enumerate(wants)
        ]
        for turn in range(60):
            watch.turn = turn
            for number, (*_, cancelled_after, _start) in enumerate(wants):
                if cancelled_after == turn:
                    tasks[number].cancel()
                    watch.waiting.pop(number, None)  # It wants nothing any more, though it has not run since.
            await asyncio.sleep(0)
        watch.turn = 0  # Nobody new comes.
        async with asyncio.timeout(5):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [r for r in results if r is not None and not isinstance(r, asyncio.CancelledError)] == []
        assert not watch.locks.busy(SYMBOLS), "a lock leaked"
        if not any(cancelled is not None for *_, cancelled, _start in wants):
            assert watch.served >= sum(urgency is not None for _, urgency, *_ in wants)

    asyncio.run(story())


class Holders:
    """Tasks that hold symbols until they are told to let go."""

    def __init__(self) -> None:
        self.locks = SymbolLocks()
        self.served: list[str] = []
        self.lets_go: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, symbols: set[Symbol], urgency: Urgency) -> None:
        self.lets_go[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, symbols, urgency))
        await turns()

    async def _hold(self, name: str, symbols: set[Symbol], urgency: Urgency) -> None:
        async with self.locks.hold(symbols, urgency):
            self.served.append(name)
            await self.lets_go[name].wait()

    async def let_go(self, name: str) -> None:
        self.lets_go[name].set()
        await turns()

    async def end(self) -> None:
        for name in self.tasks:
            self.lets_go[name].set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        assert not self.locks.busy(SYMBOLS)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_urgent_go_first() -> None:
    """Asked for in the order check, exit, unwind; served the other way round; equals by arrival."""
    holders = Holders()
    await holders.ask("first", {A, B}, Urgency.EXIT)
    for name, urgency in (("check", Urgency.CHECK), ("exit", Urgency.EXIT), ("unwind", Urgency.UNWIND)):
        await holders.ask(name, {A}, urgency)
    await holders.ask("later unwind", {A, C}, Urgency.UNWIND)
    for name in ("first", "unwind", "later unwind", "exit"):
        assert holders.served[-1] == name
        await holders.let_go(name)
    assert holders.served == ["first", "unwind", "later unwind", "exit", "check"]
    await holders.end()


async def test_pairs_without_a_common_symbol_do_not_wait_for_each_other() -> None:
    holders = Holders()
    await holders.ask("ab", {A, B}, Urgency.EXIT)
    await holders.ask("cd", {C, D}, Urgency.CHECK)
    assert holders.served == ["ab", "cd"]
    await holders.end()


async def test_who_waits_for_two_symbols_holds_neither() -> None:
    """B is free while (a, b) waits for a; but whoever comes later for b may not slip in before it, an entry included."""
    holders = Holders()
    await holders.ask("a", {A}, Urgency.EXIT)
    await holders.ask("ab", {A, B}, Urgency.EXIT)
    await holders.ask("c", {C}, Urgency.CHECK)
    await holders.ask("b", {B}, Urgency.CHECK)
    with holders.locks.hold_now({B}) as held:
        assert not held
    assert holders.served == ["a", "c"]
    await holders.ask("urgent b", {B}, Urgency.UNWIND)
    assert holders.served == ["a", "c", "urgent b"], (
        "a lone leg does not queue behind an exit that waits for another symbol"
    )
    await holders.let_go("urgent b")
    await holders.let_go("a")
    assert holders.served[-1] == "ab"
    await holders.end()


async def test_a_cancelled_waiter_frees_those_behind_it() -> None:
    holders = Holders()
    await holders.ask("a", {A}, Urgency.EXIT)
    await holders.ask("ab", {A, B}, Urgency.EXIT)
    await holders.ask("b", {B}, Urgency.EXIT)
    assert holders.served == ["a"]
    holders.tasks["ab"].cancel()
    await turns()
    assert holders.served == ["a", "b"]
    await holders.end()


async def test_cancelled_in_the_moment_of_being_served() -> None:
    """The lock was granted and the task had not run yet."""
    holders = Holders()
    await holders.ask("a", {A}, Urgency.EXIT)
    await holders.ask("next", {A}, Urgency.EXIT)
    holders.lets_go["a"].set()
    await asyncio.sleep(0)  # The holder has let go; the next one is served and has not run.
    holders.tasks["next"].cancel()
    await turns()
    assert not holders.locks.busy({A})
    await holders.end()


@pytest.mark.parametrize(
    ("urgency", "is_wanted"), [(Urgency.UNWIND, True), (Urgency.EXIT, True), (Urgency.CHECK, False)]
)
async def test_a_holder_can_see_that_a_closing_trade_waits(urgency: Urgency, is_wanted: bool) -> None:
    holders = Holders()
    await holders.ask("resting", {A, B}, Urgency.EXIT)
    await holders.ask("other", {B, C}, urgency)
    assert holders.locks.wanted({A, B}) is is_wanted
    assert not holders.locks.wanted({D})
    await holders.end()
