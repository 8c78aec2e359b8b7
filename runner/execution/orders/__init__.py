"""One order: kept, tracked to its end, its fate proven when the exchange does not say it."""
