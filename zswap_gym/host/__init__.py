"""The seam between a decision and a machine, real or simulated. Import the module you need."""
