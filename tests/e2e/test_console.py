"""The console as people use it: headless Chromium on the real server."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

pytest.importorskip("playwright", reason="the console's tests need playwright: run 'make setup-dev'")

from playwright.sync_api import Browser, Route, expect

from api.catalog.embedded import EmbeddedCatalog
from tests.e2e.browser import Console, chromium, console
from tests.faults.served import Shop, serving
from tests.pace import UNHURRIED

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

CUSTOMER = 7


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def url(browser: Browser, catalog_dir: Path) -> Iterator[str]:  # noqa: ARG001 - no server where there is no browser
    with serving(Shop(EmbeddedCatalog.open(catalog_dir), {"popular": frozenset()}), catalog_dir, **UNHURRIED) as server:
        yield server.url


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Console]:
    with console(browser, url) as opened:
        yield opened


def ask(url: str, path: str) -> Any:
    answer = httpx.get(url + path, timeout=30, trust_env=False)
    assert answer.status_code == 200
    return answer.json()


def order(url: str, container: str, customer: int | None, limit: int = 24, route: str = "products") -> list[str]:
    who = "" if customer is None else f"&customer_id={customer}"
    body = ask(url, f"/v1/containers/{quote(container, safe='')}/{route}?limit={limit}{who}")
    assert body["source"] == ("ensemble" if route == "products" else "popularity")
    return [str(each) for each in body["product_ids"]]


def test_cards_come_in_the_order_of_the_answer(page: Console) -> None:
    page.open()
    first = ask(page.url, "/v1/containers")["containers"][0]["container_id"]
    page.wait_for(page.shows, order(page.url, first, None))
    page.page.get_by_label("Container", exact=True).select_option("deals")
    page.page.get_by_label("Customer").fill(str(CUSTOMER))
    wanted = order(page.url, "deals", CUSTOMER)
    assert wanted != order(page.url, "deals", None)
    page.wait_for(page.shows, wanted)
    expect(page.page.locator(".source")).to_have_text("Ranked by personalize_v1")
    expect(page.page.get_by_role("status")).to_have_text("24 products, ranked by personalize_v1")


def test_a_view_can_be_shared(page: Console, browser: Browser) -> None:
    page.open()
    page.page.get_by_label("Container", exact=True).select_option("coupons")
    page.page.get_by_label("Customer").fill("12")
    page.page.get_by_label("Products", exact=True).select_option("12")
    wanted = order(page.url, "coupons", 12, 12)
    page.wait_for(page.shows, wanted)
    address = urlsplit(page.page.url)
    assert parse_qs(address.query) == {"container": ["coupons"], "customer": ["12"], "limit": ["12"]}
    with console(browser, page.url) as other:
        other.open(f"?{address.query}")
        other.wait_for(other.shows, wanted)


def test_a_card_says_what_the_catalog_knows(page: Console) -> None:
    page.open(f"?container=deals&customer={CUSTOMER}")
    product = ask(page.url, f"/v1/products?ids={page.shows()[0]}")["products"][0]
    card = page.page.locator(".card").first
    expect(card.locator(".now")).to_have_text(f"{product['price']:.2f}")
    expect(card.locator(".before")).to_contain_text(f"{product['regular_price']:.2f}")
    expect(card.locator(".off")).to_have_text(f"\N{MINUS SIGN}{1 - product['price_ratio']:.0%}")
    expect(card.locator(".kicker")).to_have_text(re.compile(re.escape(product["department"]), re.IGNORECASE))
    card.click()
    expect(page.page.get_by_role("dialog")).to_contain_text(f"product {product['product_id']}")
    expect(page.page.get_by_role("row", name="Brand")).to_contain_text(product["brand"])


def test_comparing_says_what_moved(page: Console) -> None:
    page.open(f"?container=popular&customer={CUSTOMER}&view=compare&left=popularity&right=personal")
    left = order(page.url, "popular", CUSTOMER, route="precomputed")
    right = order(page.url, "popular", CUSTOMER)
    page.wait_for(lambda: (page.shows(0), page.shows(1)), (left, right))
    expect(page.page.locator(".figure").first).to_contain_text(f"{len(set(left[:10]) & set(right[:10])) / 10:.0%}")
    for rank, product in enumerate(right):
        badge = page.page.locator(f".column:last-child .card[data-id='{product}'] .badge")
        if product not in left:
            expect(badge).to_have_text("new")
        elif (rose := left.index(product) - rank) == 0:
            expect(badge).to_contain_text("same place")
        else:
            direction = "up" if rose > 0 else "down"
            expect(badge).to_have_text(re.compile(rf"{direction} {abs(rose)} places?$"))
    gone = page.page.locator(".column:first-child .badge.gone")
    expect(gone).to_have_count(len(set(left) - set(right)))
    expect(page.page.locator("#slopes path")).to_have_count(len(set(left) & set(right)))


def test_an_order_can_be_exchanged(page: Console) -> None:
    page.open(f"?container=popular&customer={CUSTOMER}&view=compare")
    page.page.get_by_label("Left order: order").select_option("anonymous")
    page.page.get_by_label("Right order: order").select_option("popularity")
    popular = order(page.url, "popular", None, route="precomputed")
    page.wait_for(lambda: (page.shows(0), page.shows(1)), (order(page.url, "popular", None), popular))
    page.page.get_by_role("radio", name="One order").check()
    page.wait_for(page.shows, order(page.url, "popular", CUSTOMER))


def test_the_keyboard_alone_is_enough(page: Console) -> None:
    page.open()
    keyboard = page.page.keyboard
    focused = lambda: page.page.evaluate("document.activeElement.dataset.id ?? document.activeElement.id")  # noqa: E731
    keyboard.press("/")
    assert focused() == "customer"
    keyboard.type(str(CUSTOMER))
    keyboard.press("Enter")
    ids = order(page.url, "popular", CUSTOMER)
    page.wait_for(page.shows, ids)
    for _ in range(4):  # number of products, view, order, cards
        keyboard.press("Tab")
    assert focused() == ids[0]
    keyboard.press("ArrowRight")
    keyboard.press("ArrowRight")
    keyboard.press("ArrowLeft")
    assert focused() == ids[1]
    keyboard.press("ArrowDown")
    below = ids.index(focused())
    assert below > 2
    left_edge = "card => card.getBoundingClientRect().left"
    cards = page.page.locator(".card")
    assert cards.nth(below).evaluate(left_edge) == cards.nth(1).evaluate(left_edge)
    keyboard.press("End")
    assert focused() == ids[-1]
    keyboard.press("Home")
    keyboard.press("Enter")
    expect(page.page.get_by_role("dialog")).to_be_visible()
    keyboard.press("Escape")
    expect(page.page.get_by_role("dialog")).to_be_hidden()
    assert focused() == ids[0]
    keyboard.press("c")
    page.wait_for(lambda: page.shows(1), ids)
    for _ in range(5):
        keyboard.press("Shift+Tab")
    assert focused() == "container"
    keyboard.press("ArrowDown")
    page.wait_for(lambda: page.shows(1), order(page.url, "deals", CUSTOMER))


@pytest.mark.parametrize("view", ["one", "compare"])
@pytest.mark.parametrize("width", [360, 768, 1_360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows(browser: Browser, url: str, scheme: str, width: int, view: str) -> None:
    with console(browser, url, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        page.open(f"?customer={CUSTOMER}&view={view}")
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        beyond = "cards => cards.filter(card => card.scrollWidth > card.clientWidth + 1).length"
        assert page.page.locator(".card").evaluate_all(beyond) == 0
        paper = page.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        red, green, blue = (int(each) for each in re.findall(r"\d+", paper)[:3])
        assert (red + green + blue > 3 * 128) == (scheme == "light")


def test_a_degraded_answer_says_why(page: Console) -> None:
    page.page.set_extra_http_headers({"x-timeout-ms": "1"})  # nobody can rank in that
    page.open(f"?customer={CUSTOMER}")
    expect(page.page.locator(".notice.degraded")).to_contain_text("in time")
    expect(page.page.locator(".source")).to_have_text("By popularity")
    assert page.shows() == order(page.url, "popular", CUSTOMER, route="precomputed")


def test_stage_times_are_those_of_the_answer(page: Console) -> None:
    with page.page.expect_response("**/products?*") as answered:
        page.open(f"?customer={CUSTOMER}")
    stages = dict(re.findall(r"(\w+);dur=([\d.]+)", answered.value.headers["server-timing"]))
    told = page.page.locator(".timing-bar").get_attribute("aria-label") or ""

    def words(stage: str) -> str:
        took = Decimal(float(stages[stage]))
        digits = Decimal("0.1") if took < 10 else Decimal(1)
        return f"{took.quantize(digits, ROUND_HALF_UP)} ms"  # as JavaScript rounds: 26.5 is 27, where Python says 26

    assert told.startswith(f"{words('total')} of {words('budget')}: pool {words('pool')}, queue {words('queue')}, ")
    assert f"ensemble {words('ensemble')}, other " in told
    bar = page.page.locator(".timing-bar")
    widths = bar.locator(".stage").evaluate_all("parts => parts.map(part => part.getBoundingClientRect().width)")
    whole = bar.evaluate("bar => bar.getBoundingClientRect().width")
    assert sum(widths) / whole == pytest.approx(float(stages["total"]) / float(stages["budget"]), abs=0.02)


def test_text_of_the_catalog_stays_text(page: Console) -> None:
    hostile = "<img src=x onerror=document.title='owned'>"

    def renamed(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        for product in body["products"]:
            product |= {"name": hostile, "department": hostile, "category": hostile, "brand": hostile}
        route.fulfill(response=answer, json=body)

    page.page.route("**/v1/products?*", renamed)
    page.open()
    expect(page.page.locator(".name").first).to_have_text(hostile)
    page.page.locator(".card").first.click()
    expect(page.page.get_by_role("heading", level=2)).to_have_text(hostile)
    assert page.page.locator("main img, dialog img").count() == 0
    assert page.page.title() == "racksort console"


def test_cards_without_details_are_better_than_none(page: Console) -> None:
    page.page.route("**/v1/products?*", lambda route: route.fulfill(status=503, json={"detail": "not now"}))
    page.open(f"?customer={CUSTOMER}")
    ids = order(page.url, "popular", CUSTOMER)
    assert page.shows() == ids
    expect(page.page.locator(".name").first).to_have_text(f"Product {ids[0]}")
    assert all("503" in complaint for complaint in page.complaints)  # the browser's own line for a failed request
    page.complaints.clear()


def test_a_problem_is_shown_and_asking_again_helps(page: Console) -> None:
    page.open()
    page.page.route("**/products?*", lambda route: route.fulfill(status=503, json={"detail": "No products now."}))
    page.page.get_by_label("Customer").fill(str(CUSTOMER))
    expect(page.page.get_by_role("alert")).to_contain_text("No products now.")
    assert page.shows() == []
    page.page.unroute("**/products?*")
    page.page.get_by_role("button", name="Try again").click()
    page.wait_for(page.shows, order(page.url, "popular", CUSTOMER))
    page.complaints.clear()


def test_shares_of_the_models_are_those_of_the_explained_answer(page: Console) -> None:
    path = f"/v1/containers/popular/products?limit=24&customer_id={CUSTOMER}&explain=true"
    explained = ask(page.url, path)["explanations"]
    page.open(f"?customer={CUSTOMER}")
    bars = page.page.locator(".card .shares")
    expect(bars).to_have_count(len(explained))
    for at in (0, 11, 23):
        shares = explained[at]["shares"]
        told = re.findall(r"(Affinity|Demand|Preference) (\d+)%", bars.nth(at).inner_text())
        assert {name.lower(): int(share) / 100 for name, share in told} == pytest.approx(shares, abs=0.0051)
        widths = (
            bars.nth(at)
            .locator(".share")
            .evaluate_all("parts => parts.map(each => each.getBoundingClientRect().width)")
        )
        assert [width / sum(widths) for width in widths] == pytest.approx(list(shares.values()), abs=0.03)
    page.page.locator(".card").first.click()
    expect(page.page.get_by_role("row", name="Found at")).to_contain_text(str(explained[0]["retrieval_rank"]))
    expect(page.page.get_by_role("row", name="By score")).to_contain_text(str(explained[0]["score_rank"]))


def test_what_rules_did_is_on_the_cards(page: Console) -> None:
    def ruled(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["explanations"][0]["rules"] = [{"rule": "fruit first", "effect": "pin", "from": 9, "to": 1}]
        route.fulfill(response=answer, json=body)

    page.page.route("**/products?*explain=true*", ruled)
    page.open(f"?customer={CUSTOMER}")
    expect(page.page.locator(".rule")).to_have_text("pinned: 9 → 1")
    page.page.locator(".card").first.click()
    expect(page.page.get_by_role("row", name="Rule fruit first")).to_contain_text("pinned")


def scrolled(url: str, container: str, pages: int) -> list[str]:
    """Products of the first pages, as the API gives them."""
    found: list[str] = []
    following = ""
    for _ in range(pages):
        path = f"/v1/containers/{container}/products?customer_id={CUSTOMER}&limit=24{following}"
        body = ask(url, path)
        found += map(str, body["product_ids"])
        following = "&cursor=" + quote(body["next_cursor"] or "", safe="")
    return found


@pytest.mark.parametrize("by", ["scrolling", "button"])
def test_the_following_products_of_a_grid_come(page: Console, by: str) -> None:
    grid = next(
        each["container_id"]
        for each in ask(page.url, "/v1/containers")["containers"]
        if each["kind"] == "grid" and each["size"] >= 1_024
    )
    every = scrolled(page.url, grid, 4)
    if by == "button":  # nothing comes by itself where nothing is ever seen
        page.page.add_init_script("IntersectionObserver.prototype.observe = () => {}")
    page.open(f"?customer={CUSTOMER}&container={grid}")
    for shown in (48, 72, 96):
        if by == "button":
            page.page.get_by_role("button", name="More products").focus()
            page.page.keyboard.press("Enter")
        else:
            page.page.mouse.wheel(0, 10_000)
        page.wait_for(lambda shown=shown: page.shows()[:shown], every[:shown])
    ranks = page.page.locator(".rank").all_inner_texts()
    assert [int(re.findall(r"\d+", each)[0]) for each in ranks] == list(range(1, len(ranks) + 1))


def test_a_scroll_ends_with_the_last_product(page: Console) -> None:
    containers = ask(page.url, "/v1/containers")["containers"]
    grids = [each for each in containers if each["kind"] == "grid" and each["size"] > 24]
    small = min(grids, key=lambda each: each["size"])
    page.open(f"?customer={CUSTOMER}&container={quote(small['container_id'])}")
    page.page.mouse.wheel(0, 100_000)
    page.wait_for(lambda: len(set(page.shows())), small["size"])
    expect(page.page.get_by_role("button", name="More products")).to_be_hidden()


def test_a_scroll_that_is_too_old_begins_again(page: Console) -> None:
    gone = {"status": 410, "detail": "The cursor is too old."}
    page.page.route("**/products?*cursor=*", lambda route: route.fulfill(status=410, json=gone))
    grid = next(each for each in ask(page.url, "/v1/containers")["containers"] if each["kind"] == "grid")
    page.open(f"?customer={CUSTOMER}&container={quote(grid['container_id'])}")
    first = page.shows()
    page.page.mouse.wheel(0, 10_000)
    expect(page.page.get_by_role("alert")).to_contain_text("too old")
    assert page.shows() == first
    page.page.unroute("**/products?*cursor=*")
    page.page.get_by_role("button", name="From the start").click()
    expect(page.page.get_by_role("alert")).to_be_hidden()
    page.wait_for(lambda: page.shows()[: len(first)], first)
    page.complaints.clear()


def rank_biased_overlap(left: list[int], right: list[int], p: float = 0.9) -> float:
    """RBO_EXT, equation 32 of Webber et al. (2010), as it is written there."""
    short, long = sorted((left, right), key=len)
    s, l = len(short), len(long)  # noqa: E741 - the paper's names
    common = [len(set(short[:depth]) & set(long[:depth])) for depth in range(l + 1)]
    seen = sum(common[d] / d * p**d for d in range(1, l + 1))
    unseen = sum(common[s] * (d - s) / (s * d) * p**d for d in range(s + 1, l + 1))
    return (1 - p) / p * (seen + unseen) + ((common[l] - common[s]) / l + common[s] / s) * p**l


def test_agreement_is_as_defined(page: Console) -> None:
    page.open()
    rng = random.Random(5)
    pairs = [(rng.sample(range(40), rng.randint(1, 30)), rng.sample(range(40), rng.randint(1, 30))) for _ in range(300)]
    pairs += [([1, 2, 3], [1, 2, 3]), ([1, 2, 3], [4, 5, 6]), ([1], [1, 2]), ([2, 1], [1, 2])]
    script = """async pairs => {
        const { rbo, overlap, moves } = await import('/console/compare.js');
        return pairs.map(([left, right]) => {
            const { places, added, gone } = moves(left, right);
            return [rbo(left, right), rbo(right, left), overlap(left, right), [...places], [...added], [...gone]];
        });
    }"""
    for (left, right), found in zip(pairs, page.page.evaluate(script, pairs), strict=True):
        there, back, overlap, places, added, gone = found
        assert there == pytest.approx(rank_biased_overlap(left, right))
        assert back == pytest.approx(there)
        ten = max(len(left[:10]), len(right[:10]))
        assert overlap == pytest.approx(len(set(left[:10]) & set(right[:10])) / ten)
        assert dict(places) == {each: left.index(each) - right.index(each) for each in right if each in left}
        assert added == [each for each in right if each not in left]
        assert gone == [each for each in left if each not in right]


def test_ids_beyond_what_a_double_holds_stay_themselves(page: Console) -> None:
    page.open()
    script = "async text => (await import('/console/api.js')).parse(text)"
    text = '{"product_ids": [9223372036854775807, 7, 1.5], "name": "9223372036854775807"}'
    parsed = page.page.evaluate(script, text)
    assert parsed == {"product_ids": ["9223372036854775807", 7, 1.5], "name": "9223372036854775807"}


def releases(url: str) -> dict[str, Any]:
    """What an adapter would say with a canary and a shadow, the last canary taken back."""
    found: dict[str, Any] = ask(url, "/v1/releases")
    state = {"state": "serving", "why": "", "since": "2026-11-27T09:00:00+00:00"}
    guard = {
        "guard": "p99",
        "state": "held",
        "figure": 0.0123,
        "live": 0.0101,
        "bound": 0.0201,
        "observations": 812,
        "window_s": 600.0,
        "told": "p99 12.3 ms",
    }
    comparison = {
        "role": "canary",
        "release": 2,
        "live": 1,
        "rankings": 1_240,
        "failed": 0,
        "overlap_10": 0.7,
        "overlap_20": 0.8,
        "rbo": 0.654,
        "score_difference": None,
        "spearman": None,
        "seconds": 0.0061,
        "live_seconds": None,
    }
    taken_back = {"release": 4, "guard": "errors", "why": "errors 5 % <b>", "at": "", "unwritten": ""}
    return found | {
        "wanted_live": 1,
        "wanted_canary": {"release": 2, "percent": 5.0},
        "wanted_shadow": {"release": 3, "percent": 10.0},
        "live": 1,
        "canary": 2,
        "shadow": 3,
        "releases": [{"release": number, "name": f"personalize_v{number}", **state} for number in (1, 2, 3)],
        "beside": {"guards": [guard], "taken_back": taken_back, "comparisons": [comparison], "dropped": {}},
        "history": [
            {
                "version": 7,
                "at": "2026-11-27T09:00:00+00:00",
                "change": "canary 4 off",
                "live": 1,
                "why": "guard errors: errors 5 %",
            }
        ],
    }


def with_releases(page: Console) -> None:
    """Let the server say that there are three; the second has the first one's order backwards."""

    def backwards(route: Route) -> None:
        answer = route.fetch(url=route.request.url.replace("release=2", "release=1"))
        body = answer.json()
        route.fulfill(response=answer, json=body | {"product_ids": body["product_ids"][::-1]})

    status = releases(page.url)
    page.page.route("**/v1/releases", lambda route: route.fulfill(json=status))
    page.page.route("**/products?*release=2*", backwards)


def test_one_release_alone_needs_no_panel(page: Console) -> None:
    page.open(f"?customer={CUSTOMER}")
    expect(page.page.locator("#releases")).to_be_hidden()
    assert page.page.locator("optgroup").evaluate_all("groups => groups.map(each => each.label)") == ["Lists", "Grids"]


def test_the_panel_says_who_has_traffic_and_how_they_do(page: Console) -> None:
    with_releases(page)
    page.open(f"?customer={CUSTOMER}")
    panel = page.page.locator("#releases")
    expect(panel.locator("summary")).to_contain_text(
        "1 is live, 2 is canary for 5 % of the customers, 3 is shadow of 10 % of the requests"
    )
    page.page.locator("#releases summary").focus()
    page.page.keyboard.press("Enter")
    expect(panel.locator(".notice")).to_have_text("Canary 4 was taken back: errors 5 % <b>")
    expect(panel.get_by_role("row", name="p99")).to_contain_text("12 ms")
    expect(panel.get_by_role("row", name="p99")).to_contain_text("held of 812")
    beside = panel.get_by_role("region", name="Release 2 beside release 1")
    for figure in ("Rows1,240", "Overlap@1070%", "Overlap@2080%", "RBO0.65", "Call6.1 ms", "Live call\N{EN DASH}"):
        expect(beside).to_contain_text(figure)
    expect(panel.locator(".release-changes")).to_contain_text("canary 4 off: guard errors: errors 5 %")


def test_two_releases_can_be_compared(page: Console) -> None:
    with_releases(page)
    page.open(f"?container=popular&customer={CUSTOMER}")
    page.page.locator("#releases summary").click()
    page.page.get_by_role("button", name="Compare 1 and 2 below").click()
    ids = order(page.url, "popular", CUSTOMER)
    page.wait_for(lambda: (page.shows(0), page.shows(1)), (ids, ids[::-1]))
    assert parse_qs(urlsplit(page.page.url).query)["right"] == ["release-2"]
    page.page.get_by_label("Right order: order").select_option("Release 1")
    page.wait_for(lambda: page.shows(1), ids)
    expect(page.page.locator(".figure", has_text="RBO").last).to_contain_text("1.00")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_panel_fits_a_narrow_screen(browser: Browser, url: str, scheme: str) -> None:
    with console(browser, url, viewport={"width": 360, "height": 800}, color_scheme=scheme) as page:
        with_releases(page)
        page.open(f"?customer={CUSTOMER}")
        page.page.locator("#releases summary").click()
        expect(page.page.locator(".guards")).to_be_visible()
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 360
