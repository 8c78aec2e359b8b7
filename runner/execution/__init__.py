"""Two-leg execution: journal first, both legs as one durable trade, every outcome resolved by proof."""
