"""A QEMU guest with one of Debian's own kernels, made from packages: fetch, put together, boot, talk."""
