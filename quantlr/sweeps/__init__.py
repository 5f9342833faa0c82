"""Many runs of one config over a grid of settings, and statistics that correct for choosing the best of them."""
