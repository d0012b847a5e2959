"""HTTP: documents, health, metrics, the playground."""
