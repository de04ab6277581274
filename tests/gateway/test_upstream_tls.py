import ssl

import pytest

from apps.gateway.upstream import UpstreamConnectError
from tests.gateway.upstream_helpers import LOOPS, open_pool, run, send, server_tls, until
from tests.provider_double import ProviderDouble


@pytest.fixture(params=sorted(LOOPS))
def loop(request):
    return request.param


@pytest.fixture
def tls(tmp_path):
    return server_tls(tmp_path, ["api.provider.test", "127.0.0.1"])


def test_answer_over_tls_names_the_host_and_keeps_the_connection(loop, tls):
    server, client = tls
    names = []
    server.sni_callback = lambda _socket, name, _context: names.append(name)

    with ProviderDouble(tls=server) as double:

        async def test():
            async with open_pool(double.port, host="api.provider.test", tls=client) as pool:
                for _ in range(3):
                    response = await send(pool, f"https://api.provider.test:{double.port}/v1", stream=True)
                    assert b"[DONE]" in b"".join([chunk async for chunk in response.chunks()])

        run(loop, test)
        assert names == ["api.provider.test"]
        assert double.connections_opened == 1
        assert double.requests[0].headers["host"] == f"api.provider.test:{double.port}"


def test_certificate_of_another_name_is_refused(loop, tls):
    server, client = tls
    with ProviderDouble(tls=server) as double:

        async def test():
            async with open_pool(double.port, host="other.provider.test", tls=client) as pool:
                with pytest.raises(UpstreamConnectError) as caught:
                    await send(pool, f"https://other.provider.test:{double.port}/v1")
                assert caught.value.reason == "tls"
                await until(lambda: pool.open_connections == 0)

        run(loop, test)
        assert double.requests == []


def test_certificate_nobody_vouches_for_is_refused(loop, tls):
    with ProviderDouble(tls=tls[0]) as double:

        async def test():
            async with open_pool(double.port) as pool:
                with pytest.raises(UpstreamConnectError) as caught:
                    await send(pool, f"https://127.0.0.1:{double.port}/v1")
                assert caught.value.reason == "tls"

        run(loop, test)
        assert double.requests == []


def test_certificate_of_an_address_is_accepted(loop, tls):
    server, client = tls
    with ProviderDouble(tls=server) as double:

        async def test():
            async with open_pool(double.port, tls=client) as pool:
                assert (await send(pool, f"https://127.0.0.1:{double.port}/v1")).status == 200

        run(loop, test)


def test_default_context_verifies(loop):
    async def test():
        async with open_pool(1) as pool:
            context = pool._tls_context()
            assert context.verify_mode == ssl.CERT_REQUIRED
            assert context.check_hostname

    run(loop, test)
