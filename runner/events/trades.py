"""Events of a pair and its trades: signals, entries, exits, and what stops a pair."""

from domain.events import MORE_FACTS, error, info, warning

LEG_CLOSE_STUCK = error(
    "leg_close_stuck",
    "`execution.max_order_retries` attempts to close a leg changed nothing; the trade is in `attention`. It goes on trying",
    "`refusals` holds the exchange's codes. Look at the position on the exchange. If you close it by hand, the runner books your "
    "execution as the exit",
    *("failures", "remedy", "refusals", "held_a", "held_b"),
)
UNHEDGED_BUDGET_EXCEEDED = error(
    "unhedged_budget_exceeded",
    "one leg stood alone for longer than `execution.naked_notional_usd_seconds_max` allows while the outcome of the other leg's order "
    "(`open`) was unknown. What it holds is being closed; what the other turns out to hold is closed, too",
    "is the exchange in trouble, or the budget too small for `risk.pair_notional_usd`?",
    *("naked_notional_usd_seconds", "naked_notional_usd_seconds_max", "held_a", "held_b", "open"),
)
POSITION_UNEXPLAINED = error(
    "position_unexplained",
    "while closing, once flat, or at a check of open trades: the account holds something else than our books, and no execution in "
    "its history says why (`differences`). A trade that is closing goes to `attention`, does not end, and goes on asking; reduce-only "
    "orders are still sent, plain ones are not",
    "compare the account's order and transaction history. It ends by itself once the position agrees. A position that is yours and "
    "older than six days: restart, it is then taken for yours unless it looks as if our own holding were gone",
    "differences",
)
FLAT_NOT_VERIFIED = error(
    "flat_not_verified",
    "a trade is flat by our books, but for half a minute the exchange has not confirmed its positions. The trade is in `attention` "
    "and goes on asking, its symbols free for others",
    "is the exchange reachable?",
    "seconds",
)
ENTRIES_HALTED = error(
    "entries_halted",
    "several different pairs were rolled back at once (`execution.rollback_pairs_before_halt`): a symptom of the exchange or the "
    "network, not of a pair. No entries for `execution.freeze_seconds`; exits go on",
    "is the exchange in trouble? `tandem resume` ends it",
    *("seconds", "pairs"),
)
LATE_FILL = error(
    "late_fill",
    "an order that was believed over was filled after all; what it holds is being closed, also if its trade ended long ago",
    "check that the trade becomes flat (`pair_trades`, `held_a`, `held_b`)",
)
OTHER_LEG_CLOSED_EXTERNALLY = error(
    "other_leg_closed_externally",
    "one leg was closed by the exchange or by somebody else; the other leg is being closed",
    "find out why: margin, auto-deleveraging, delisting",
)
LEG_CLOSED_EXTERNALLY = error(
    "leg_closed_externally",
    "an execution that is not ours reduced what a trade held; it was booked as that trade's exit",
    "who trades in this account?",
    *("leg", "symbol", "quantity"),
)
CONTRACT_NOT_LISTED = error(
    "contract_not_listed",
    "a contract of an open trade is no longer listed (`symbols`): that leg cannot be closed, the other one is being closed, the trade "
    "goes to `attention`. It ends when the exchange reports the settlement, or lists the contract again",
    "look the settlement up in the account's transaction history; remove the pair",
    "symbols",
)
PAIR_NOT_LISTED = error(
    "pair_not_listed",
    "at a start with open trades: a configured pair names a contract that is not listed (`symbols`). The pair is left out, the others "
    "trade",
    "correct or remove the pair: without open trades the next start refuses the file",
    "symbols",
)
CLOSING_BEFORE_DELIVERY = error(
    "closing_before_delivery",
    "a contract of an open trade will be delisted; the trade is closed `execution.delivery_lead_hours` before its delivery",
    "do nothing; remove the pair",
    "delivery_in_hours",
)
INVARIANT_BROKEN = error(
    "invariant_broken",
    "a case that this program does not model. The pair is frozen for a day",
    "keep the logs; close the trade (`tandem flatten PAIR`, or on the exchange); report it",
    "why",
)
PAIR_FAILED = error(
    "pair_failed",
    "an unexpected error in one pair. It is frozen for a day, the others go on",
    "as for `invariant_broken`",
    "why",
)
PAIR_FROZEN = error(
    "pair_frozen",
    "too many rollbacks in a row (`execution.rollbacks_before_freeze`), or three times as many refusals: no entries for "
    "`execution.freeze_seconds`",
    "is one leg too thin for `risk.pair_notional_usd`? `tandem resume` ends every freeze",
    *("seconds", "rollbacks", "refusals"),
)
PAIRS_FILE_INVALID = error(
    "pairs_file_invalid",
    "`pairs_config.json` changed and is not valid; the old pairs stay",
    "correct the file as `why` says",
    "why",
)

ROLLING_BACK = warning(
    "rolling_back",
    "the legs did not come to hedge each other: what was filled is being closed",
    "do nothing; `trade_rolled_back` follows",
    *("why", "held_a", "held_b", "refusal"),
)
TRADE_ROLLED_BACK = warning(
    "trade_rolled_back",
    "it is flat again; `cost_usd` is what it cost",
    "often: widen `execution.max_slippage_pct`, or trade less or more liquid contracts",
    *("naked_seconds", "refusal", "cost_usd"),
)
LEGS_UNEQUAL = warning(
    "legs_unequal",
    "the legs filled unequally, or one not at all. `chosen`: `complete` what is missing, `trim` the excess, or `unwind` both, with "
    "the expected cost of each and what stood in its way",
    "do nothing. Often: see `trade_rolled_back`",
    *("chosen", "held_a", "held_b", "naked_usd", MORE_FACTS),
)
LEG_ENLARGED_TO_CLOSE = warning(
    "leg_enlarged_to_close",
    "what is left of a leg is too small for an order that is not reduce-only, and another pair or a person holds the other way: the "
    "smallest order is added, then all of it is closed",
    "do nothing; a few cents of fees",
    *("leg", "held", "quantity"),
)
DUST_LEFT = warning(
    "dust_left",
    "a trade ended with less than one lot step of a leg (the exchange has made its step coarser): no order can name it. `reconcile` "
    "explains it, its worth is in the facts",
    "close it in the exchange's app, which can",
    MORE_FACTS,
)
PAIR_NOT_TRACKED = warning(
    "pair_not_tracked",
    "a trade moved whose pair is no longer configured",
    "do nothing",
    "why",
)
PAIRS_RELOAD_DEFERRED = warning(
    "pairs_reload_deferred",
    "the pairs file changed, but the exchange could not be asked about new symbols; tried again",
    "do nothing",
    "why",
)
SYMBOL_SETUP_DEFERRED = warning(
    "symbol_setup_deferred",
    "new symbols of the pairs file could not be set up yet; their pairs do not enter, tried again every 30 s",
    "see `why`",
    *("symbols", "why"),
)

SIGNAL = info(
    "signal",
    "a spread left its band: `SELL` (sell a, buy b), `BUY`, `EXIT`, `STOP`, `TIME_STOP`",
    *("type", "z"),
)
DENIED = info(
    "denied",
    "the entry was refused, with code and facts; the normal outcome of a doubtful signal",
    *("code", MORE_FACTS),
)
TRADE_OPENED = info(
    "trade_opened",
    "both legs hold, hedged; `expected_edge_usd` after costs",
    *("side", "quantity_a", "quantity_b", "z", "expected_edge_usd", "naked_seconds"),
)
LIMIT_ENTRY_ENDED = info(
    "limit_entry_ended",
    "a limit entry no longer rests; `ended` says why ([execution.md](execution.md#limit-entries)), what filled is settled next",
    *("resting_leg", "quotes", "post_only_refused", "hedges", "ended", "unhedged_usd_seconds"),
)
TRADE_CLOSED = info(
    "trade_closed",
    "flat; `net_pnl_usd` after fees and funding, `naked_seconds` in all",
    *("reason", "net_pnl_usd", "fees_usd", "naked_seconds"),
)
TRADE_RECOVERED = info(
    "trade_recovered",
    "a trade that the last process left half way is settled",
    "hedged",
)
PAIRS_RELOADED = info(
    "pairs_reloaded",
    "the pairs file was read again",
    *("added", "removed", "changed"),
)
