"""`degrep demo` as people use it: the real command, and Debian's Chromium driven by Selenium."""

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import child
import numpy as np
import pytest
import quick
import saved
import tiny_deblur
import tiny_joint
from command import ROOT, refused
from PIL import Image
from skimage import data

from degrep_jax.inference.restorer import Restorer

pytestmark = pytest.mark.slow

INSTALL = 'The page is tested in a browser: apt-get install chromium chromium-driver'
FLAGS = (
  '--headless',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--window-size=1400,1300',
)
PATIENCE = 60  # s, for what is compiled and computed


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  """A joint net; what it makes of pictures differs from them."""
  path = tmp_path_factory.mktemp('runs') / 'joint'
  saved.workdir(path, tiny_joint.config(eval__tile=32), {1200: None})
  return path


def start(checkpoint, temporary, *flags):
  """The command in a process of its own: (process, address of the page)."""
  environment = child.environment(
    quick.XLA_FLAGS, TMPDIR=str(temporary), JAX_COMPILATION_CACHE_DIR=str(temporary / 'programs')
  )
  command = [sys.executable, '-m', 'degrep_jax.cli', 'demo', f'--checkpoint={checkpoint}']
  process = subprocess.Popen(
    [*command, '--port=0', *flags], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
  )
  line = process.stderr.readline()
  address = re.match(r'http://127\.0\.0\.1:\d+', line)
  assert address, line + process.stderr.read()
  return process, address[0]


def stop(process, how=signal.SIGINT):
  """Ends the command; (its exit status, what it said)."""
  process.send_signal(how)
  _, said = process.communicate(timeout=PATIENCE)
  return process.returncode, said


@pytest.fixture(scope='module')
def address(checkpoint, tmp_path_factory):
  """Of the page; files over 1 MB and pictures over 400,000 pixels are refused."""
  temporary = tmp_path_factory.mktemp('temporary')
  process, address = start(checkpoint, temporary, '--max-pixels=400000', '--max-size=1MB')
  yield address
  assert list(temporary.glob('degrep-*'))
  status, said = stop(process)
  assert (status, said) == (0, '')
  assert not list(temporary.glob('degrep-*'))


class Browser:
  """A tab of Chromium with the page in it."""

  def __init__(self, folder: pathlib.Path):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which('chromium'), shutil.which('chromedriver')
    assert chromium and driver, INSTALL
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f'--user-data-dir={folder / "profile"}'):
      options.add_argument(flag)
    if os.geteuid() == 0:
      options.add_argument('--no-sandbox')
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL', 'browser': 'ALL'})
    self.downloads = folder / 'downloads'
    options.add_experimental_option('prefs', {'download.default_directory': str(self.downloads)})
    self.driver = webdriver.Chrome(options=options, service=Service(driver))

  def find(self, selector):
    """The elements of a CSS selector that are there now."""
    return self.driver.find_elements('css selector', selector)

  def wait(self, condition):
    """What `condition()` gives, as soon as it is something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
      if found := condition():
        return found
      time.sleep(0.1)
    raise AssertionError(f'not within {PATIENCE} s; the page reads: {self.text()}')

  def text(self):
    return self.driver.find_element('css selector', 'body').text

  def drop(self, zone, path):
    """Gives a file to a drop zone."""
    (field,) = self.wait(lambda: self.find(f'{zone} input[type=file]'))
    field.send_keys(str(path))

  def pictures(self, selector, count):
    """The pictures that an element shows, once there are so many, uint8."""
    shown = self.wait(lambda: len(images := self.find(f'{selector} img')) == count and images)
    return [fetch(image.get_attribute('src')) for image in shown]

  def log(self, kind):
    return self.driver.get_log(kind)


def fetch(address):
  with urllib.request.urlopen(address) as answer:
    return np.asarray(Image.open(io.BytesIO(answer.read())))


@pytest.fixture
def browser(address, tmp_path):
  """The page, just opened. Afterwards: it asked its own server alone, and no script failed."""
  browser = Browser(tmp_path)
  try:
    browser.driver.get(address)
    yield browser
    browser.driver.save_screenshot(str(tmp_path / 'page.png'))
    hosts = {urllib.parse.urlsplit(url).netloc for url in asked(browser.log('performance'))}
    assert hosts == {urllib.parse.urlsplit(address).netloc}
    assert [line for line in browser.log('browser') if line['level'] == 'SEVERE'] == []
  finally:
    browser.driver.quit()


def asked(performance):
  """Addresses that the page asked for, by http or as a socket."""
  for line in performance:
    message = json.loads(line['message'])['message']
    request = message['params'].get('request', message['params'])
    is_request = message['method'] in ('Network.requestWillBeSent', 'Network.webSocketCreated')
    if is_request and request['url'].startswith(('http', 'ws')):
      yield request['url']


@pytest.fixture
def photograph(tmp_path):
  """(JPEG file of a picture lying on its side by its EXIF, the picture as it is to be seen)."""
  upright = data.chelsea()[40:200, 100:212]
  lying = Image.fromarray(np.rot90(upright))
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned by 90 degrees clockwise
  lying.save(tmp_path / 'photo.jpg', quality=95, exif=exif)
  return tmp_path / 'photo.jpg', np.rot90(np.asarray(Image.open(tmp_path / 'photo.jpg')), -1)


def close(a, b):
  """Up to a level of 8 bits: the page's process rounds otherwise."""
  return a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1


def test_a_photograph_is_restored(browser, checkpoint, photograph):
  path, upright = photograph
  browser.drop('#photograph', path)
  before, after = browser.pictures('#restored', 2)
  np.testing.assert_array_equal(before, upright)
  restored = Restorer.from_checkpoint(checkpoint, mode='feathered').deblur(upright)
  assert close(after, restored)
  assert np.abs(after.astype(int) - before).mean() > 1
  (shown,) = browser.pictures('#map', 1)
  assert shown.shape == upright.shape
  assert np.ptp(shown.astype(int), axis=-1).max() > 0  # it has colours
  assert re.search(r'112 × 160 pixels restored in \d', browser.text())


def test_the_restored_file_is_saved(browser, photograph):
  path, _ = photograph
  browser.drop('#photograph', path)
  _, after = browser.pictures('#restored', 2)
  browser.wait(lambda: [link for link in browser.find('#save') if link.is_displayed()])
  browser.find('#save')[0].click()
  target = browser.downloads / 'photo_deblurred.jpg'
  browser.wait(target.exists)
  with Image.open(target) as file:
    assert file.format == 'JPEG'
    assert file.getexif().get(0x0112, 1) == 1
    assert np.abs(np.asarray(file).astype(int) - after).mean() < 3


def test_an_example_is_restored(browser):
  examples = browser.wait(lambda: browser.find('.gallery-item'))
  examples[0].click()
  before, after = browser.pictures('#restored', 2)
  assert before.shape == after.shape == data.chelsea().shape


def test_another_picture_is_reblurred(browser, checkpoint, photograph, tmp_path):
  like, upright = photograph
  sharp = data.coffee()[100:200, 200:330]
  Image.fromarray(sharp).save(tmp_path / 'sharp.png')
  _, tab = browser.wait(lambda: browser.find('button[role=tab]'))
  tab.click()
  browser.drop('#like', like)
  browser.drop('#sharp', tmp_path / 'sharp.png')
  browser.wait(lambda: len(browser.find('#like img')) and len(browser.find('#sharp img')))
  browser.find('#reblur')[0].click()
  before, after = browser.pictures('#reblurred', 2)
  np.testing.assert_array_equal(before, sharp)
  restorer = Restorer.from_checkpoint(checkpoint, mode='feathered')
  assert close(after, restorer.reblur(sharp, like=upright))
  # The slider at its other end: the blur of the sharp picture itself.
  address = browser.find('#reblurred img')[1].get_attribute('src')
  (field,) = browser.find('#strength input[type=number]')
  field.send_keys('\ue009a\ue000', '0', '\ue004')  # selects all, types, leaves
  browser.find('#reblur')[0].click()
  browser.wait(lambda: browser.find('#reblurred img')[1].get_attribute('src') != address)
  _, weaker = browser.pictures('#reblurred', 2)
  assert close(weaker, restorer.reblur(sharp, like=upright, strength=0))
  assert not close(weaker, after)


@pytest.mark.parametrize(
  ('name', 'sentence'),
  [
    ('text.png', r'text\.png is not a picture of a kind that can be read\.'),
    ('large.png', r'large\.png claims 700x600 pixels, more than the 400,000 allowed'),
    ('heavy.bmp', r'[Ff]ile.* size'),
  ],
)
def test_what_cannot_be_restored_costs_a_sentence(browser, tmp_path, name, sentence):
  path = tmp_path / name
  if name == 'text.png':
    path.write_text('not a picture')
  else:
    Image.new('RGB', (700, 600)).save(path)  # as BMP 1.26 MB
  browser.drop('#photograph', path)
  browser.wait(lambda: re.search(sentence, browser.text()))


def test_files_that_were_not_uploaded_are_not_read(checkpoint, tmp_path):
  """A request as no browser makes it, which names a file of the machine for an upload."""
  private, temporary = tmp_path / 'private.png', tmp_path / 'temporary'
  Image.new('RGB', (40, 40)).save(private)
  temporary.mkdir()
  process, address = start(checkpoint, temporary)
  with urllib.request.urlopen(f'{address}/config') as answer:
    events = json.load(answer)['dependencies']
  (event,) = [event['id'] for event in events if event['targets'][0][1] == 'change']
  for path, sentence in (
    (str(private), 'was not uploaded'),
    ('http://example.org/x.png', 'reads uploaded files alone'),
  ):
    file = {'path': path, 'orig_name': 'x.png', 'meta': {'_type': 'gradio.FileData'}}
    body = json.dumps({'data': [file], 'fn_index': event, 'session_hash': sentence[:3]}).encode()
    asking = urllib.request.Request(
      f'{address}/gradio_api/queue/join', body, {'content-type': 'application/json'}
    )
    urllib.request.urlopen(asking, timeout=PATIENCE).close()
    answers = f'{address}/gradio_api/queue/data?session_hash={sentence[:3]}'
    with urllib.request.urlopen(answers, timeout=PATIENCE) as answer:
      done = next(line for line in map(bytes.decode, answer) if 'process_completed' in line)
    assert '"success":false' in done and sentence in done
  assert not list(temporary.rglob('private.png'))
  assert stop(process)[0] == 0


@pytest.mark.parametrize('network', ['msdi_net', 'hinet'])
def test_nets_without_gr_say_why_they_do_not_reblur(tmp_path, network):
  saved.workdir(tmp_path / 'run', tiny_deblur.config(model__network=network), {7: None})
  (tmp_path / 'temporary').mkdir()
  process, address = start(tmp_path / 'run', tmp_path / 'temporary')
  with contextlib.closing(urllib.request.urlopen(address)) as answer:
    html = answer.read().decode()
    policy = answer.headers['content-security-policy']
  assert "default-src 'self'" in policy
  assert 'takes Gr, which only nets of the joint stage have' in html
  assert 'elem_id": "sharp' not in html and 'elem_id":"sharp' not in html
  status, said = stop(process, signal.SIGTERM)
  assert (status, said) == (0, '')
  assert not list((tmp_path / 'temporary').glob('degrep-*'))


def test_a_port_that_is_taken(checkpoint, address):
  port = urllib.parse.urlsplit(address).port
  command = [sys.executable, '-m', 'degrep_jax.cli', 'demo', f'--checkpoint={checkpoint}']
  result = subprocess.run(
    [*command, f'--port={port}'], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
  )
  refused(result, f'127.0.0.1, port {port}', 'choose another --port')
