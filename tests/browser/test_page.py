"""The page in a real browser: what is drawn is what was measured, readable everywhere, and nothing in it acts."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from rigdeploy.errors import UnreachableError
from rigdeploy.report.result import RigResult
from rigdeploy.verify.findings import Finding, Status
from tests.unit.report.sample import Sample

LOOKS = Path(__file__).with_name("looks.js").read_text(encoding="utf-8")
ATTACKS = [
    "<script>window.owned = 1</script>",
    '"><img src="http://192.0.2.1/x" onerror="window.owned = 1">',
    "</text></svg><svg onload='window.owned = 1'><script>window.owned = 1</script>",
    "</style><style>body { display: none } @import 'http://192.0.2.1/'; </style>",
    "</pre></details><iframe src=javascript:parent.owned=1>",
    "{{ 7 * 7 }} {% raw %} ${7*7} &lt;b&gt; &#x3c;script&#x3e; ]]> <!-- --> <![CDATA[",
    "\u202egnp.exe\u202c \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea",
    "Z\u0351\u036b\u0343\u036a\u0302a\u0321\u034a\u0360l\u0328\u034bg\u0322o " * 20,
    "\u6f22\u5b57\u4eee\u540d\u4ea4\u3058\u308a" * 30,
    "WWWWWWWWWW@@@@@@@@@@" * 20,
    "A" * 1_000_000,
]
LOST = RigResult("rig09", error=UnreachableError(ATTACKS[0], ATTACKS[1]))


def broken(catalogue):
    """Every kind of thing that can be wrong with a slot."""
    made = Sample(catalogue, "romed8-7x4090")
    made.degrade("PCIE1", 8)
    made.degrade("PCIE2", 1)
    made.remove("PCIE3")
    for link in (made.card("PCIE4")["link"], made.port("PCIE4")["link"], made.reading("PCIE4")["link"]):
        link["width"] = None
    made.loaded("PCIE4")["link"] = {}
    made.loaded("PCIE5")["h2d_gbps"] = None
    gone = Sample(catalogue, name="rig02")
    gone.remove("PCIE7")
    extra = gone.card("PCIE1") | {"address": "0000:91:00.0", "parent": None}
    gone.document["pci"] += [extra | {"slot": "PCIE2"}, extra | {"address": "0000:92:00.0", "slot": "PCIE2"}]
    return [made.result(), gone.result()]


def hostile(catalogue):
    """Everything that a node can put into the page is an attack."""
    results = []
    for index, attack in enumerate(ATTACKS):
        made = Sample(catalogue, "dual-4090-no-nvlink", f"rig{index:02}")
        for gpu in made.document["gpus"]:
            gpu["name"] = attack
        made.document["host"] |= dict.fromkeys(("kernel", "os_id", "os_version", "board", "vendor", "bios"), attack)
        made.document["cpu"] = {"model": attack, "cores": 8}
        made.document["driver"] |= {"version": attack, "library": attack, "flavour": attack}
        made.document["pci"].append(
            made.card("SLOT1") | {"address": "0000:91:00.0", "parent": None, "slot": attack, "device": "ffff"}
        )
        found = made.result()
        short = attack[:5000]
        spoken = Finding(short, short, Status.FAIL, short, short, short, short, {short: short})
        results.append(RigResult(**{**vars(found), "findings": (*found.findings, spoken)}))
    return [*results, LOST]


PAGES = {
    "sound": lambda catalogue: [Sample(catalogue).result()],
    "broken": broken,
    "chipset": lambda catalogue: [Sample(catalogue, "budget-4x3090").result(active=False)],
    "fleet": lambda catalogue: [
        Sample(catalogue, build, f"rig{index}").result(active=index % 2 == 0)
        for index, build in enumerate(sorted(catalogue.builds))
    ],
    "hostile": hostile,
    "nothing": lambda catalogue: [],
}
VIEWS = list(itertools.product(PAGES, (360, 768, 1440), ("light", "dark")))


@pytest.fixture(scope="module", params=VIEWS, ids=lambda view: "-".join(map(str, view)))
def view(request, browser, catalogue):
    """One page at one width in one theme: the results, what a person sees, the console, the requests."""
    name, width, theme = request.param
    results = PAGES[name](catalogue)
    address = browser.show(results, width=width, theme=theme)
    return results, browser.run(LOOKS), browser.complaints(), [url for url in browser.requests() if url != address]


def test_nothing_in_the_page_acts_or_asks(view):
    _, seen, complaints, requests = view
    assert (seen["foreign"], seen["owned"], complaints, requests) == (0, None, [], [])


def test_nothing_is_wider_than_the_window(view):
    _, seen, _, _ = view
    assert (seen["overflow"], seen["beyond"]) == (0, [])


def test_every_text_stands_out_from_its_ground(view):
    results, seen, _, _ = view
    assert not seen["faint"]
    assert seen["texts"] >= 3 + 20 * sum(1 for result in results if result.error is None)


def test_no_two_texts_of_a_drawing_overlap(view):
    _, seen, _, _ = view
    for board in seen["boards"]:
        frame = board["frame"]
        for text in board["texts"]:
            assert text["left"] >= frame["left"], text
            assert text["right"] <= frame["right"], text
        sockets = [place["socket"] for place in board["places"]]
        for one, other in itertools.chain(
            itertools.combinations(board["texts"], 2), itertools.product(board["texts"], sockets)
        ):
            apart = (
                min(one["right"], other["right"]) - max(one["left"], other["left"]) <= 0.5
                or min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) <= 0.5
            )
            assert apart, (one, other)


def test_every_slot_is_drawn_as_wide_as_it_was_measured(view):
    results, seen, _, _ = view
    drawn = [result for result in results if result.slots]
    assert len(seen["boards"]) == len(drawn)
    for result, board in zip(drawn, seen["boards"], strict=True):
        assert [place["slot"] for place in board["places"]] == [slot.name for slot in result.slots]
        for slot, place in zip(result.slots, board["places"], strict=True):
            row = slot.row
            declared = row.declared_link.width if row and row.declared_link else 0
            measured = (row.link.width or 0) if row and row.address else 0
            kind = "empty" if row is None else "card" if row.address else "missing"
            assert (place["declared"], place["measured"], place["kind"]) == (declared, measured, kind)
            assert place["crossed"] is (kind == "missing")
            assert (place["drawn"] > 10) is (measured > 0)
            assert f"{slot.name}: " in board["description"]
        tops = [place["card"]["top"] for place in board["places"]]
        assert tops == sorted(tops)


def test_verdicts_differ_in_pattern_as_well_as_in_colour(view):
    _, seen, _, _ = view
    patterns = {(p["verdict"], p["pattern"]) for b in seen["boards"] for p in b["places"] if p["verdict"]}
    assert len({verdict for verdict, _ in patterns}) == len({pattern for _, pattern in patterns}) == len(patterns)


def test_the_broken_page_shows_what_is_wrong_first(browser, catalogue):
    result = PAGES["broken"](catalogue)[0]
    browser.show([result])
    text = browser.run("return document.querySelector('main').innerText")
    assert text.index("What is wrong") < text.index("All findings")
    finding = next(finding for finding in result.findings if finding.check == "link.width" and finding.cause)
    assert text.index("What is wrong") < text.index(finding.remedy) < text.index("All findings")
    lines = browser.run(
        "return [...document.querySelectorAll('.board.wide .place')]"
        ".map(p => [p.dataset.slot, p.querySelector('.measured')?.classList[1] ?? null])"
    )
    assert dict(lines)["PCIE1"] == "fail"


def test_what_a_node_says_is_there_as_text(browser, catalogue):
    browser.show(hostile(catalogue))
    text = browser.run("return document.body.textContent")
    assert all(attack in text for attack in ATTACKS[:6])
    assert "\u202e" not in text
    assert len(text) < 3_000_000


def test_the_policy_stops_a_script_that_got_in_all_the_same(browser, sample):
    browser.show([sample().result()])
    browser.run(
        "const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.body.append(s);"
        "const i = document.createElement('img'); i.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACw='; "
        "document.body.append(i);"
    )
    assert browser.run("return window.owned ?? null") is None
    assert any("Content Security Policy" in line for line in browser.complaints())


def test_a_heading_never_skips_a_level_and_a_table_has_heads(browser, catalogue):
    for name in ("sound", "fleet", "broken"):
        browser.show(PAGES[name](catalogue))
        levels = browser.run("return [...document.querySelectorAll('h1,h2,h3,h4,h5')].map(h => +h.tagName[1])")
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        rows = browser.run(
            "return [...document.querySelectorAll('tbody tr')].map(r => r.querySelectorAll('th[scope]').length)"
        )
        assert set(rows) == {1}
        assert browser.run("return document.documentElement.lang") == "en"
        unnamed = browser.run(
            "return [...document.querySelectorAll('svg[role=img]')].filter(s => "
            "!s.getAttribute('aria-labelledby').split(' ').every(id => document.getElementById(id)?.textContent))"
        )
        assert not unnamed


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))


def test_on_paper_every_rig_begins_a_page(browser, sample):
    small = [RigResult(f"rig{n}", error=UnreachableError("it does not answer", "is it on?")) for n in range(3)]
    browser.show(small)
    assert pages_of(browser.pdf()) == 3
    browser.show([sample().result()])
    pdf = browser.pdf()
    assert 2 <= pages_of(pdf) <= 3
    assert re.search(rb"/MediaBox \[0 0 59[456][.\d]* 84[123][.\d]*\]", pdf), "it is no A4"
