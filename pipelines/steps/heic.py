"""
HEIC, the photos of iPhones: registers pillow-heif with Pillow, where it is installed (the extra `heic`).

Imported by the zygote only. The wheel of pillow-heif is under the GPL, because it holds x265; nothing else needs it.
"""

from __future__ import annotations

import pillow_heif

# One picture is wanted: not its thumbnails, depth maps or gain maps, each of which is more parsing of hostile bytes.
pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
