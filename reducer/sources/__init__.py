"""The sources of one array: found, centred and summed; arithmetic alone."""
