"""What we hold, folded straight from the journal: exact to the last durable row, where the ledger may lag a second."""

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from domain.entries import FillSeen, TradeAdvanced, TradeIntended
from domain.orders import LegName
from domain.pairs import TradeStatus
from domain.symbols import PairId, Symbol, TradeId
from domain.trade_book import DUST_FACT
from storage import entries_file

_KINDS = ("fill_seen", "trade_intended", "trade_advanced")
_ZERO = Decimal(0)


@dataclass(slots=True, kw_only=True)
class TradeHolding:
    """One pair trade that is not over. Quantities are signed: negative is short."""

    trade_id: TradeId
    pair_id: PairId
    status: TradeStatus
    symbol_a: Symbol
    symbol_b: Symbol
    held_a: Decimal = _ZERO
    held_b: Decimal = _ZERO
    has_dust: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """Net per symbol (zeros left out), and per trade that is not over."""

    positions: dict[Symbol, Decimal]
    trades: dict[TradeId, TradeHolding]
    last_seq: int
    dust: dict[Symbol, Decimal]  # Of trades that are over: declared at their end, too small for any order.


def journal_positions(journal: Path) -> dict[Symbol, Decimal]:
    """Net quantity per symbol of our own fills, zeros left out. Raises: ConfigError, JournalBroken."""
    return journal_holdings(journal).positions


def journal_holdings(journal: Path) -> Holdings:
    """Positions and open trades. A journal that does not exist yet holds nothing. Raises: ConfigError, JournalBroken."""
    positions: defaultdict[Symbol, Decimal] = defaultdict(Decimal)
    trades: dict[TradeId, TradeHolding] = {}
    last_seq = 0
    for seq, entry in entries_file.replay(journal, kinds=_KINDS) if journal.exists() else ():
        last_seq = seq
        match entry:
            case TradeIntended():
                trades[entry.trade_id] = TradeHolding(
                    trade_id=entry.trade_id,
                    pair_id=entry.pair_id,
                    status=TradeStatus.OPENING,
                    symbol_a=entry.symbol_a,
                    symbol_b=entry.symbol_b,
                )
            case TradeAdvanced() if entry.trade_id in trades:
                trades[entry.trade_id].status = entry.status
                trades[entry.trade_id].has_dust = any(key.startswith(DUST_FACT) for key in entry.facts)
            case FillSeen() if entry.trade_id is not None:
                signed = entry.fill.side.sign * entry.fill.quantity
                positions[entry.fill.symbol] += signed
                if (trade := trades.get(entry.trade_id)) is not None:
                    if entry.leg is LegName.A:
                        trade.held_a += signed
                    elif entry.leg is LegName.B:
                        trade.held_b += signed
            case _:
                continue
    dust: defaultdict[Symbol, Decimal] = defaultdict(Decimal)
    for trade in trades.values():
        if trade.has_dust and trade.status.is_over:
            dust[trade.symbol_a] += trade.held_a
            dust[trade.symbol_b] += trade.held_b
    return Holdings(
        dust={symbol: quantity for symbol, quantity in dust.items() if quantity},
        positions={symbol: quantity for symbol, quantity in positions.items() if quantity},
        trades={trade_id: trade for trade_id, trade in trades.items() if not trade.status.is_over},
        last_seq=last_seq,
    )
