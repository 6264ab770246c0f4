"""Photograph files: read to arrays and written again with all that the files say besides pixels.

`reading.read` gives a `Photo`; `photo.fitted` and `writing.encode` turn it into a file of any of
`FORMATS`.
"""
