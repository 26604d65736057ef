"""Silver as a whole: real runs over real Delta tables."""
