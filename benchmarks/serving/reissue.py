"""SETTINGS BUNDLE OUT VERSION: the same model as another version, signed by the box. A process of its own, so that the
one that measures shares no pages of the runtime with the server.
"""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec import structs

from toolkit.box import Box
from toolkit.bundle import Bundle, write_bundle

settings, bundle, out = map(Path, sys.argv[1:4])
box = Box(settings)
read = Bundle.read(bundle, box.trusted())
files = {name: (bundle / name).read_bytes() for name in read.manifest.files}
write_bundle(out, structs.replace(read.manifest, version=sys.argv[4]), files, read.measurements, box.bundle_signer())
