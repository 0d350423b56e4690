import pytest

from dataplane.errors import ConfigFault
from dataplane.wire.destination import parse


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "target"),
    [
        ("http://example.com", "example.com", 80, b"example.com", b"/"),
        ("HTTP://Example.COM.:8080/a/b?c=d#e", "example.com", 8080, b"example.com.:8080", b"/a/b?c=d"),
        ("http://[::1]:9000/x", "::1", 9000, b"[::1]:9000", b"/x"),
        ("http://127.0.0.1:0/", "127.0.0.1", 0, b"127.0.0.1:0", b"/"),
        ("http://a/p%20q?x=%2F&y=\u00e9", "a", 80, b"a", b"/p%20q?x=%2F&y=%C3%A9"),
        ("http://b\u00fccher.example/", "xn--bcher-kva.example", 80, b"xn--bcher-kva.example", b"/"),
        ("https://example.com/x", "example.com", 443, b"example.com", b"/x"),
    ],
)
def test_a_url_says_where_what_and_whom(url, host, port, authority, target):
    found = parse(url)
    assert (found.host, found.port, found.authority, found.target) == (host, port, authority, target)
    assert found.url == url
    assert found.secure is url.startswith("https")


@pytest.mark.parametrize(
    "url", ["", "/relative", "example.com/x", "ftp://a/", "http://", "http:///x", "http://a:99999/", "http://a b/", "http://a/\r\nx: y", "http://user:pw@a/", "http://[::1/"]
)  # fmt: skip
def test_what_cannot_be_called_is_refused_with_a_reason(url):
    with pytest.raises(ConfigFault, match="URL"):
        parse(url)


def test_a_password_is_not_repeated_in_the_message():
    with pytest.raises(ConfigFault) as caught:
        parse("http://user:secret@host/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "gateway", "origin"),
    [
        ("http://hello.default.svc.cluster.local/", "127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("http://hello.default.svc.cluster.local/", "[::1]:8080", ("::1", 8080)),
        ("http://hello.default.svc.cluster.local/", "", ("hello.default.svc.cluster.local", 80)),
        ("http://svc.cluster.local/", "127.0.0.1:8080", ("svc.cluster.local", 80)),
        ("http://hello.default.localhost:8080/", "127.0.0.1:1", ("127.0.0.1", 8080)),
        ("http://localhost:9/", "", ("127.0.0.1", 9)),
        ("http://notlocalhost:9/", "", ("notlocalhost", 9)),
    ],
)
def test_where_to_connect(url, gateway, origin):
    assert parse(url).origin(gateway) == origin
