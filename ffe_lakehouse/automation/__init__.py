"""What runs by itself, and what can be launched by name."""
