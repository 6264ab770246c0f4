"""Small trees in the layouts of the released datasets, and archives of them."""

import hashlib
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import cv2
import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
LIST_FOLDER = 'RealBlur-J_ECC_IMCORR_centroid_itensity_ref'


def pair(seed, height=40, width=60):
  """A blurry and a sharp picture, (height, width, 3) uint8."""
  noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
  sharp = cv2.GaussianBlur(noise, (0, 0), 0.7)
  return cv2.GaussianBlur(noise, (0, 0), 2.5), sharp


def save(path, picture):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(picture).save(path)


def gopro(
  root, sequences=('train/GOPR0372_07_00', 'test/GOPR0384_11_00'), numbers=(1, 2, 4), **size
):
  """{split}/{sequence}/{blur,blur_gamma,sharp}/NNNNNN.png."""
  for sequence in sequences:
    for number in numbers:
      blurry, sharp = pair(number, **size)
      for kind, picture in (('blur', blurry), ('blur_gamma', 255 - blurry), ('sharp', sharp)):
        save(root / sequence / kind / f'{number:06}.png', picture)
  return root


def hide(root):
  """As HIDE_dataset.zip unpacks: {train,test/...} and the sharp pictures of all in GT."""
  for seed, path in enumerate(
    (
      'train/7fromGOPR1001.png',
      'test/test-long-shot/9fromGOPR1002.png',
      'test/test-close-ups/1fromGOPR1096.MP4.png',
    )
  ):
    blurry, sharp = pair(seed)
    save(root / path, blurry)
    save(root / 'GT' / pathlib.Path(path).name.replace('.MP4', ''), sharp)
  return root


def realblur(root):
  """Two scenes to train on, one held out, one pair each."""
  for seed, (split, scene) in enumerate((('train', 4), ('train', 1), ('test', 2))):
    folder = f'{LIST_FOLDER}/scene{scene:03}'
    blurry, sharp = pair(seed)
    save(root / folder / 'gt/gt_7.png', sharp)
    save(root / folder / 'blur/blur_7.png', blurry)
    with (root / f'RealBlur_J_{split}_list.txt').open('a') as file:
      file.write(f'{folder}/gt/gt_7.png {folder}/blur/blur_7.png \n')
  return root


def pack(folder, archive):
  """Packs a folder, under its name, by the suffix of the archive."""
  if archive.suffix == '.zip':
    with zipfile.ZipFile(archive, 'w', zipfile.ZIP_DEFLATED) as file:
      for path in sorted(folder.rglob('*')):
        file.write(path, path.relative_to(folder.parent))
  else:
    kind = {'.tar': '', '.gz': 'gz', '.tgz': 'gz', '.xz': 'xz', '.bz2': 'bz2'}[archive.suffix]
    with tarfile.open(archive, f'w:{kind}') as file:
      file.add(folder, folder.name)
  return archive


def digests(folder):
  """{path: hash of its bytes} of all files below a folder, hidden ones too."""
  return {
    path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in folder.rglob('*')
    if path.is_file()
  }


def command(*arguments):
  """`degrep prepare` with these arguments, to be started."""
  line = [sys.executable, '-m', 'degrep_jax.cli', 'prepare', *map(str, arguments)]
  return {'args': line, 'cwd': ROOT, 'env': dict(os.environ), 'text': True}


def run(*arguments):
  """Runs it to the end."""
  return subprocess.run(**command(*arguments), capture_output=True, timeout=300)
