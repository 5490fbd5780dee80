"""The report's pictures and graphs, each as an inline SVG or a PNG."""
