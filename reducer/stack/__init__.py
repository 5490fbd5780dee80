"""Aligned exposures to one stack: levels, weights, blocks of rows, correlated noise, and the file."""
