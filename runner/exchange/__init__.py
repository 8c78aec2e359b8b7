"""The road to Binance: the one place where the venue's words, codes and clocks are translated into ours."""
