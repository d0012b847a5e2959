"""The core: synchronous state machines that take bytes and times and return decisions."""
