"""Headers that no grammar foresees, put together of what stands in real mails and of what lies beside that."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["CONTENT_HEADERS", "DATES", "IDS", "NAMES"]

IDS = st.one_of(
    st.sampled_from(
        [
            "<[83c48dddbea7@mail.example.com]>",
            "<[an1].1c69fb81.7aec@[an3].prod.example.com>",
            "<1641082187.abc;;eef@example.com>",
            "<@x>",
            "<>",
            "<a@b@c>",
            "<a..b@c>",
            '<"a"@c>',
            "<a@[b]>",
            f"<{'x' * 90}@{'y' * 60}.example.com>",
            "<a,b:c@d>",
            "<(a)@b>",
        ]
    ),
    st.text(st.sampled_from("ab1.;:,@[]()\"\\'=?_-*%"), min_size=1, max_size=30).map(lambda text: f"<{text}>"),
)
DATES = st.one_of(
    st.sampled_from(
        [
            "today",
            "Fri, 31 Jan 2030 09:00:00 +99999999999999999",
            "Fri, 31 Jan 2030 09:00:00 +2500",
            "Fri, 31 Jan 2030 09:00:00 GMT",
            "31 Jan 30 9:00",
            "0",
        ]
    ),
    st.lists(
        st.sampled_from(["Fri,", "31", "Jan", "2030", "09:00:00", "9:0", "+0100", "-9999", "GMT", ":", "99999", "²"]),
        min_size=1,
        max_size=7,
    ).map(" ".join),
)
_PARAMETERS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "x*0*",
                "x*",
                "x",
                "",
                "boundary=----=_Part_1",
                "boundary=b'1",
                "name=My Invoice 2024.pdf",
                "type=text/html",
                'name="not closed',
                'name="a;b"',
                r'name="a\"b\\"',
                'x*="a"; x*0="b"',
                "name*0*=utf-8''a%C3; name*1*=%A9",
                "name*=nonsense''%ff",
                "name*=utf-16''%ff",
                'name="=?utf-8?q?na=C3=AFve?="',
                "charset=us-ascii (plain)",
                "x*²=1",
                "é=é",
                f"{'long' * 30}=1",
                f"name={'long' * 30}",
            ]
        ),
        st.text(st.sampled_from("ab01*='\"%;\\ ()<>[]?/é²"), max_size=12),
    ),
    max_size=4,
)
CONTENT_HEADERS = st.tuples(
    st.sampled_from(
        ["text/plain", "text/plain); é", "TEXT/html", "application/pdf", "text", "", "(a) text/plain", "[/]"]
    ),
    _PARAMETERS,
).map(lambda drawn: "; ".join([drawn[0], *drawn[1]]))
NAMES = st.sampled_from(
    [
        "Ann",
        "Zürich",
        "日本 太郎",
        "x" * 60,
        "😀" * 30,
        "Doe, J.",
        'a "b" c',
        "a\\b",
        "=?utf-8?q?a?=",
        "(c)",
        "a@b",
        ".",
        "ß ü",
    ]
)
