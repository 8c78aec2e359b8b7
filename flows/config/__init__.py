"""The versions of the pairs file."""
