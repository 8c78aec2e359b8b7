"""Everything that is known of Binance USD-M futures: its codes, words, weights, clocks, endpoints and streams."""
