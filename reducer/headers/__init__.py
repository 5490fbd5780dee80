"""What a header says: descriptors and tags, what is wrong in it, what the exposure looked at."""
