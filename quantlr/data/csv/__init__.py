"""Reader of price files: bytes to cells (raw_table), columns (layouts), dates and numbers (parsing), bars (bars)."""
