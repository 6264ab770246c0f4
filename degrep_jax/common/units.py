"""Amounts as people write and read them."""

import re

_POWERS = {'': 0, 'K': 1, 'M': 2, 'G': 3, 'T': 4}


def quantity(text: str) -> int:
  """'250M', '1.5GB', '4GiB' or a plain number: K, M, G and T are powers of 1000, with an i of 1024.

  Raises:
    ValueError: something else, or nothing at all.
  """
  match = re.fullmatch(r'(\d+(?:\.\d+)?) ?([KMGT]?)(I?)B?', text.strip().upper())
  amount = match and round(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2]])
  if not amount:
    raise ValueError(f'{text!r} is no amount such as 500M or 4GiB')
  return amount


def bytes_text(count: float) -> str:
  """Bytes for people, for example 1.50 GiB or 12.0 MiB."""
  return f'{count / 2**30:.2f} GiB' if count >= 2**30 else f'{count / 2**20:.1f} MiB'
