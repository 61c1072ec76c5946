"""Thousands of recordings into one Parquet dataset, on this machine or on a cluster.

`find` lists the recordings, `tasks` are what one process does with one of them, `local` and
`cluster` share the tasks out, `dataset` keeps what is done, `run` puts it together.
"""
