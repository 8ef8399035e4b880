"""
Where a picture's pixels are from, as the IPTC vocabulary names it, and the one piece of metadata that says so.

Everything of the upload's own metadata goes. A rendition that a generative model had a hand in gets this packet and
nothing else, because shops must be told (Google Merchant Center refuses AI-made pictures without it). Where a recipe
keeps the copyright, the packet says whose picture it is, too.
"""

from __future__ import annotations

from enum import StrEnum
from html import escape

_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"


class DigitalSource(StrEnum):
    """IPTC `DigitalSourceType` of what a generative model made. A plain photo carries none."""

    GENERATED = "trainedAlgorithmicMedia"
    COMPOSITE = "compositeWithTrainedAlgorithmicMedia"


# Cutting out and enlarging show the same scene; these show one that no camera saw.
_OF_OPERATION = {
    "generate-image": DigitalSource.GENERATED,
    "edit-image": DigitalSource.COMPOSITE,
    "replace-background": DigitalSource.COMPOSITE,
}


def digital_source_of(operation: str | None) -> DigitalSource | None:
    """Return what a provider's result must be marked as, None where it shows what a camera saw."""
    return None if operation is None else _OF_OPERATION.get(operation)


def xmp_packet(source: DigitalSource | None, notice: str = "", creator: str = "") -> bytes | None:
    """Return an XMP packet of the `DigitalSourceType`, a copyright notice and a creator, or None for none of them."""
    said = ""
    if source is not None:
        said += f"<Iptc4xmpExt:DigitalSourceType>{_VOCABULARY}{source.value}</Iptc4xmpExt:DigitalSourceType>"
    if notice:
        said += f'<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">{escape(notice)}</rdf:li></rdf:Alt></dc:rights>'
    if creator:
        said += f"<dc:creator><rdf:Seq><rdf:li>{escape(creator)}</rdf:li></rdf:Seq></dc:creator>"
    if not said:
        return None
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"{said}"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()
