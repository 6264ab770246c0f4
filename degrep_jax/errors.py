"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
  """Something the user can mend. The message is one sentence naming the file or field and what to
  do.

  Entry points print it without a traceback and exit with status 2 (`degrep_jax.main`).
  """
