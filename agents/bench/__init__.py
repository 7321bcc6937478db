"""How fast is it: measurements behind ``zswap-gym bench``."""
