"""What runs inside the processes of each system: its app, as its users would write it.

This folder is put on the path of those processes, and its files are imported as top-level modules, so that no
peer pays for `import fastq`. No file here may be named like a module of the standard library or of a peer.
"""
