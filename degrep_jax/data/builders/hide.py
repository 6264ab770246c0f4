"""HIDE (Shen et al., ICCV 2019)."""

from degrep_jax.data.builders.pairs_builder import PairsBuilder


class Hide(PairsBuilder):
  """Registered as `hide`."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    'Fetch HIDE_dataset.zip by the link on https://github.com/joanshen0508/HA_deblur and put it, '
    'or the folder that it unpacks to, into the manual folder.'
  )
  DESCRIPTION = (
    'Street scenes with people at 240 frames per second, 11 frames averaged to a blurry one. 2025 '
    'test pairs (close-ups and long shots) and, where the copy holds them, 6397 training pairs, '
    '1280x720. Its authors state no licence.'
  )
  HOMEPAGE = 'https://github.com/joanshen0508/HA_deblur'
  CITATION = """@inproceedings{shen2019human,
  title={Human-Aware Motion Deblurring},
  author={Shen, Ziyi and Wang, Wenguan and Lu, Xiankai and Shen, Jianbing and Ling, Haibin and \
Xu, Tingfa and Shao, Ling},
  booktitle={ICCV},
  year={2019}
}"""
