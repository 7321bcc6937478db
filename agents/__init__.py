"""What needs torch, and what compares policies: networks, train, export; evaluate, report."""
