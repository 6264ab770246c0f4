"""TFDS builders of the released datasets: `gopro`, `hide`, `realblur_j`, `realblur_r`.

After this import `tfds.builder('gopro/full', data_dir=...)` knows them; the project itself writes
them with write.py (`degrep prepare`) and reads them with read.py, sub-pictures with
sub_pictures.py. Importing them imports TensorFlow Datasets.
"""

from degrep_jax.data.builders.gopro import Gopro
from degrep_jax.data.builders.hide import Hide
from degrep_jax.data.builders.pairs_builder import PairsBuilder
from degrep_jax.data.builders.realblur import RealblurJ, RealblurR

BUILDERS: dict[str, type[PairsBuilder]] = {
  builder.name: builder for builder in (Gopro, Hide, RealblurJ, RealblurR)
}

__all__ = ['BUILDERS', 'PairsBuilder']
