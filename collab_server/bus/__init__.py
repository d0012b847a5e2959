"""How nodes tell each other of edits and presence. ``base`` is the contract, ``memory`` the reference."""
