"""The kinds of pool: what a worker's children do with the slots they claim."""
