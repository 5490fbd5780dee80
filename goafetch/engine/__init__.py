"""Where tasks run: here, in a local pool of processes, or on a cluster."""
