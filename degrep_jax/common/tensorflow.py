"""TensorFlow and CLU, which needs it, imported when they are first used: that takes longer than all
other imports together, and a config that is refused needs neither."""

from etils import epy


def _keep_off_gpus(name: str) -> None:
  """TensorFlow only feeds pictures here; left alone it would take the memory of JAX's GPUs."""
  import tensorflow

  tensorflow.config.set_visible_devices([], 'GPU')


with epy.lazy_imports(success_callback=_keep_off_gpus):
  import tensorflow as tf
  from clu import metric_writers, periodic_actions

__all__ = ['metric_writers', 'periodic_actions', 'tf']
