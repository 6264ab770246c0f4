"""Learning degradation representations for image deblurring (Li et al., ECCV 2022) in JAX and Flax.

Importing the package alone loads nothing: every module says what it needs.
"""
