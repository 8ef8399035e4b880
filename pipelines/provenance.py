"""
Where a picture's pixels are from, as the IPTC vocabulary names it, and the one piece of metadata that says so.

Everything of the upload's own metadata goes. A rendition that a generative model had a hand in gets this packet and
nothing else, because shops must be told (Google Merchant Center refuses AI-made pictures without it).
"""

from __future__ import annotations

from enum import StrEnum

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


def xmp_packet(source: DigitalSource) -> bytes:
    """Return a whole XMP packet of one statement: the `DigitalSourceType`."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"<Iptc4xmpExt:DigitalSourceType>{_VOCABULARY}{source.value}</Iptc4xmpExt:DigitalSourceType>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()
