"""Which symbols and pairs are looked at at all: economic reasons, fixed before any p-value is seen."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import ConfigError
from domain.symbols import Symbol, unified
from storage.files import read_file


class UniverseRules(BaseModel):
    """Prefilters, each off until it is given (what is not known of a symbol does not let it pass); symbols and candles."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    quote_volume_usd_per_day_min: float | None = Field(
        default=None, ge=0, description="Symbols that trade less are not looked at; empty: off."
    )
    age_days_min: float | None = Field(
        default=None, ge=0, description="Symbols listed for a shorter time are not looked at; empty: off."
    )
    funding_bps_per_day_max: float | None = Field(
        default=None,
        ge=0,
        description="Symbols whose funding of any day of the window was further from 0 are not looked at; empty: off.",
    )
    same_sector: bool = Field(default=False, description="Only pairs within one sector are looked at.")
    sectors: dict[str, str] = Field(
        default={}, description="Sectors of symbols, BASE/USDT to a word, before what the exchange says."
    )

    symbols: list[str] = Field(
        default_factory=list, description="Contracts to pair up, as BASE/USDT. Empty: what the exchange lists."
    )
    symbols_max: int = Field(
        default=200, ge=2, le=2000, description="Cap on the universe; fetching takes a request or more a symbol."
    )
    timeframe: str = Field(default="1h", pattern=r"^[1-9]\d{0,2}[mhd]$", description="The candle of the test.")
    window_days: float = Field(default=60, gt=0, le=730, description="How far back the test looks, in days.")

    def own_sectors(self) -> dict[Symbol, str]:
        """By the exchange's symbols. Raises: ConfigError for a name that is none."""
        try:
            return {unified(name): sector for name, sector in self.sectors.items()}
        except ValueError as problem:
            raise ConfigError(f"--sectors: {problem}") from None

    @property
    def needs_the_exchange(self) -> str | None:
        """The first rule that a file of closes cannot answer, as an option of the command."""
        for name in ("quote_volume_usd_per_day_min", "age_days_min", "funding_bps_per_day_max"):
            if getattr(self, name) is not None:
                return "--" + name.replace("_", "-")
        return None


def read_sectors(path: Path) -> dict[str, str]:
    """A JSON object from symbol to sector. Raises: ConfigError, one line."""
    try:
        found = json.loads(read_file(path))
    except OSError as problem:
        raise ConfigError(f"--sectors {path}: cannot be read ({problem.strerror})") from None
    except ValueError as problem:
        raise ConfigError(f"--sectors {path}: not JSON ({problem})") from None
    if not isinstance(found, Mapping) or not all(isinstance(word, str) and word for word in found.values()):
        raise ConfigError(f'--sectors {path}: need one object of symbol to sector, {{"LTC/USDT": "PoW"}}')
    return dict(found)
