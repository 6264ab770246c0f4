"""The machine that a run has: its devices and processes, signals, the workdir's lock and disk, exit
statuses, and compiled programs kept on disk."""
