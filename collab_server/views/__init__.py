"""Documents as values, through pycrdt, in worker processes."""
