"""Events of the exchange and its market data: clock, contract rules, quotes, windows."""

from domain.events import error, info, warning

CLOCK_UNFIT = error(
    "clock_unfit",
    "this machine's clock cannot be trusted (`why`); no entries until it can",
    "run NTP on this machine; once its clock is right, entries go on by themselves",
    "why",
)
STREAM_SUBSCRIPTION_REFUSED = error(
    "stream_subscription_refused",
    "the exchange refused to send quotes of these symbols",
    "delisted, or misspelt? Remove the pair",
    *("why", "symbols"),
)

WAITING_FOR_EXCHANGE = warning(
    "waiting_for_exchange",
    "no answer at start. With open trades it waits without end, without them it ends after 30 s",
    "network, address, maintenance?",
    "why",
)
BACKGROUND_READ_FAILED = warning(
    "background_read_failed",
    "equity, rules, fees, funding or the exchange's time could not be read; tried again",
    "do nothing",
    "why",
)
TIMESTAMP_REFUSED = warning(
    "timestamp_refused",
    "the exchange refused a timestamp; its clock is being read anew",
    "often: run NTP on this machine",
    "skew_ms",
)
CLOCK_JUMPED = warning(
    "clock_jumped",
    "this machine's clock was moved; the exchange's is being read anew. Requests are stamped with the exchange's time and are not "
    "affected",
    "who sets the clock?",
    "jumped_ms",
)
RULES_DOUBTED = warning(
    "rules_doubted",
    "the exchange refused what its rules, as we know them, allow (`code`); no entries in the symbol until they are read anew, at once",
    "often: report it",
    *("symbol", "code"),
)
CONTRACT_CLOSE_ONLY = warning(
    "contract_close_only",
    "a contract is halted or its end is announced; its pairs close only",
    "remove the pair when it is the end",
    *("symbol", "is_trading", "delivery_ms"),
)
QUOTES_STALE = warning(
    "quotes_stale",
    "a symbol had no quote for `data.silence_seconds_max`; its pairs do not enter",
    "one symbol: a quiet or halted contract. All: the network",
    *("symbol", "age_seconds"),
)
STREAM_LOST = warning(
    "stream_lost",
    "the quotes' connection broke; reconnecting",
    "do nothing",
    *("why", "retry_seconds"),
)
STREAM_UNREACHABLE = warning(
    "stream_unreachable",
    "the quotes' connection cannot be opened; tried again with growing pauses",
    "network, address",
    *("why", "retry_seconds"),
)
STREAM_ROLLOVER_FAILED = warning(
    "stream_rollover_failed",
    "the daily renewal of the quotes' connection failed; the old one stays",
    "do nothing",
    "why",
)
STREAM_MESSAGE_INVALID = warning(
    "stream_message_invalid",
    "a frame that is no valid quote; logged once a kind, then counted",
    "look at `excerpt`",
    *("kind", "excerpt"),
)
WINDOWS_INCOMPLETE = warning(
    "windows_incomplete",
    "some symbols' windows are incomplete (`incomplete` names the first ten); their pairs wait",
    "newly listed? Else it is repaired as bars close",
    *("symbols", "incomplete"),
)
KLINES_UNAVAILABLE = warning(
    "klines_unavailable",
    "a symbol's klines could not be read",
    "do nothing",
    *("symbol", "why"),
)

WINDOWS_LOADED = info(
    "windows_loaded",
    "mean and deviation of all pairs come from the exchange's klines, no hour of waiting",
    *("symbols", "incomplete"),
)
QUOTES_FRESH = info("quotes_fresh", "the end of `quotes_stale`", *("symbol", "age_seconds"))
STREAM_ROLLED_OVER = info(
    "stream_rolled_over", "the quotes' connection was renewed, as it must be every day", "streams"
)
RULES_REFRESHED = info(
    "rules_refreshed",
    "the contracts' rules were read again and some of ours have `changed`, or were `doubted`",
    *("doubted", "changed"),
)
CONTRACT_REOPENED = info("contract_reopened", "the end of `contract_close_only`", "symbol")
