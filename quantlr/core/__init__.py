"""Values, timing rule and small tools that every layer uses."""
