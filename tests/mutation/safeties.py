"""Changes written by hand: journal before act, proof before belief, locks, and every other promise of execution."""

from dataclasses import replace

from mutants import Mutant

SEEDS = "tests/simulation/test_simulation_seeds.py"
FACTS, GHOST = "tests/execution/test_trade_store.py", "tests/execution/test_ghost_orders.py"
UNEQUAL = "tests/execution/test_execution_unequal.py"
SHORT = "tests/simulation/test_simulation_stories.py"
RESTING = "tests/simulation/test_simulation_resting.py"
STORE, TRACKER = "runner/execution/orders/store.py", "runner/execution/orders/tracker.py"
ENGINE, LIFECYCLE = "runner/execution/engine.py", "runner/execution/lifecycle.py"
OPENING, CLOSING, PIECES = "runner/execution/entry/saga.py", "runner/execution/exit/saga.py", "domain/pieces.py"
ATTRIBUTION, WHO = "domain/attribution.py", "tests/domain/test_attribution.py"
LOCKS, VENUE, BUDGET = (
    "runner/execution/symbol_locks.py",
    "runner/exchange/binance/exchange.py",
    "runner/exchange/binance/budget.py",
)


def _m(group: str, name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name=name, group=group, file=file, old=old, new=new, tests=tests or (SEEDS, SHORT))


JOURNAL: tuple[Mutant, ...] = (
    _m(
        "journal before act", "an intent is believed and sent before it is durable", STORE, "        await self._journal.append(*entries)\n        for entry in entries:\n            self._book.apply(entry)\n", "        for entry in entries:\n            self._book.apply(entry)\n"
        "        self._late = asyncio.ensure_future(self._journal.append(*entries))\n", FACTS, SHORT,
    ),
    _m(
        "journal before act", "what became of an order is believed and never journaled", STORE,
        "        await self._journal.append(entry)\n", "", SHORT, SEEDS,
    ),
    _m(
        "journal before act", "what became of a trade is believed and never journaled", STORE,
        "            self._book.apply(entry)\n        await self._journal.append(*entries)\n\n    def note",
        "            self._book.apply(entry)\n\n    def note", SHORT, SEEDS,
    ),
    _m(
        "journal before act", "an execution told twice is booked twice", STORE, "        if self._book.knows_fill(fill):\n            return\n", "", FACTS,
    ),
    _m(
        "journal before act", "a second intent with the same key is written over", "storage/entries_file.py",
        "INSERT INTO", "INSERT OR IGNORE INTO", "tests/storage/test_storage_journal.py",
    ),
    _m(
        "journal before act", "waiters are woken before the commit", "storage/journal.py",
        "                    self._write(connection, batch, identity)\n                    self._wake_waiters(batch)\n",
        "                    self._wake_waiters(batch)\n                    self._write(connection, batch, identity)\n",
        "tests/storage/test_storage_journal.py", "tests/storage/test_storage_kill.py",
    ),
)  # fmt: skip

GHOSTS: tuple[Mutant, ...] = (
    _m(
        "unknown is a state", "an outcome that is unknown counts as refused", STORE, "            await self._advance(order, OrderChange.OUTCOME_UNKNOWN, source, failure.why, refusal=failure.refusal)", "            await self._advance(order, OrderChange.REFUSED, source, failure.why)", FACTS,
    ),
    _m(
        "unknown is a state", "the first 'does not exist' is proof", "domain/order_resolution.py",
        "    if seen.past_bound_ms <= 0:\n        return Resolution.TOO_EARLY\n", "", "tests/domain/test_order_resolution.py",
    ),
    _m(
        "unknown is a state", "one look after the bound is enough", "domain/order_resolution.py",
        "    if seen.absences < LOOKS_MIN or seen.absent_for_ms < SETTLE_MS:\n        return Resolution.LOOK_AGAIN\n", "",
        "tests/domain/test_order_resolution.py",
    ),
    _m(
        "unknown is a state", "a question that was not answered is an absence", "domain/order_resolution.py",
        "    if seen.is_resting is None or seen.unexplained_executions is None or seen.position_change is None:\n"
        "        return Resolution.LOOK_AGAIN\n",
        "    if seen.position_change is None:\n        return Resolution.DEAD\n", "tests/domain/test_order_resolution.py",
    ),
    _m(
        "unknown is a state", "open orders are not asked", "domain/order_resolution.py",
        "    if seen.is_resting:\n        return Resolution.RESTING\n", "", "tests/domain/test_order_resolution.py",
    ),
    _m(
        "unknown is a state", "executions are not asked", "domain/order_resolution.py",
        "    if seen.unexplained_executions:\n        return Resolution.EXECUTION_UNEXPLAINED\n", "", "tests/domain/test_order_resolution.py",
    ),
    _m(
        "unknown is a state", "the position is not asked", "domain/order_resolution.py",
        "    return _by_position(seen, seen.position_change)\n", "    return Resolution.DEAD\n", "tests/domain/test_order_resolution.py",
    ),
    _m(
        "unknown is a state", "a code under a 5xx is believed", "runner/exchange/binance/requests.py", "answer.code if answer.http_status < 500 else None", "answer.code", "tests/exchange", GHOST,
    ),
    _m(
        "unknown is a state", "a failed look-up is an absence", TRACKER, "            await self._wait_after(order, search, failure)\n            return\n        if report is not None:", "            report = None\n        if report is not None:", GHOST,
    ),
    _m(
        "unknown is a state", "a reply about another order is believed", VENUE, "        if report.client_order_id != intent.client_order_id:\n", "        if False:\n", "tests/exchange", SEEDS,
    ),
    _m(
        "unknown is a state", "a batch reply in another order refuses by place", VENUE, "        if any(isinstance(answer, _OfAnother) for answer in answers):\n", "        if False:\n", "tests/exchange", SEEDS,
    ),
    _m(
        "unknown is a state", "a late execution of a finished order wakes nobody", STORE, "        if not driven:\n            self._notices.trade_changed(trade_id)\n", "", FACTS,
    ),
    _m(
        "unknown is a state", "executions are not fetched when the stream is silent", TRACKER,
        "            if order.is_over:\n                await self._fetch_fills(order, search)\n",
        "            if order.is_over:\n                await self._store.changed(order.intent.trade_id, 5.0)\n",
    ),
)  # fmt: skip

LEGS: tuple[Mutant, ...] = (
    _m(
        "no unhedged leg", "an other leg that may still fill is not cancelled", OPENING,
        "                    cancelling[leg] = asyncio.create_task(self._cancel(self._orders(trade, leg)))\n",
        "                    cancelling[leg] = asyncio.create_task(asyncio.sleep(0))\n", SEEDS,
        "tests/execution/test_execution_unequal.py",
    ),
    _m(
        "no unhedged leg", "the budget of unhedged notional is never spent", OPENING,
        "            return False\n        return trade.naked_notional_usd_seconds",
        "            return False\n        return False and trade.naked_notional_usd_seconds",
        SEEDS, "tests/execution/test_execution_unequal.py",
    ),
    _m(
        "no unhedged leg", "unequal legs count as hedged", OPENING, "            if now.is_balanced:\n", "            if True:\n", UNEQUAL,
    ),
    _m(
        "no unhedged leg", "a rolled back trade is not verified flat", CLOSING,
        "        if self._needs_proof(trade, status) and not await self._verified(trade, reason):\n            return False\n", "", "tests/execution/test_execution_closing.py", SEEDS,
    ),
    _m(
        "no unhedged leg", "a trade may end while it holds something", CLOSING,
        "        if any(self._remainder(trade, leg, working=False) is not Remainder.FLAT for leg in LegName):\n"
        "            return False\n        if self._needs_proof",
        "        if self._needs_proof",
        "tests/execution/test_execution_closing.py -k what_still_holds",
    ),
    _m(
        "no unhedged leg", "the second leg waits for the first to close", CLOSING,
        "                await asyncio.wait(running.values(), return_when=asyncio.FIRST_COMPLETED)\n",
        "                await asyncio.wait(running.values())\n", "tests/execution", SEEDS,
    ),
    _m(
        "no unhedged leg", "every closing order is reduce-only", PIECES,
        "        return Piece(quantity=quantity, order_type=order_type, reduce_only=False)\n",
        "        return Piece(quantity=quantity, order_type=order_type, reduce_only=True)\n", "tests/domain/test_closing_pieces.py",
    ),
    _m(
        "no unhedged leg", "no closing order is reduce-only", PIECES,
        "    elif reducible > 0:\n", "    elif False:\n", "tests/domain/test_closing_pieces.py",
    ),
    _m(
        "no unhedged leg", "a rollback that cannot be verified is left alone", LIFECYCLE,
        "        if not trade.status.is_over:\n            self._tasks.spawn", "        if False:\n            self._tasks.spawn",
    ),
    _m(
        "no unhedged leg", "a leg closed by others leaves its other leg", LIFECYCLE,
        '        self._tasks.spawn(self.close(trade, ExitReason.OTHER_LEG_LOST, None), f"other-leg-{trade.trade_id}")\n', "",
    ),
    _m(
        "no unhedged leg", "repeated rollbacks do not freeze the pair", CLOSING,
        "            await self._freezer.after_rollback(trade)\n", "            pass\n", "tests/execution",
    ),
)  # fmt: skip

START: tuple[Mutant, ...] = (
    _m(
        "start", "an open trade with one leg gone counts as open", ENGINE,
        "if trade.status is TradeStatus.OPEN and not trade.unsettled() and trade.is_hedged:",
        "if trade.status is TradeStatus.OPEN and not trade.unsettled():",
    ),
    _m(
        "start", "trades in flight are not taken up", ENGINE,
        "            else:\n                self._lifecycle.take_up(trade)\n", "", SHORT, SEEDS,
    ),
    _m(
        "start", "orphans are left resting", "runner/execution/account/orphans.py",
        "if may_cancel else None", "if False else None", SEEDS, "tests/execution",
    ),
    _m(
        "start", "a question that fails means flat", "runner/execution/account/positions.py",
        "            return Finding(Agreement.UNREADABLE)\n", "            return Finding(Agreement.AGREED)\n",
        "tests/execution/test_execution_closing.py -k cannot_be_read",
    ),
    _m(
        "start", "an order that nobody can name any more is waited for, its symbols locked", "runner/execution/entry/saga.py",
        "            if not all(self._rules.knows(symbol) for symbol in trade.symbols):\n", "            if False:\n",
        "tests/execution/test_execution_unlisted.py",
    ),
    _m(
        "start", "the proof of death counts from before the journal was ours", "runner/execution/orders/resolution.py",
        "order.intent.client_order_id, self._alone_since_ns)", "order.intent.client_order_id, 0)",
        "tests/execution/test_ghost_orders.py -k wall_clock",
    ),
)  # fmt: skip

ORDER: tuple[Mutant, ...] = (
    _m(
        "one at a time", "entries do not ask for locks", ENGINE,
        "            if not held:\n                return self._deny(signal, Denied(DenialCode.SYMBOL_BUSY, {}))\n", "",
        "tests/execution", SEEDS,
    ),
    _m(
        "one at a time", "nobody waits for a lock", LOCKS,
        "        await self._wait(asked, urgency)\n", "", "tests/execution/test_symbol_locks.py",
    ),
    _m(
        "one at a time", "unwinds wait like everybody", LOCKS,
        "key=lambda each: (each.urgency, each.number)", "key=lambda each: (each.number,)", "tests/execution/test_symbol_locks.py",
    ),
    _m(
        "one at a time", "a cancelled waiter keeps its lock", LOCKS,
        "            else:  # It was granted in the same moment.\n                self._release(symbols)\n", "",
        "tests/execution/test_symbol_locks.py",
    ),
    _m(
        "one at a time", "capital is never given back", "runner/execution/entry/capital.py",
        "            del self._reserved[pair_id]\n", "            pass\n", "tests/execution/test_capital.py",
    ),
    _m(
        "one at a time", "a ban is not respected", BUDGET,
        "        self._banned_until_ns = max(self._banned_until_ns, self._clock.monotonic_ns() + wait_ms * MS_NS)\n", "",
        "tests/exchange/test_exchange_budget.py",
    ),
)  # fmt: skip

RESTS: tuple[Mutant, ...] = (
    _m(
        "what rests", "it is placed without the dead-man switch", "runner/execution/entry/dead_man_switch.py",
        "            raise DeadManSwitchNotArmed(str(failure)) from None\n", "            pass\n",
        "tests/execution/test_execution_dead_man.py",
    ),
    _m(
        "what rests", "the switch is never put off", "runner/execution/entry/dead_man_switch.py",
        "            try:\n                await self._arm()\n            except ExchangeError as failure:\n"
        "                self._log.emit(events.DEAD_MAN_RENEWAL_FAILED",
        "            try:\n                pass\n            except ExchangeError as failure:\n"
        "                self._log.emit(events.DEAD_MAN_RENEWAL_FAILED",
        "tests/execution/test_execution_dead_man.py",
    ),
    _m(
        "what rests", "an exit that waits does not end it", "runner/execution/entry/post_only_entry.py",
        "        if self._tools.locks.wanted(symbols):\n            return Ending.EXIT_WAITS\n", "",
        "tests/execution/test_execution_yielding.py",
    ),
    _m(
        "what rests", "fills are not hedged as they come", "runner/execution/entry/post_only_entry.py",
        '        self._hedging = self._spawn(self._tools.tracker.send([intent]), "hedge")\n', "        return\n",
        RESTING, "tests/execution/test_execution_passive.py",
    ),
)  # fmt: skip

WHOSE: tuple[Mutant, ...] = (
    _m(
        "whose it was", "executions count in the order in which they are told", ATTRIBUTION,
        "    return sorted(events, key=lambda event: (event.at_ms, event.number))\n", "    return events\n", WHO,
    ),
    _m(
        "whose it was", "others close more of a trade than it holds", ATTRIBUTION,
        "        part = min(left, abs(holding))\n", "        part = left if holding else holding\n", WHO,
    ),
    _m(
        "whose it was", "a trade that closed too much never gets it back", ATTRIBUTION,
        "        if part <= 0 or holding * sign > 0:\n",
        "        if part <= 0 or holding * sign > 0 or holding * trade.plan.side.side_of(leg).sign < 0:\n", WHO,
    ),
    _m(
        "whose it was", "a person closes ours before their own", ATTRIBUTION,
        "    if not external.is_forced and others_held * sign < 0:\n", "    if False:\n", WHO,
    ),
    _m(
        "whose it was", "positions that are older news than the executions agree", "runner/execution/account/positions.py",
        "            return Agreement.UNREADABLE  # The positions are older news", "            return Agreement.AGREED  # The positions are older news",
        "tests/execution/test_account_positions.py",
    ),
)  # fmt: skip

# The tests of the predecessor's nine holes: each dies with the guard that it names.
NINE = "tests/execution/test_nine_holes.py"
CLOSES_ONCE = (
    "                ready = [leg for leg in LEGS_TO_CLOSE[plan] if leg in legs and leg not in stuck]\n",
    "                ready = [leg for leg in LEGS_TO_CLOSE[plan] if leg in legs and leg not in stuck | tried]\n",
)
_KNOWN = {mutant.name: mutant for mutant in (*JOURNAL, *GHOSTS, *LEGS, *ORDER)}


def _hole(test: str, name: str, file: str = "", old: str = "", new: str = "") -> Mutant:
    """`test_<test>` must notice it. Without a file: the change of that name above."""
    change = _m("nine holes", name, file, old, new) if file else _KNOWN[name]
    return replace(change, group="nine holes", name=f"hole {test[0]}: {name}", tests=(f"{NINE} -k test_{test}",))


HOLES: tuple[Mutant, ...] = (
    _hole("1_lock", "entries do not ask for locks"),
    _hole("2_sent", "an outcome that is unknown counts as refused"),
    _hole(
        "3_taken", "the first 'does not exist' is believed, by whoever asks and by whoever judges", "runner/execution/orders/resolution.py",
        "        now_ns = self._clock.monotonic_ns()\n        if self.past_bound_ms(order) <= 0:\n            return None\n",
        "        now_ns = self._clock.monotonic_ns()\n        return await self._gather(order, search)\n",
    ),
    _hole(
        "3_taken", "executions and position are not weighed", "domain/order_resolution.py",
        "        return Resolution.LOOK_AGAIN\n    if seen.is_resting is None", "        return Resolution.LOOK_AGAIN\n    return Resolution.DEAD\n    if seen.is_resting is None",
    ),
    _hole("4_a_partial", "unequal legs count as hedged"),
    _hole("5_one", "one try to close", CLOSING, *CLOSES_ONCE),
    _hole("5_one", "a leg that is ours alone is closed by a plain order", PIECES, "    if reducible >= wanted:\n", "    if False:\n"),
    _hole("5_called", "a rolled back trade is not verified flat"),
    _hole("6_an_exit", "one try to close", CLOSING, *CLOSES_ONCE),
    _hole(
        "6_an_exit", "what was entered is closed again, not what remains", CLOSING,
        "        symbol, held = trade.symbol_of(leg), trade.signed_held(leg)\n",
        "        symbol, held = trade.symbol_of(leg), trade.entered[leg] * trade.plan.side.side_of(leg).sign\n",
    ),
    _hole("7_positions", "what became of an order is believed and never journaled"),
    _hole(
        "8_a_raw", "quantities are not rounded to the step", "domain/sizing.py",
        "    quantity_b = round_quantity(notional_usd / price_b, step_b)\n", "    quantity_b = notional_usd / price_b\n",
    ),
    _hole(
        "8_a_raw", "minima are not asked", "domain/sizing.py",
        "    if short is not None:\n", "    if False:\n",
    ),
    _hole("9_no", "margin type is not set", "runner/exchange/binance/account_setup.py", "            if margin_type != CROSSED:\n", "            if False:\n"),
    _hole("9_no", "leverage is not set", "runner/exchange/binance/account_setup.py", "            if set_leverage != leverage:\n", "            if False:\n"),
    _hole(
        "9_no", "the user stream gives up after five failures", "runner/exchange/binance/user_stream.py",
        "            failures = 0 if lived > BACKOFF_SECONDS[-1] else failures + 1\n",
        "            failures += 1\n            if failures > 5:\n                return\n",
    ),
    _hole("9_funding", "funding is not booked", "runner/execution/account/funding.py", "                    await self._store.establish(paid)\n", "                    pass\n"),
    _hole(
        "9_funding", "a settlement is booked at every look", "runner/execution/account/funding.py",
        "                if not self._book.knows_funding(paid.unique_key):\n", "                if True:\n",
    ),
    _hole(
        "9_funding", "the stream's word of a settlement is not heard", "runner/exchange/binance/user_stream.py",
        "            self._on_funding()\n", "            return\n",
    ),
)  # fmt: skip

SAFETIES: tuple[Mutant, ...] = (*JOURNAL, *GHOSTS, *LEGS, *START, *ORDER, *RESTS, *WHOSE, *HOLES)
