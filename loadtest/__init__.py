"""`longjump loadtest`: open-loop load, sweeps and reports. Speaks HTTP, and imports nothing else of ours."""
