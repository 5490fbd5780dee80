"""What would be reduced with what, and why: pure decisions from descriptors and rules."""
