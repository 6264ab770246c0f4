"""RealBlur-J and RealBlur-R (Rim et al., ECCV 2020)."""

from degrep_jax.data.builders.pairs_builder import PairsBuilder


class _RealBlur(PairsBuilder, skip_registration=True):  # type: ignore[call-arg]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    'Fetch RealBlur.tar.gz by a link on https://github.com/rimchang/RealBlur and put it, or the '
    'folder that it unpacks to, into the manual folder. The lists RealBlur_*_list.txt must lie '
    'beside the folders that they name.'
  )
  HOMEPAGE = 'https://github.com/rimchang/RealBlur'
  CITATION = """@inproceedings{rim2020real,
  title={Real-World Blur Dataset for Learning and Benchmarking Deblurring Algorithms},
  author={Rim, Jaesung and Lee, Haeyun and Won, Jucheol and Cho, Sunghyun},
  booktitle={ECCV},
  year={2020}
}"""


class RealblurJ(_RealBlur):
  """Registered as `realblur_j`."""

  DESCRIPTION = (
    "Dark scenes taken by two cameras behind one lens, as the cameras' JPEGs. 3758 training and "
    '980 test pairs. CC BY 4.0.'
  )


class RealblurR(_RealBlur):
  """Registered as `realblur_r`."""

  DESCRIPTION = (
    'Dark scenes taken by two cameras behind one lens, developed and denoised from raw files. 3758 '
    'training and 980 test pairs. CC BY 4.0.'
  )
