"""ccxt without the exchanges that nobody trades here: a start does not wait for them, and whoever asks still gets them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = {
    "the live process carries one exchange": """
        import sys, runner.bot
        others = [name for name in sys.modules if name.startswith("ccxt.async_support.") and "okx" in name]
        assert not others and "ccxt.bybit" not in sys.modules
        assert len([name for name in sys.modules if name.startswith("ccxt")]) < 60
    """,
    "who asks for more gets the real package, and the same classes": """
        from runner.exchange.binance.ccxt_alone import BaseError, binanceusdm
        import ccxt, ccxt.async_support
        assert ccxt.NetworkError is sys.modules["ccxt.base.errors"].NetworkError and ccxt.BaseError is BaseError
        assert ccxt.async_support.binanceusdm is binanceusdm
        assert ccxt.binanceusdm.__module__ == "ccxt.binanceusdm" and ccxt.async_support.okx and ccxt.__version__
        assert type(ccxt) is type(sys)
        try: ccxt.no_such_exchange
        except AttributeError: pass
        else: raise AssertionError
    """,
    "a ccxt that is there already is taken as it is": """
        import ccxt.async_support
        from runner.exchange.binance.ccxt_alone import BaseError, binanceusdm
        assert ccxt.async_support.binanceusdm is binanceusdm and ccxt.BaseError is BaseError
    """,
    "the pro half is built upon it": """
        from runner.exchange.binance.ccxt_alone import binanceusdm
        import ccxt.pro, ccxt.async_support
        assert issubclass(ccxt.pro.binanceusdm, ccxt.async_support.binance)
        assert issubclass(binanceusdm, ccxt.async_support.binance)
    """,
}


@pytest.mark.parametrize("name", CASES)
def test_ccxt_alone(name: str) -> None:
    code = "import sys\n" + "\n".join(line[8:] for line in CASES[name].splitlines())
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
