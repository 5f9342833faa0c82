"""The stages that connect data, model and backtest."""
