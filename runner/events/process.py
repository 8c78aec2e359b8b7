"""Events of the process and of what surrounds it: start and stop, the operator, recorder, Prefect, backtests."""

from domain.events import debug, error, info, warning

HALTING = error(
    "halting",
    "going on would be unsafe for every pair: the journal cannot be written, or a part ended by a bug. The runner ends with exit "
    "code 1",
    "read `why`; make room on the disk; start again: it resumes",
    "why",
)
RUNNER_CRASHED = error(
    "runner_crashed",
    "the runner inside the flow run `live` crashed and is started again",
    "the traceback follows in the log; five within ten minutes end the run as Failed",
    *("restart_in_s", "crashes"),
)
RECORDER_MISSING = error(
    "recorder_missing",
    "`tandem run` cannot start a recorder; the journals keep everything, the ledger stands still. Tried again every few seconds",
    "the recorder's own line says why",
    "why",
)
UNEXPECTED_ERROR = error(
    "unexpected_error",
    "a `tandem` command met an error that nobody foresaw; the traceback is in `TANDEM_LOG_FILE`",
    "report it",
)

CONTROL_FAILED = error(
    "control_failed",
    "the control server met an error that nobody foresaw while answering; it goes on",
    "report it",
    "error",
)

SHUTDOWN_INCOMPLETE = warning(
    "shutdown_incomplete",
    "stopped before a trade was settled; the next start takes it up",
    "start again soon: a leg may be unhedged",
    "task",
)
RECORDER_REPLACED = warning(
    "recorder_replaced",
    "nobody recorded the ledger any more, so `tandem run` started another recorder; nothing is lost",
    "often: look for what ends it",
)
PAUSED = warning("paused", "you, or whoever holds the token, paused it: no entries", "`tandem resume` ends it", "why")
RESUMED_BY_OPERATOR = warning(
    "resumed_by_operator", "you, or whoever holds the token, ended a pause, freezes and halts", "do nothing", "unfrozen"
)
FLATTEN_BY_OPERATOR = warning(
    "flatten_by_operator", "you, or whoever holds the token, had these trades closed", "do nothing", "pairs"
)
EXCHANGE_UNENCRYPTED = warning(
    "exchange_unencrypted",
    "`trading_mode` is `live` and `url` is not encrypted: keys and orders travel in plain text. It is on this machine, or it would "
    "have been refused",
    "is it meant? Else correct the URL",
    *("url", "why"),
)
CONTROL_OPEN_TO_OTHERS = warning(
    "control_open_to_others",
    "`control.host` is not this machine alone: whoever reaches the address may read status and metrics",
    "set `control.host` to 127.0.0.1 unless that is wanted",
    *("host", "why"),
)
CONTROL_REFUSED = warning(
    "control_refused",
    "the control server refused a request (`why`); a row for the first of a kind, `more_like_it` counts what was refused since",
    "a script of yours with an old token? Else look who asks",
    *("why", "request", "remote", "more_like_it"),
)
PREFECT_REQUEST_REFUSED = warning(
    "prefect_request_refused",
    "the Prefect server was asked by a name, or from a page, that is not ours (`why`); a row for the first of a kind,"
    " `more_like_it` counts what was refused since. In `var/log/prefect-server.log`",
    "who asks? [security.md](security.md#prefect)",
    *("why", "request", "host", "origin", "remote", "more_like_it"),
)
PREFECT_UNREACHABLE = warning(
    "prefect_unreachable",
    "the Prefect server does not answer; the runner trades on",
    "start the server when convenient",
    "error",
)

STARTING = info("starting", "the journal is replayed", *("mode", "dry_run", "pairs", "open_trades"))
TRADING = info("trading", "quotes, windows and user stream stand, signals count from here", *("pairs", "symbols"))
STOPPING = info("stopping", "asked to stop, or why", *("why", "in_flight"))
STOPPED = info(
    "stopped",
    "the final statistics",
    *("uptime_seconds", "signals_processed", "trades_executed", "trades_closed", "trades_rolled_back"),
    *("signals_denied", "open_trades", "success_rate", "reason"),
)
PREFECT_RECOVERED = info("prefect_recovered", "the end of `prefect_unreachable`")
BACKTEST_DONE = info(
    "backtest_done",
    "a backtest ended; its sums are the facts",
    *("run_id", "window", "trades", "gross_usd", "fees_usd", "funding_usd", "net_usd", "drawdown_usd_max"),
)

STATUS_PAGE_DROPPED = debug("status_page_dropped", "Prefect did not take the runner's status page", *("key", "error"))
