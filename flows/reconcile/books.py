"""Our books: what the published ledger and the journal say the account holds."""

from pathlib import Path

from domain.entries import OrderAdvanced, OrderIntended, TradeIntended
from domain.orders import OrderStatus
from domain.symbols import Symbol
from flows.reconcile.comparison import BookedOrder, Books
from runner.config import Settings
from storage import entries_file, ledger
from storage.holdings import journal_holdings

_ORDER_KINDS = ("order_intended", "order_advanced", "trade_intended")


def read_books(settings: Settings, configured: frozenset[Symbol] = frozenset()) -> Books:
    """Ledger first, then the journal, which can then only be ahead. Raises: LedgerUnavailable, JournalBroken, ConfigError."""
    published = ledger.positions(settings.storage.ledger)
    ledger_seq = ledger.freshness(settings.storage.ledger).runner_seq
    orders, traded = _orders(settings.storage.journal)
    holdings = journal_holdings(settings.storage.journal)
    return Books(
        journal=holdings.positions,
        ledger=published,
        trades=tuple(holdings.trades.values()),
        dust=holdings.dust,
        orders=orders,
        journal_seq=_last_seq(settings.storage.journal),
        ledger_seq=ledger_seq,
        traded=configured | traded,
    )


def _last_seq(journal: Path) -> int:
    if not journal.exists():
        return 0
    connection = entries_file.open_for_reading(journal)
    try:
        return entries_file.last_seq_of(connection)
    finally:
        connection.close()


def _orders(journal: Path) -> tuple[dict[str, BookedOrder], frozenset[Symbol]]:
    """Every order's last believed standing, and every symbol that a trade of ours was meant for."""
    orders: dict[str, BookedOrder] = {}
    traded: set[Symbol] = set()
    for _, entry in entries_file.replay(journal, kinds=_ORDER_KINDS) if journal.exists() else ():
        match entry:
            case TradeIntended():
                traded.update((entry.symbol_a, entry.symbol_b))
            case OrderIntended():
                intent = entry.intent
                orders[intent.client_order_id] = BookedOrder(
                    symbol=intent.symbol,
                    pair_id=intent.pair_id,
                    status=OrderStatus.INTENDED,
                    quantity=intent.quantity,
                    filled=intent.quantity * 0,
                )
            case OrderAdvanced() if (known := orders.get(entry.client_order_id)) is not None:
                orders[entry.client_order_id] = BookedOrder(
                    symbol=known.symbol,
                    pair_id=known.pair_id,
                    status=entry.status,
                    quantity=known.quantity,
                    filled=max(known.filled, entry.filled),
                )
            case _:
                continue
    return orders, frozenset(traded)
