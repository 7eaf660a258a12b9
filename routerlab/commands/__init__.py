"""What stands behind the `routerlab` command: one file a command, all of them free of torch."""
