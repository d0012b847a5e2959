"""The store: documents as bytes, durable. Knows nothing of the server."""
