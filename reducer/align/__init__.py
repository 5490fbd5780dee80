"""Where the stars are and where they belong: matching, distortion, the joint solution, resampling."""
