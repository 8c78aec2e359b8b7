"""`pairs_config.json`: read strictly, written whole, kept in versions, reloaded while trading."""
