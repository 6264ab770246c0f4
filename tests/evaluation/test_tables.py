"""The files and the table of an evaluation, against figures worked out by hand."""

import csv
import json

import pytest

from degrep_jax.common.errors import UserError
from degrep_jax.evaluation import scoring, tables

ROWS = [
  {'name': 'a,1', 'blurry_psnr': 20.0, 'deblurred_psnr': 30.0},
  {'name': 'b "2"', 'blurry_psnr': 23.0, 'deblurred_psnr': 29.0},
]
TOTALS = {
  'count': 1111,
  'blurry_psnr': 25.641,
  'blurry_ssim_3d': 0.86124,
  'blurry_ssim_2d': 0.79,
  'deblurred_psnr': 33.284,
  'deblurred_ssim_3d': 0.96404,
  'identity_psnr': 25.641,
  'identity_ssim_3d': 0.86124,
  'identity_ssim_2d': 0.79,
  'reblurred_psnr': 24.5,
  'reblurred_ssim_3d': 0.91,
  'reblurred_ssim_2d': 0.9,
}


class Deblurred(scoring.Method):
  """Whose pictures have been scored already."""

  def about(self):
    return {'kind': 'restored'}


def write(rows, folder, stem):
  """Writes the scores of the blurry and of the deblurred pictures; their totals."""
  metrics = [column.removeprefix('deblurred_') for column in rows[0] if 'deblurred' in column]
  methods = [scoring.BlurryInput(), Deblurred('deblurred')]
  scores = scoring.Scores(rows, [method.label for method in methods], tuple(metrics), {})
  scoring.write(folder, scores, methods, scoring.Protocol(), 'some', stem)
  return scores.totals()


def test_scores_are_written_per_picture_and_averaged(tmp_path):
  totals = write(ROWS, tmp_path / 'new', 'gopro')
  assert totals == {'count': 2, 'blurry_psnr': 21.5, 'deblurred_psnr': 29.5}
  assert totals.items() <= json.loads((tmp_path / 'new' / 'gopro.json').read_text()).items()
  with open(tmp_path / 'new' / 'gopro.csv', newline='') as file:
    read = list(csv.DictReader(file))
  assert [row['name'] for row in read] == ['a,1', 'b "2"']
  assert [float(row['deblurred_psnr']) for row in read] == [30, 29]
  assert sorted(p.name for p in (tmp_path / 'new').iterdir()) == ['gopro.csv', 'gopro.json']


def test_infinite_means_survive_json_and_the_table(tmp_path):
  rows = [{'name': 'same', 'blurry_psnr': 20.0, 'deblurred_psnr': float('inf')}]
  assert write(rows, tmp_path, 's')['deblurred_psnr'] == float('inf')

  def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')

  read = json.loads((tmp_path / 's.json').read_text(), parse_constant=refuse)
  assert float(read['deblurred_psnr']) == float('inf')
  assert tables.format_table(read).splitlines()[-1].split() == [
    'deblurred',
    'inf',
    '-',
    '-',
    '+inf',
  ]


def test_the_table_says_what_its_means_leave_out(tmp_path):
  columns = ('name', 'blurry_psnr', 'blurry_ssim_3d', 'deblurred_psnr', 'deblurred_ssim_3d')
  rows = [
    dict(zip(columns, row, strict=True))
    for row in (
      ('same', float('inf'), 1.0, 45.0, 1.0),
      ('tiny', 20.0, None, 22.0, None),
      ('other', 30.0, 0.25, 31.0, 0.5),
    )
  ]
  totals = write(rows, tmp_path, 's')
  assert totals == {
    'count': 3,
    'blurry_psnr': 25,
    'blurry_ssim_3d': 0.625,
    'deblurred_psnr': 26.5,
    'deblurred_ssim_3d': 0.75,
    'identical': 1,
    'without_ssim': 1,
  }
  text = tables.format_table(json.loads((tmp_path / 's.json').read_text()))
  assert max(map(len, text.splitlines())) <= 80
  lines = [line.split() for line in text.splitlines()]
  heading = ' '.join(text.split('────')[0].split())
  assert heading.startswith('means over pictures: 3, PSNR over 2,')
  assert 'SSIM over 2' in heading
  assert lines[-1] == ['deblurred', '26.50', '0.7500', '-', '+1.50']
  with (tmp_path / 's.csv').open() as file:
    assert [row['deblurred_ssim_3d'] for row in csv.DictReader(file)] == ['1.0', '', '0.5']


@pytest.mark.parametrize(
  ('rows', 'message'),
  [
    ([], 'no scores'),
    ([*ROWS, {'name': 'c', 'blurry_psnr': 1.0}], 'same scores'),
  ],
)
def test_tables_with_holes_are_refused(tmp_path, rows, message):
  with pytest.raises(ValueError, match=message):
    tables.write_csv(tmp_path / 's.csv', rows)
  assert not list(tmp_path.iterdir())


def test_scores_that_would_mislead_are_refused(tmp_path):
  rows = [*ROWS, {'name': 'a', 'blurry_psnr': 20.0, 'deblurred_psnr': float('nan')}]
  with pytest.raises(ValueError, match='not a number'):
    write(rows, tmp_path, 's')
  assert not list(tmp_path.iterdir())


def test_the_table_has_every_row_and_its_gain():
  lines = [line.split() for line in tables.format_table(TOTALS).splitlines()]
  assert lines[0][-8:] == ['PSNR,', 'dB', 'SSIM', '(3-D)', 'SSIM', '(2-D)', 'gain,', 'dB']
  assert '1,111' in lines[0]
  rows = [line for line in lines[2:] if line]
  assert rows == [
    ['blurry', 'input', '25.64', '0.8612', '0.7900', '-'],
    ['deblurred', '33.28', '0.9640', '-', '+7.64'],
    ['sharp', 'as', 'if', 'reblurred', '(identity)', '25.64', '0.8612', '0.7900', '-'],
    ['reblurred', '24.50', '0.9100', '0.9000', '-1.14'],
  ]


def test_the_table_fits_a_terminal_and_a_log():
  text = tables.format_table({**TOTALS, 'count': 1_000_000})
  assert max(map(len, text.splitlines())) <= 80
  assert '\x1b' not in text
  assert '…' not in text


def test_a_stage_without_reblurring_has_two_rows():
  deblurring = {k: v for k, v in TOTALS.items() if not k.startswith(('identity', 'reblurred'))}
  text = tables.format_table(deblurring)
  assert 'deblurred' in text
  assert 'reblurred' not in text


def test_an_unusable_folder_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match=r'cannot be written: File exists\.') as caught:
    write(ROWS, tmp_path / 'file', 's')
  assert str(tmp_path / 'file') in str(caught.value)
