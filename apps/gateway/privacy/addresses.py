"""Street addresses, English and Chinese.

English ones begin with a house number and capitalised words; a word that names a street ends them, and one that may
mean anything else (Drive, Court, Place) only with a unit or a town behind it. Chinese ones are found from a number
that is counted in houses, backwards to where the place names begin and forwards to the room.
"""

import re
from collections.abc import Iterator

from apps.gateway.privacy.scan import Scan, Span

_STREET = (
    r"(?:(?P<certain>Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Parkway|Pkwy|Highway|Hwy|Turnpike|Terrace"
    r"|Crescent|Cres)|Broadway|Drive|Dr|Court|Ct|Place|Pl|Way|Square|Sq|Circle|Cir|Trail|Loop|Alley|Close|Walk|Gardens"
    r"|Row|Mews|Hill|Plaza|Quay)"
)
_UNIT = (
    r"(?:,? (?:(?:Apt|Apartment|Unit|Suite|Ste|Flat|Floor|Fl|Room|Rm)\.? ?#? ?[A-Z]?[0-9]{1,5}[A-Za-z]?"
    r"|#[0-9]{1,5}[A-Z]?))"
)
_POSTCODE = (
    r"(?:[A-Z]{2},? [0-9]{5}(?:-[0-9]{4})?|[A-Z]{2,3} [0-9]{4}|[0-9]{5}"
    r"|(?:[A-Z]{2} )?(?:[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9]|[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2}))(?![A-Za-z0-9])"
)
_TOWN = r"(?:(?:St|Ft|Mt)\. )?[A-Z][A-Za-z'\-]{1,20}(?: [A-Z][A-Za-z'\-]{1,20}){0,2}"
_WORD = r"[A-Z0-9][A-Za-z0-9.'’\-]{0,20}"
_HOUSE = r"[1-9](?<![A-Za-z0-9_.,$€£¥#/:\-].)[0-9]{0,4}(?:[\-/][0-9]{1,4})?[A-Za-z]?"
_ENGLISH = re.compile(
    rf"{_HOUSE}(?:,)? (?:{_WORD} ){{1,4}}?{_STREET}\b\.?(?: (?:North|South|East|West|[NSEW]{{1,2}})\b\.?)?"
    rf"(?P<unit>{_UNIT})?(?P<town>,? {_TOWN},? {_POSTCODE}|,? {_POSTCODE})?(?P<city>,[ ]{_TOWN})?"
)
# No word for a street, but a town and its postcode: 1 Infinite Loop, 350 Broadway, Strasse names.
_WITH_TOWN = re.compile(rf"{_HOUSE} {_WORD}(?: {_WORD}){{0,3}}{_UNIT}?, {_TOWN},? {_POSTCODE}")
_BOX = re.compile(
    r"(?<![A-Za-z])(?:P\. ?O\.|PO) Box [0-9]{1,6}(?![0-9])(?:, {t},? {p})?".replace("{t}", _TOWN).replace(
        "{p}", _POSTCODE
    )
)
_HOUSE_SIGN = re.compile(r"[1-9](?<![A-Za-z0-9_.,$€£¥#/:\-].)[0-9\-/]{0,9}[A-Za-z]?,? [A-Z0-9]")
_HOUSES = "号號栋棟幢弄"
# 100 Wall Street Journal subscriptions: the street is part of a longer name.
_LONGER_NAME = re.compile(r" [A-Z][a-z]")


def may_hold_address(text: str) -> bool:
    """Tell cheaply whether a text may hold an address; its pieces hold none if it does not."""
    return bool(_HOUSE_SIGN.search(text)) or " Box " in text or _has_house(text)


def _has_house(text: str) -> bool:
    return not text.isascii() and any(sign in text for sign in _HOUSES)


def find_address(scan: Scan) -> Iterator[Span]:
    """Yield street addresses, with the unit, town and postcode that follow."""
    text = scan.text
    for sign in _HOUSE_SIGN.finditer(text):
        if (match := _ENGLISH.match(text, sign.start())) and _is_street(text, match):
            yield Span(*match.span())
        if match := _WITH_TOWN.match(text, sign.start()):
            yield Span(*match.span())
    if " Box " in text:
        yield from (Span(*match.span()) for match in _BOX.finditer(text))
    if _has_house(text):
        yield from _find_chinese(text)


def _is_street(text: str, match: re.Match[str]) -> bool:
    if match["unit"] or match["town"]:
        return True
    return bool(match["certain"]) and bool(match["city"] or not _LONGER_NAME.match(text, match.end()))


_PROVINCE = re.compile(
    "北京|天津|上海|重庆|重慶|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|广西|海南|四川|贵州"
    "|云南|西藏|陕西|甘肃|青海|宁夏|新疆|内蒙古|香港|澳门|台湾|台北|新北|台中|高雄|广州|深圳|杭州|南京|武汉|成都|西安|苏州"
)
_DISTRICT = re.compile("[省市区區县縣镇鎮乡鄉村州旗]")
# Words that stand ahead of an address and are no part of one: 我住在, 地址是, 请寄到.
_NAME = re.compile(r"(?:(?![在住址到是从寄送往位我你您他她的了请把将给为去离收至与])[\u4e00-\u9fff])*$")
_NAME_MOST = 30
_LONGEST_NAME = 6
_COUNT = r"(?:[0-9]{1,5}(?:-[0-9]{1,4})?[A-Z]?|[一二三四五六七八九十百]{1,5})"
_ANCHOR = re.compile(rf"{_COUNT} ?(?:(?P<building>号楼|號樓|[栋棟幢])|号院|[号號弄])")
_STREET_END = re.compile("(?:[路街道巷弄里]|胡同|大道|公路)(?:[东西南北中]?段?)$")
_COMPOUND = re.compile("(?:小区|社区|花园|公寓|新村|家园|大厦|广场|中心|[苑城园村庄院府湾寓])(?:[东西南北]?区)?$")
# Line 1, document 3, order no. 5: no house.
_NO_HOUSE = re.compile("[线線文令机令桌店台公字员選选]|出口|位|门店")
_TAIL = re.compile(
    rf"[,， ]?[\u4e00-\u9fff]{{0,10}}?(?:{_COUNT}|[A-Z]) ?(?:号楼|號樓|号院|单元|單元|[栋棟幢座楼樓层層室号號房户])"
    r"|(?<=[元栋棟幢座楼樓])[0-9]{3,4}(?![0-9])"
)
_TAIL_MOST = 6
_FLAT = re.compile("[室户房]|单元|單元")


def _find_chinese(text: str) -> Iterator[Span]:
    floor = 0
    for anchor in _ANCHOR.finditer(text):
        if anchor.start() < floor or _NO_HOUSE.match(text, anchor.end()):
            continue
        least = max(floor, anchor.start() - _NAME_MOST)
        name = _NAME.search(text[least : anchor.start()].rstrip(" "))
        lead = name[0] if name else ""
        end = anchor.end()
        for _ in range(_TAIL_MOST):
            following = _TAIL.match(text, end)
            if not following:
                break
            end = following.end()
        tail = text[anchor.end() : end]
        start = _start_of_address(lead, bool(anchor["building"]), tail)
        if start >= 0:
            begin = least + (name.start() if name else 0) + start
            yield Span(begin if lead else anchor.start(), end)
            floor = end


def _start_of_address(lead: str, is_building: bool, tail: str) -> int:
    """Return where in the words ahead of a house number its address begins, -1 where there is none."""
    province = _PROVINCE.search(lead)
    district = _DISTRICT.search(lead, 1)
    place = _STREET_END.search(lead)
    if place:
        is_address = bool(province or district or tail)
    else:
        place = _COMPOUND.search(lead)
        is_address = is_building and bool(_FLAT.search(tail) or ((province or district) and place))
    if not is_address:
        return -1
    if province:
        return province.start()
    # A district and a street seldom have more characters than these ahead of what they are called by.
    first = min((found.start() for found in (district, place) if found), default=len(lead))
    return max(0, first - _LONGEST_NAME)
