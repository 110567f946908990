"""Store paths, bytes and trees: keep them, mount them, fetch them, collect them."""
