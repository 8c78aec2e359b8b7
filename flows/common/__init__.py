"""What several features need: commands' shared parts, bars and prices, exchange reads, pages and pictures."""
