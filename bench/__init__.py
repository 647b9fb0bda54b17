"""The benchmarks that `fastq bench` runs: one question per file, fastq beside its peers.

Every peer lives in processes of its own; this package only starts, watches and compares them. See README.md.
"""
