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
    "resumed_by_operator", "you, or whoever holds the token, ended a pause, freezes and halts", "do nothing", "thawed"
)
FLATTEN_BY_OPERATOR = warning(
    "flatten_by_operator", "you, or whoever holds the token, had these trades closed", "do nothing", "pairs"
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
