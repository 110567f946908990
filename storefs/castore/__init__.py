"""Content-addressed bytes: blobs named by their BLAKE3 digest, and the way trees get in and out."""
