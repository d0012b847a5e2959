"""What carries updates between nodes."""
