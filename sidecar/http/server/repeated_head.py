"""A head that differs from the one before it on its connection in its target alone, or in its declared length alone.

Clients repeat their fields. What was read of those counts again, and so does what was learnt of them since.
"""

from __future__ import annotations

from sidecar.http.server.request_head import LENGTH, ORIGIN_FORM, HeaderSection, RequestHead, around_length, parse_head


def parse_next_head(raw: bytes, last: RequestHead) -> RequestHead:
    """Read a whole head as `parse_head` does, by comparing it with the one before. Raises BadRequest."""
    before, behind = last.around_target
    end = len(raw) - len(behind)
    if raw.startswith(before) and raw.endswith(behind) and ORIGIN_FORM.fullmatch(raw, len(before), end):
        return _with_target(last, raw, raw[len(before) : end])
    if last.length:
        before, behind = around_length(last.raw)
        end = len(raw) - len(behind)
        if raw.startswith(before) and raw.endswith(behind) and LENGTH.fullmatch(raw, len(before), end):
            digits = raw[len(before) : end]
            # Whether there is a body decides about more than its length.
            if int(digits):
                return _with_length(last, raw, digits)
    return parse_head(raw)


def _with_target(last: RequestHead, raw: bytes, target: bytes) -> RequestHead:
    head = _alike(last, raw, target, last.section, last.around_target)
    head.length = last.length
    head.memo.upstream_fields = last.memo.upstream_fields
    return head


def _with_length(last: RequestHead, raw: bytes, digits: bytes) -> RequestHead:
    section = HeaderSection(
        [(name, digits if name.lower() == b"content-length" else value) for name, value in last.section.raw]
    )
    before = last.around_target[0]
    head = _alike(last, raw, last.target, section, (before, raw[len(before) + len(last.target) :]))
    head.length = int(digits)
    # No classification depends on the length: a body that is too long is refused when it is read.
    memo, known = head.memo, last.memo
    memo.classified, memo.classification = known.classified, known.classification
    if known.upstream_head is not None:
        memo.upstream_head = digits.join(around_length(known.upstream_head))
    return head


def _alike(
    last: RequestHead, raw: bytes, target: bytes, section: HeaderSection, around_target: tuple[bytes, bytes]
) -> RequestHead:
    head = RequestHead(raw, last.method, target, last.version, section, around_target=around_target)
    head.chunked, head.has_body = last.chunked, last.has_body
    head.keep_alive, head.expects_continue, head.upgrade = last.keep_alive, last.expects_continue, last.upgrade
    return head
