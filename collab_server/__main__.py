"""``python -m collab_server`` is ``collab-server``."""

from __future__ import annotations

import sys

from collab_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
