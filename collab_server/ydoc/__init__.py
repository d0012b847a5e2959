"""Yjs updates as bytes. Pure; never builds a document."""
