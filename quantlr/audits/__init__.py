"""The audit for look-ahead bias."""
