"""What engines on a GPU share: noise, batch buckets, and the road of rows to the device and back. No torch: CuPy."""
