"""Where the pixels of an exposure lie on the sky: projection, distortion, refraction; arithmetic alone."""
