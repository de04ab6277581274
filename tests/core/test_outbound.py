import asyncio

import pytest

from apps.core.errors import BadRequest
from apps.core.outbound import AddressNotAllowed, Resolver, check_address, check_url, parse_url, resolve

# What names resolve to in these tests; every other name has a public address.
NAMES = {
    "loopback.attacker.example": ["127.0.0.1"],
    "private.attacker.example": ["10.1.2.3"],
    "metadata.attacker.example": ["169.254.169.254"],
    "v6.attacker.example": ["::1"],
    "mapped.attacker.example": ["::ffff:10.0.0.1"],
    "nat64.attacker.example": ["64:ff9b::7f00:1"],
    "linklocal.attacker.example": ["fe80::1%eth0"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "7f000001.nip.example": ["127.0.0.1"],
    "10-0-0-1.nip.example": ["10.0.0.1"],
    "unspecified.attacker.example": ["0.0.0.0"],  # noqa: S104  (refused, not bound)
    "mixed.example.com": ["10.0.0.1", "8.8.8.8", "fd00::1"],
}
HOSTILE = [
    # loopback, in every spelling
    "http://127.0.0.1/",
    "http://127.0.0.1:8000/v1",
    "http://127.8.8.8/",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.0.0.01/",
    "http://0/",
    "http://0.0.0.0/",
    "http://0.1.2.3/",
    "http://１２７.0.0.1/",
    "http://127。0。0。1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127.0.0.1./",
    "http://0x7f.1/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://00000177.1/",
    "http://127.0.1:80/",
    "http://4294967297/",
    "http://localhost/",
    "http://LOCALHOST:6379/",
    "http://localhost./",
    "http://api.localhost/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]:80/",
    "http://[::]/",
    # private, shared, link-local, metadata
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.1.1/",
    "http://2852039166/",
    "http://168.63.129.16/machine",
    "http://192.0.0.192/opc/v2/",
    "http://metadata.google.internal/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fec0::1]/",
    # multicast, broadcast, reserved, documentation, benchmarks
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://255.255.255.255/",
    "http://240.0.0.1/",
    "http://198.18.0.1/",
    "http://192.0.2.1/",
    "http://203.0.113.9/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[100::1]/",
    # translated forms
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[0:0:0:0:0:ffff:169.254.169.254]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:53aa:64c::1]/",
    "http://192.88.99.1/",
    # names of the local network, and names that resolve into it
    "http://redis:6379/",
    "http://postgres/",
    "http://printer.local/",
    "http://vllm.internal:8000/",
    "http://nas.lan/",
    "http://router.home.arpa/",
    "https://loopback.attacker.example/",
    "https://private.attacker.example/",
    "https://metadata.attacker.example/",
    "https://v6.attacker.example/",
    "https://mapped.attacker.example/",
    "https://nat64.attacker.example/",
    "https://linklocal.attacker.example/",
    "https://127.0.0.1.nip.example/",
    "https://7f000001.nip.example/",
    "https://10-0-0-1.nip.example/",
    "https://unspecified.attacker.example/",
    # what two parsers read differently
    "http://user@api.example.com/",
    "http://user:password@api.example.com/",
    "http://api.example.com@127.0.0.1/",
    "http://api.example.com#@127.0.0.1/",
    "http://api.example.com\\@127.0.0.1/",
    "http://127.0.0.1\t.example.com/",
    "http://api.example.com\r\nhost: inner/",
    "http://api.example.com /",
    " http://api.example.com/",
    "http://api.example.com%2f@x/",
    "http://api%2eexample.com/",
    "http://api.example.com./",
    "http://api..example.com/",
    "http://-api.example.com/",
    "http://模型.example/",
    "http://[::1/",
    "http://[::1]x/",
    "http://[127.0.0.1]/",
    "http://[v1.x]/",
    "http:///v1",
    "http://",
    # schemes and ports
    "",
    "api.example.com/v1",
    "//api.example.com/v1",
    "ftp://api.example.com/",
    "file:///etc/passwd",
    "gopher://api.example.com:6379/_x",
    "unix:///var/run/docker.sock",
    "https://api.example.com:0/",
    "https://api.example.com:65536/",
    "https://api.example.com:-1/",
    "https://api.example.com:22/",
    "https://api.example.com:25/",
    "https://api.example.com:/",
    "https://api.example.com:80:80/",
    "https://api.example.com:８０/",
]
INNOCENT = [
    "https://api.openai.com/v1",
    "https://api.openai.com:443/v1",
    "http://api.example.com/v1",
    "https://fdic.gov/",
    "https://fe80.example.com/",
    "https://fc00.example/",
    "https://10.example.com/",
    "https://127.example.com/v1",
    "https://192.168.1.1.example.com/",
    "https://localhost.example.com/",
    "https://internal.example.com/",
    "https://0x7f.example.com/",
    "https://2130706433.example.com/",
    "https://xn--fiqs8s.example/v1",
    "https://my_org-1.api.example.co.uk:8443/openai/deployments/x?api-version=2024-10-21",
    "https://API.Example.COM/v1",
    "https://8.8.8.8/",
    "https://1.1.1.1:8443/v1",
    "http://172.32.0.1/",
    "http://100.128.0.1/",
    "http://169.253.255.255/",
    "https://[2606:4700:4700::1111]/",
    "https://[2a00:1450:4001:81b::200e]:8443/v1",
    "https://mixed.example.com/v1",
]


async def names(host: str, port: int) -> list[str]:
    return NAMES.get(host, ["93.184.215.14"])


async def reach(url: str, allowed_private=()) -> list[tuple[str, int]]:
    """Return where a call to `url` would connect: both guards, at save time and at call time."""
    check_url(url, allowed_private=allowed_private)
    parsed = parse_url(url)
    return await resolve(parsed.host, parsed.port, allowed_private=allowed_private, lookup=names)


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_url_is_refused(url):
    with pytest.raises(AddressNotAllowed) as caught:
        asyncio.run(reach(url))
    assert isinstance(caught.value, BadRequest)
    assert caught.value.code == "address_not_allowed"


def test_table_is_large_enough():
    assert len(set(HOSTILE)) >= 60
    assert len(set(INNOCENT)) >= 20


@pytest.mark.parametrize("url", INNOCENT)
def test_innocent_url_is_reached(url):
    assert asyncio.run(reach(url))


def test_only_public_addresses_of_a_name_are_connected_to():
    assert asyncio.run(reach("https://mixed.example.com/")) == [("8.8.8.8", 443)]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "fe80::1%eth0", "::ffff:8.8.8.8", "", "api.example.com", "1.2.3"]
)
def test_check_address_refuses(address):
    assert not check_address(address)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("http://vllm:8000/v1", "vllm:8000"),
        ("http://VLLM:8000/v1", "vllm:8000"),
        ("http://[::1]:8000/v1", "[::1]:8000"),
        ("http://loopback.attacker.example/", "loopback.attacker.example:80"),
        ("https://loopback.attacker.example/", "loopback.attacker.example:443"),
    ],
)
def test_named_private_endpoint_is_allowed_at_its_port_only(url, endpoint):
    assert asyncio.run(reach(url, {endpoint}))
    with pytest.raises(AddressNotAllowed):
        asyncio.run(reach(url, {endpoint + "1"}))
    with pytest.raises(AddressNotAllowed):
        asyncio.run(reach("http://10.0.0.7:8000/", {endpoint}))


def test_named_private_endpoints_come_from_the_settings(settings):
    settings.OUTBOUND_PRIVATE_ENDPOINTS = ("127.0.0.1:8000",)
    check_url("http://127.0.0.1:8000/v1")
    with pytest.raises(AddressNotAllowed):
        check_url("http://127.0.0.1:8001/v1")


def test_url_is_taken_apart():
    parsed = parse_url("https://API.example.com:8443/v1/chat?x=1&y=2")
    assert (parsed.scheme, parsed.host, parsed.port) == ("https", "api.example.com", 8443)
    assert parsed.target == "/v1/chat?x=1&y=2"
    assert parsed.host_header == "api.example.com:8443"
    assert parse_url("https://api.example.com").target == "/"
    assert parse_url("https://api.example.com:443/").host_header == "api.example.com"
    assert parse_url("http://[2606:4700::1111]/").host_header == "[2606:4700::1111]"


def test_resolver_asks_once_for_many_and_remembers():
    asked = []

    async def lookup(host, port):
        asked.append(host)
        await asyncio.sleep(0.01)
        return ["8.8.8.8"]

    async def test():
        resolver = Resolver(ttl=0.2, allowed_private=(), lookup=lookup)
        answers = await asyncio.gather(*(resolver.resolve("api.example.com", 443) for _ in range(10)))
        assert answers == [[("8.8.8.8", 443)]] * 10
        await resolver.resolve("api.example.com", 443)
        assert len(asked) == 1
        await asyncio.sleep(0.25)
        await resolver.resolve("api.example.com", 443)
        assert len(asked) == 2

    asyncio.run(test())


def test_resolver_vets_a_changed_answer_again_and_remembers_no_failure():
    answers = [OSError("no such name"), ["8.8.8.8"], ["127.0.0.1"], ["8.8.4.4"]]

    async def lookup(host, port):
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def test():
        resolver = Resolver(ttl=0.0, allowed_private=(), lookup=lookup)
        with pytest.raises(OSError, match="no such name"):
            await resolver.resolve("api.example.com", 443)
        assert await resolver.resolve("api.example.com", 443) == [("8.8.8.8", 443)]
        with pytest.raises(AddressNotAllowed):
            await resolver.resolve("api.example.com", 443)
        assert await resolver.resolve("api.example.com", 443) == [("8.8.4.4", 443)]

    asyncio.run(test())


def test_resolver_answers_the_others_when_one_gives_up():
    async def lookup(host, port):
        await asyncio.sleep(0.05)
        return ["8.8.8.8"]

    async def test():
        resolver = Resolver(allowed_private=(), lookup=lookup)
        first, second = (asyncio.create_task(resolver.resolve("api.example.com", 443)) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        assert await second == [("8.8.8.8", 443)]

    asyncio.run(test())
