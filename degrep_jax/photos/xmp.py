"""What XMP packets promise of data elsewhere in a file: taken out where that data is not written.

Sources: Ultra HDR Image Format 1.1 and Dynamic depth / Motion Photo 1.0 (Android), XMP
Specification part 3 (extended packets).
"""

from collections.abc import Iterator
from typing import Any
from xml.dom import minidom
from xml.parsers.expat import ExpatError

GAIN_MAP = 'http://ns.adobe.com/hdr-gain-map/1.0/'
_CONTAINER = 'http://ns.google.com/photos/1.0/container/'
_CAMERA = 'http://ns.google.com/photos/1.0/camera/'
_ITEM = 'http://ns.google.com/photos/1.0/container/item/'
_RDF = 'http://www.w3.org/1999/02/22-rdf-syntax-ns#'
_PROMISES = {  # names of what attributes and elements of a namespace tell of; None: of no loss
  GAIN_MAP: None,
  _CONTAINER: None,
  _CAMERA: 'motion video',
  'http://ns.adobe.com/xmp/note/': 'extended XMP',
  'http://ns.google.com/photos/1.0/depthmap/': 'depth map',
  'http://ns.google.com/photos/1.0/image/': 'original picture',
  'http://ns.google.com/photos/1.0/audio/': 'sound',
}
# Of Google's camera, whose namespace has other properties too.
_MOTION = ('MotionPhoto', 'MicroVideo')
_EMPTY = (
  b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="'
  + _RDF.encode()
  + b'"><rdf:Description rdf:about=""/></rdf:RDF></x:xmpmeta>'
)


def without_promises(packet: bytes) -> tuple[bytes, tuple[str, ...]]:
  """A packet without what it says of data elsewhere in its file, and the names of such data.

  A gain map is not among the names: whether it is lost is for its writer to say. A packet that
  promises nothing, or that cannot be read, stays as it is.
  """
  if not any(namespace.encode() in packet for namespace in _PROMISES):
    return packet, ()
  try:
    document = _parsed(packet)
  except ExpatError:
    return packet, ()
  names = []
  for description in document.getElementsByTagNameNS(_RDF, 'Description'):
    for node in [*_promises(description)]:
      names.append(_PROMISES[node.namespaceURI])
      if isinstance(node, minidom.Attr):
        description.removeAttributeNode(node)
      else:
        description.removeChild(node)
  return _written(document), tuple(dict.fromkeys(filter(None, names)))


def with_gain_map(packet: bytes | None, length: int) -> bytes:
  """A packet, or a new one, that says that a gain map of so many bytes follows the picture.

  Args:
    packet: of `without_promises`.
    length: of the gain map's file, bytes.
  """
  try:
    document = _parsed(packet or _EMPTY)
    description = document.getElementsByTagNameNS(_RDF, 'Description')[0]
  except (ExpatError, IndexError):
    document = minidom.parseString(_EMPTY)
    description = document.getElementsByTagNameNS(_RDF, 'Description')[0]
  for prefix, namespace in (('hdrgm', GAIN_MAP), ('Container', _CONTAINER), ('Item', _ITEM)):
    description.setAttribute(f'xmlns:{prefix}', namespace)
  description.setAttributeNS(GAIN_MAP, 'hdrgm:Version', '1.0')
  directory = minidom.parseString(
    f'<Container:Directory xmlns:Container="{_CONTAINER}" xmlns:Item="{_ITEM}" xmlns:rdf="{_RDF}">'
    '<rdf:Seq><rdf:li rdf:parseType="Resource">'
    '<Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li>'
    '<rdf:li rdf:parseType="Resource">'
    f'<Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg" Item:Length="{length}"/>'
    '</rdf:li></rdf:Seq></Container:Directory>'
  )
  description.appendChild(directory.getElementsByTagNameNS(_CONTAINER, 'Directory')[0])
  return _written(document)


def place_of_gain_map(packet: bytes) -> tuple[int, int] | None:
  """(Bytes from the start of the gain map to the end of the file, bytes of the gain map), by the
  packet of the picture; a motion video may come behind it. None where the packet names none."""
  try:
    document = _parsed(packet)
  except ExpatError:
    return None
  own, behind = 0, 0
  for item in document.getElementsByTagNameNS(_CONTAINER, 'Item'):
    text = _value(item, 'Length')
    length = int(text) if text.isdecimal() else 0
    if _value(item, 'Semantic') == 'GainMap':
      own, behind = length, 0
    else:
      behind += length
  return (own + behind, own) if own else None


def _value(item: Any, name: str) -> str:
  """Of a property of an item, written as an attribute or as an element."""
  if attribute := item.getAttributeNS(_ITEM, name):
    return attribute.strip()
  for element in item.getElementsByTagNameNS(_ITEM, name):
    return ''.join(node.data for node in element.childNodes if hasattr(node, 'data')).strip()
  return ''


def _promises(description: Any) -> Iterator[Any]:
  """Yields the attributes and elements that tell of data elsewhere."""
  for node in (*description.attributes.values(), *description.childNodes):
    promised = node.namespaceURI in _PROMISES
    if promised and (node.namespaceURI != _CAMERA or node.localName.startswith(_MOTION)):
      yield node


def _parsed(packet: bytes) -> minidom.Document:
  """Without the NULs and blanks that some writers fill packets up with."""
  return minidom.parseString(packet.rstrip(b'\0 \t\r\n'))


def _written(document: minidom.Document) -> bytes:
  """Without the XML declaration, which packets have not."""
  return ''.join(node.toxml() for node in document.childNodes).encode()
