"""The words of a question to the archive: dates, names of programs, vocabulary, positions."""
