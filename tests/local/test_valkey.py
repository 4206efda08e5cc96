"""What holds for the embedded Valkey alone."""

import kombu
import redis

from local.valkey import Valkey


def test_kombu_sends_and_receives_with_the_broker_url(folder):
    with Valkey(folder) as server, kombu.Connection(server.broker_url) as connection:
        with connection.SimpleQueue("bells") as queue:
            queue.put("ring")
            message = queue.get(timeout=5)
            message.ack()
        assert message.payload == "ring"


def test_it_listens_on_no_port_and_never_drops_a_message(folder):
    expected = {"port": "0", "appendonly": "yes", "appendfsync": "everysec", "maxmemory": "268435456"}
    expected |= {"maxmemory-policy": "noeviction"}
    with Valkey(folder) as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert client.config_get(*expected) == expected
