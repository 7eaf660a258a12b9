"""What running a LALM costs, counted and timed: `python -m routerlab.bench`. Nothing imports it."""
