"""Apps to copy from. They are in the package, so that ``fastq demo`` works wherever fastq is installed."""
