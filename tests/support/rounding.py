"""Bounds of rounding in float32, for what is compared with the same arithmetic in float64.

They hold whatever the order of additions, and so on every processor. Where many layers follow each
other they would hide a mistake: such comparisons are made in float64 (`float64.py`).
"""

U = 2.0**-24  # unit roundoff of float32: the largest relative error of one operation
# Of a value up to 1 after some dozen operations, none of which makes it larger.
FEW = 16 * U


def gamma(terms: int) -> float:
  """Of a sum of products, as a part of the sum of their sizes: n u / (1 - n u) of n terms (Higham,
  Accuracy and Stability of Numerical Algorithms, section 3.1)."""
  return terms * U / (1 - terms * U)


# Of a tiny network's picture, values up to 1: 40 layers after another, of sums of 150 products.
NETWORK = 40 * gamma(150)


def of_losses(steps: int) -> dict[str, float]:
  """Of losses of tiny networks after so many steps by programs for other numbers of devices, for
  `pytest.approx`.

  At first a mean of absolute differences, of some 0.2, is off by NETWORK at most, and so are D's
  means, which may be all but 0. A step adds as much: rounding decides on Adam's steps of gradients
  that are next to nothing, and gradients that are off by 2e-3 of their norm of some 30 change a
  loss of N = 1e5 parameters, of 5 or more, by sqrt(N) * 2e-4 (the rate) * 2e-3 * 30 = 4e-3.
  """
  return {'rel': 2e-3 * (1 + steps), 'abs': 2 * NETWORK * (1 + steps)}
