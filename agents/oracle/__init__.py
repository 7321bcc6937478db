"""What could be saved by who knows the future: `hindsight` and `oracle`, contestants like any other."""
