"""Bringing a trade to flat: an exit, a rollback, or the leg that is left when somebody closed the other one."""
