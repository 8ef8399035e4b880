"""The steps of image work: small functions over pyvips images, run in the sandboxed child only."""
