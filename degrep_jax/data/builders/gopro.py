"""GOPRO_Large (Nah et al., CVPR 2017)."""

from degrep_jax.data.builders.pairs_builder import PairsBuilder


class Gopro(PairsBuilder):
  """Registered as `gopro`."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    'Fetch GOPRO_Large.zip from https://seungjunnah.github.io/Datasets/gopro and put it, or the '
    'folder that it unpacks to, into the manual folder.'
  )
  DESCRIPTION = (
    'Frames of a GoPro Hero4 at 240 per second, averaged to blurry ones; the middle frame is the '
    'sharp one. 2103 training and 1111 test pairs, 1280x720. The blurry pictures are those without '
    'inverted gamma (`blur`). CC BY 4.0.'
  )
  HOMEPAGE = 'https://seungjunnah.github.io/Datasets/gopro'
  CITATION = """@inproceedings{nah2017deep,
  title={Deep Multi-Scale Convolutional Neural Network for Dynamic Scene Deblurring},
  author={Nah, Seungjun and Kim, Tae Hyun and Lee, Kyoung Mu},
  booktitle={CVPR},
  year={2017}
}"""
