"""The request path: Cython modules whose loops run without the GIL. A `.pxd` is the header of its `.pyx`."""
