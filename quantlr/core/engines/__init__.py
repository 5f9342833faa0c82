"""Engines that run jobs: processes of this machine, or a Dask cluster."""
