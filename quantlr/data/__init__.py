"""From prices as people have them to features and labels: sources, quality, universe, features, labels, dataset."""
