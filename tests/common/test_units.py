"""Amounts as people write them."""

import pytest

from degrep_jax.common.units import quantity


def test_amounts():
  amounts = {'7': 7, '250M': 250_000_000, '1.5 GB': 1_500_000_000, '4GiB': 2**32, '2kib': 2048}
  assert {text: quantity(text) for text in amounts} == amounts
  for text in ('', '0', '-1', 'M', '4 apples', '1e9', '0.0001'):
    with pytest.raises(ValueError):
      quantity(text)
