"""What is timed: one file for each family, `kinds` with their names."""
