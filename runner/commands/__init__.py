"""What `tandem` can be told. Each command imports its work when it runs, so that `--help` answers at once."""
