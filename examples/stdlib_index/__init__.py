"""Index every source file of the standard library with two children, one of which is killed on the way.

`tasks` is the app, `run` starts a worker, sends the files and checks that none was lost.
"""
