"""Other people's servers, installed and started for a comparison, and ours beside them."""
