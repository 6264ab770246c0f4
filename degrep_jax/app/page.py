"""The page in the browser: `degrep demo`, by Gradio (the extra 'demo').

Nothing leaves the machine: no analytics, and a policy sent with every answer forbids the browser
all other hosts.
"""

import contextlib
import os
import pathlib
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from typing import Any

# Gradio and what it imports read these; without them it reports its use and asks for its updates.
os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
os.environ['HF_HUB_DISABLE_TELEMETRY'] = os.environ['HF_HUB_OFFLINE'] = '1'

import fastapi
import gradio
import uvicorn

from degrep_jax.app.studio import Studio
from degrep_jax.common.console import say
from degrep_jax.common.errors import UserError, is_out_of_memory
from degrep_jax.inference.restorer import Restorer
from degrep_jax.photos.photo import Photo
from degrep_jax.runtime import signals

MAX_PIXELS = 25_000_000
MAX_BYTES = 64_000_000
POLICY = (
  "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
  "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
  "worker-src 'self' blob:; form-action 'self'; frame-ancestors 'none'"
)
_ABOUT = """# Photographs, deblurred
By {network}, {parameters:,} parameters{steps}, on the machine that serves this page. Pictures go
nowhere else, and what was uploaded is deleted when the page is stopped."""
# Files are read by us, so that their errors are ours; the net serves one caller at a time.
_EVENT: dict[str, Any] = {
  'preprocess': False,
  'concurrency_id': 'net',
  'concurrency_limit': 1,
  'api_visibility': 'private',
}

Examples = list[tuple[pathlib.Path, pathlib.Path]]  # files (blurry, sharp)
Upload = dict[str, Any]  # what Gradio tells of a file that was dropped


@contextlib.contextmanager
def _for_people() -> Iterator[None]:
  """Turns what goes wrong into a sentence on the page."""
  try:
    yield
  except Exception as error:
    if isinstance(error, UserError):
      sentence = str(error)
    elif is_out_of_memory(error):
      sentence = 'The picture needs more memory than there is: try a smaller one.'
    else:
      traceback.print_exc(file=sys.stderr)
      sentence = 'Something went wrong here; the terminal that runs the page says what.'
    raise gradio.Error(sentence, duration=None, print_exception=False) from error


def build(studio: Studio) -> gradio.Blocks:
  """The page."""
  about, title = studio.restorer.about, studio.restorer.title
  examples = studio.examples()
  steps = f', trained for {about["step"]:,} steps' if about['step'] else ''
  with gradio.Blocks(
    title='degrep: photographs, deblurred',
    analytics_enabled=False,
    delete_cache=(600, 3600),  # looks every 600 s for files older than 3600 s
  ) as page:
    gradio.Markdown(_ABOUT.format(network=title, parameters=about['parameters'], steps=steps))
    with gradio.Tab('Deblur'):
      _lay_out_deblurring(studio, examples)
    with gradio.Tab('Blur another picture'):
      if studio.reblurrer:
        _lay_out_reblurring(studio, examples)
      else:
        gradio.Markdown(
          f'The network of this page is {title}. To blur another picture as a photograph is '
          'takes Gr, which only nets of the joint stage have.'
        )
  return page


def _lay_out_deblurring(studio: Studio, examples: Examples) -> None:
  with gradio.Row():
    with gradio.Column(scale=1):
      blurry = _drop_zone('Drop a blurry photograph', 'photograph', 300)
      gradio.Examples(
        [[str(path)] for path, _ in examples],
        blurry,
        label='Photographs inside scikit-image, blurred here',
        api_visibility='private',
      )
    with gradio.Column(scale=3):
      text = gradio.Markdown(elem_id='done')
      result = _comparison('Before and after: move the line', 'restored')
      save = gradio.DownloadButton('Save the restored photograph', visible=False, elem_id='save')
      colours = gradio.Image(
        format='png',
        interactive=False,
        buttons=['download', 'fullscreen'],
        visible=studio.restorer.has_map,
        label='Degradation map: like colours, like values (three main components, over grey)',
        elem_id='map',
      )

  def deblur(upload: Upload | None):
    yield None, None, gradio.DownloadButton(visible=False), ''  # what was of the picture before
    if upload:
      with _for_people():
        seen = studio.deblur(*_read(studio, upload))
      save = gradio.DownloadButton(value=seen.file, visible=True)
      yield (seen.before, seen.after), seen.map, save, seen.text

  blurry.change(deblur, blurry, [result, colours, save, text], **_EVENT)


def _lay_out_reblurring(studio: Studio, examples: Examples) -> None:
  with gradio.Row():
    with gradio.Column(scale=1):
      like = _drop_zone('A blurry photograph, whose blur is read', 'like', 220)
      sharp = _drop_zone('A sharp picture, to be blurred like it', 'sharp', 220)
      strength = gradio.Slider(
        0,
        1,
        1,
        step=0.05,
        label='Strength',
        info="1: the blurry picture's map, 0: the sharp one's",
        elem_id='strength',
      )
      button = gradio.Button('Blur', variant='primary', elem_id='reblur')
    with gradio.Column(scale=3):
      result = _comparison('Sharp, and blurred again: move the line', 'reblurred')
  others = [sharp for _, sharp in (*examples[1:], examples[0])]
  gradio.Examples(
    [[str(blurry), str(sharp)] for (blurry, _), sharp in zip(examples, others, strict=True)],
    [like, sharp],
    label='Examples',
    api_visibility='private',
  )

  def reblur(like: Upload | None, sharp: Upload | None, strength: float):
    with _for_people():
      if not (like and sharp):
        raise UserError('Drop both pictures first: a blurry one, and a sharp one to blur.')
      return studio.reblur(_read(studio, sharp)[0], _read(studio, like)[0], strength)

  for trigger in (button.click, strength.release):
    trigger(reblur, [like, sharp, strength], result, **_EVENT)


def _drop_zone(label: str, name: str, height: int) -> gradio.Image:
  return gradio.Image(
    type='filepath',
    image_mode=None,
    sources=['upload', 'clipboard'],
    buttons=[],
    height=height,
    label=label,
    elem_id=name,
  )


def _comparison(label: str, name: str) -> gradio.ImageSlider:
  return gradio.ImageSlider(
    format='png', interactive=False, max_height=700, label=label, elem_id=name
  )


def _read(studio: Studio, upload: Upload) -> tuple[Photo, str]:
  """The photograph and the name of its file."""
  name = upload.get('orig_name') or 'photo'
  return studio.read(upload['path'], name), name


class _OwnOriginOnly:
  """ASGI middleware: the browser is to ask nobody but this server."""

  def __init__(self, app: Callable):
    self._app = app

  async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
    async def with_policy(message: dict) -> None:
      if message['type'] == 'http.response.start':
        policy = (b'content-security-policy', POLICY.encode())
        message['headers'] = [*message.get('headers', ()), policy]
      await send(message)

    await self._app(scope, receive, with_policy)


async def _no_fetching(url: str) -> Any:
  raise gradio.Error(f'The page reads uploaded files alone, not {url}.')


def _listening(host: str, port: int) -> socket.socket:
  try:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family)
  except (OSError, OverflowError, UnicodeError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise UserError(
      f'the page cannot be served at {host}, port {port} ({reason}): choose another --port.'
    ) from None


def serve(
  restorer: Restorer,
  reblurrer: Restorer | None = None,
  *,
  host: str = '127.0.0.1',
  port: int = 7860,
  max_pixels: int = MAX_PIXELS,
  max_bytes: int = MAX_BYTES,
) -> None:
  """Runs the page until Ctrl-C.

  Args:
    restorer: that deblurs.
    reblurrer: that blurs pictures, where the restorer does not.
    host: address to listen at; by default this machine alone can reach it.
    port: 0 takes a free one.
    max_pixels: of a picture.
    max_bytes: of a file.

  Raises:
    UserError: the address or port cannot be had.
  """
  with _listening(host, port) as server, tempfile.TemporaryDirectory(prefix='degrep-') as folder:
    os.environ['GRADIO_TEMP_DIR'] = str(pathlib.Path(folder) / 'gradio')
    page = build(Studio(restorer, pathlib.Path(folder), max_pixels, reblurrer))
    page.queue(max_size=32)
    app = fastapi.FastAPI(openapi_url=None)
    app.add_middleware(_OwnOriginOnly)
    gradio.mount_gradio_app(
      app,
      page,
      path='/',
      footer_links=[],
      run_history=False,
      ssr_mode=False,
      max_file_size=max_bytes,
      theme=gradio.themes.Base(
        font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']
      ),
    )
    # Of pages that are mounted Gradio does not know that they are served, and takes any file of
    # this machine that a request names for one that was uploaded.
    page.has_launched = True
    name = f'[{host}]' if ':' in host else host
    say(f'http://{name}:{server.getsockname()[1]} (Ctrl-C stops it)')
    if host not in ('127.0.0.1', 'localhost', '::1'):
      say('everybody who reaches this address can use the page: it has no password')
    # What a request names by an address on the web would be fetched.
    gradio.processing_utils.async_ssrf_protected_get = _no_fetching
    signals.end_as_after_ctrl_c()  # what was uploaded is deleted
    with contextlib.suppress(KeyboardInterrupt):
      uvicorn.Server(uvicorn.Config(app, log_level='warning')).run(sockets=[server])
