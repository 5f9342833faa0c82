"""Engines that run functions in processes of this machine, or on a Dask cluster."""
