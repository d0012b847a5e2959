"""Yjs updates as bytes: validated, merged, cut, compacted, without ever building a document.

Pure: bytes in, bytes out. Knows no room, no socket, no clock and no store. Version 1 of the update encoding
only.
"""
