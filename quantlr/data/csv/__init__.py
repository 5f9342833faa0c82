"""Reader of price files: bytes to cells, dates and numbers (raw_table), then columns and bars (layouts)."""
