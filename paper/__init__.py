"""The paper exchange: Binance USD-M's dialect on loopback. May import domain, and nothing else of ours."""
