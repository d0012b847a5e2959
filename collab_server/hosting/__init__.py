"""asyncio around rooms: open once, flush in time, save, evict, drain."""
