"""Messages: bytes to values and back. Pure; knows no room, no socket and no clock."""
