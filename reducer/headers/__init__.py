"""What a header says: keywords and their repairs, descriptors, tags, selection, the instrument's numbers."""
