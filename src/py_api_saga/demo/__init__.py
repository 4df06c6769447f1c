"""`saga demo`: a shop, its three services and its checkout, on the public API alone."""
