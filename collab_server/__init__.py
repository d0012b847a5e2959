"""A dedicated real-time collaboration server for Yjs documents."""
