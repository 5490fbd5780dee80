"""Where archive, store and reducer meet: a program ID or a folder in, products and a report out."""
