"""The exchange's own state as the execution needs it: its clock and its contracts' rules."""
