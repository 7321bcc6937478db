"""Record which pages a running program touches, on a stock kernel, and leave it as it was found."""
