"""``quantlr watch``: a page on this machine that follows a config file and the files that it names."""
