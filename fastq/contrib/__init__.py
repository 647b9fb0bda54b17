"""What helps fastq get along with others."""
