"""Events of our orders and of the account: outcomes, executions and positions of others, set-up, the user stream."""

from domain.events import error, info, warning

FORCED_FILL_UNEXPLAINED = error(
    "forced_fill_unexplained",
    "the exchange liquidated or deleveraged something that no trade of ours explains, or its positions did not agree within two "
    "seconds",
    "compare positions: `tandem reconcile`",
    *("symbol", "side", "quantity"),
)
ORDER_EVIDENCE_CONFLICTING = error(
    "order_evidence_conflicting",
    "an order's reply was lost and the exchange's answers contradict each other: it denies the order, and yet the position moved as "
    "if it had been executed (`position_moved`), or there is an execution whose owner it does not name (`execution_unexplained`). Its "
    "symbols stay locked meanwhile. The first is taken for never executed after five minutes, for the list of trades would show an "
    "execution by then, and what moved the position is reported as not ours; the second is asked for without end",
    "compare the exchange's order history with `client_order_id` and `symbol`. A position of your own in that symbol, smaller than "
    "the order and bought while the runner was down, looks the same: close it, and the order is resolved",
    *("client_order_id", "symbol", "verdict", "past_bound_ms", "absences", "absent_for_ms", "is_resting"),
    *("unexplained_executions", "working_orders", "unknown_buys", "unknown_sells", "position_change"),
)
ORPHAN_ORDER = error(
    "orphan_order",
    "at start, a resting order with our prefix that the journal does not know; it was cancelled",
    "was the journal deleted or restored from an old copy? If it had filled, entries are stopped (`FOREIGN_ORDERS`)",
    *("symbol", "client_order_id", "filled"),
)
ORDER_NOT_IN_JOURNAL = error(
    "order_not_in_journal",
    "somebody places orders with our prefix; entries stop",
    "a second runner with another journal on this account? Stop one of them, cancel what it left, then `tandem resume`: it looks "
    "again and says what is still unexplained",
    *("client_order_id", "symbol"),
)
REPLY_CONTRADICTS_STREAM = error(
    "reply_contradicts_stream",
    "the reply to an order refused it, and the user stream had shown it alive already: the stream is believed",
    "do nothing; often: report it",
    *("client_order_id", "status", "why"),
)
USER_EVENT_CONTRADICTS_BOOK = error(
    "user_event_contradicts_book",
    "the user stream said something about an order that cannot be; the exchange is asked for the order",
    "check the trade afterwards",
    "why",
)
SYMBOL_NOT_PREPARED = error(
    "symbol_not_prepared",
    "margin type or leverage of a symbol is not what it must be, and cannot be set; its pairs do not enter. Tried again every 30 s",
    "`why` says what holds it: a position or an order of somebody else, or too high a `risk.leverage`",
    *("symbol", "why", "code"),
)
ACCOUNT_NOT_PREPARED = error(
    "account_not_prepared",
    "hedge mode, multi-assets mode, or an account that may not trade, found while it runs or with trades open; no entries",
    "correct it as `why` says; it is noticed within 30 s",
    "why",
)

ORDER_STATUS_UNKNOWN = warning(
    "order_status_unknown",
    "an order's outcome is still unknown after many look-ups; it is never sent again",
    "is the exchange reachable? It goes on asking",
    *("client_order_id", "why"),
)
CANCEL_OUTCOME_UNKNOWN = warning(
    "cancel_outcome_unknown",
    "a cancel had no clear answer; the order is looked up",
    "do nothing",
    "why",
)
DEAD_MAN_ARMING_FAILED = warning(
    "dead_man_arming_failed",
    "the exchange did not confirm its dead-man switch, so no limit entry was placed (`DEAD_MAN`)",
    "do nothing; often: `why`",
    *("symbol", "why"),
)
DEAD_MAN_RENEWAL_FAILED = warning(
    "dead_man_renewal_failed",
    "the dead-man switch could not be renewed; tried again each second. If it runs out, what rests is withdrawn here and "
    "cancelled there",
    "do nothing",
    *("symbol", "why"),
)
DEAD_MAN_DISARMING_FAILED = warning(
    "dead_man_disarming_failed",
    "nothing of ours rests any more, but the countdown runs on: within `execution.dead_man_seconds` the exchange cancels **your own** "
    "open orders of that symbol too",
    "place them again",
    *("symbol", "why"),
)
RECOVERY_INCOMPLETE = warning(
    "recovery_incomplete",
    "some orders of the last run are still unresolved, longer after the start than resolving one takes; `pairs` names theirs. Other "
    "pairs enter again, these symbols stay locked",
    "see `order_evidence_conflicting`, `order_status_unknown`",
    "pairs",
)
EXTERNAL_POSITION = warning(
    "external_position",
    "the account holds so much in a symbol that is not ours; found while verifying",
    "a position of yours? Then nothing: it is never touched",
    *("symbol", "quantity"),
)
POSITIONS_UNREADABLE = warning(
    "positions_unreadable",
    "positions could not be read; the step is tried again",
    "do nothing",
    "why",
)
POSITION_MISMATCH = warning(
    "position_mismatch",
    "at start the exchange holds something else than the journal says",
    "not ours is left alone. If it ought to be ours: `tandem reconcile`",
    *("symbol", "exchange_quantity", "journal_quantity", "explanation"),
)
MARGIN_CALL = warning(
    "margin_call",
    "the exchange warns of too little margin",
    "reduce: `tandem pause`, `tandem flatten`, or add margin. At once",
    "symbols",
)
USER_STREAM_DOWN = warning(
    "user_stream_down",
    "no news of our orders; entries stop until it is back, orders in flight are asked for",
    "do nothing; long: network, keys",
    "why",
)
USER_STREAM_SILENT = warning(
    "user_stream_silent",
    "executions had to be fetched that the stream should have brought; it is being reconnected",
    "do nothing",
)
USER_EVENT_UNREADABLE = warning(
    "user_event_unreadable",
    "an event could not be read; treated as a gap, so trades are checked",
    "often: report it",
    "why",
)
LISTEN_KEY_NOT_EXTENDED = warning(
    "listen_key_not_extended",
    "the user stream's key could not be prolonged; tried again, or replaced",
    "do nothing",
    "why",
)

USER_STREAM_UP = info("user_stream_up", "news of our orders arrive")
USER_STREAM_GAP = info("user_stream_gap", "news of our orders may have been missed; they are being asked for", "why")
USER_STREAM_ROLLED_OVER = info(
    "user_stream_rolled_over", "the connection of our orders' news was renewed, as it must be every day"
)
EXTERNAL_FILL = info(
    "external_fill", "somebody else traded in this account; reported, never touched", *("symbol", "side", "quantity")
)
