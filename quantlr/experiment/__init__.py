"""One experiment: plan, run, predict, evaluate, and the ledger of trials."""
