"""Steps of the recipes, one file per idea; arithmetic over arrays that knows no disk."""
