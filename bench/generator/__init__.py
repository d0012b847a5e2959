"""One generator process: connections, their schedule, and the books of who got what."""
