"""What is computed one value at a time."""

from degrep_jax.inference.to_onnx.writer import Rule, require


def _of_one_value(op: str) -> Rule:
  return lambda writer, eqn, *values: writer.elementwise(op, eqn.outvars[0].aval.shape, *values)


def _square(writer, eqn, x):
  return writer.elementwise('Mul', eqn.outvars[0].aval.shape, x, x)


def _rsqrt(writer, eqn, x):
  root = writer.elementwise('Sqrt', eqn.outvars[0].aval.shape, x)
  return writer.elementwise('Reciprocal', root.shape, root)


def _select(writer, eqn, which, no, yes):
  return writer.elementwise('Where', eqn.outvars[0].aval.shape, which, yes, no)


def _same_type(writer, eqn, x):
  del writer
  require(eqn.params['new_dtype'] == eqn.invars[0].aval.dtype, eqn)
  return x


RULES: dict[str, Rule] = {
  'abs': _of_one_value('Abs'),
  'add': _of_one_value('Add'),
  'convert_element_type': _same_type,
  'div': _of_one_value('Div'),
  'exp': _of_one_value('Exp'),
  'ge': _of_one_value('GreaterOrEqual'),
  'gt': _of_one_value('Greater'),
  'le': _of_one_value('LessOrEqual'),
  'log': _of_one_value('Log'),
  'logistic': _of_one_value('Sigmoid'),
  'lt': _of_one_value('Less'),
  'max': _of_one_value('Max'),
  'min': _of_one_value('Min'),
  'mul': _of_one_value('Mul'),
  'neg': _of_one_value('Neg'),
  'rsqrt': _rsqrt,
  'select_n': _select,
  'sqrt': _of_one_value('Sqrt'),
  'square': _square,
  'sub': _of_one_value('Sub'),
  'tanh': _of_one_value('Tanh'),
}
