"""Names of states that the flow `live` ends in, beyond Prefect's own: whoever looks at its runs reads these, never a message."""

ACCOUNT_BUSY = "AccountBusy"
"""Of type Cancelled: another runner trades this account, so this run never began. It says nothing of the one that does."""
