# SPDX-License-Identifier: MIT
"""A request is repeated until a server answers it."""

import contextlib

import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger

from difftori_sim.ros.service_retry import RetriedRequest


@contextlib.contextmanager
def server(graph, says: str, requests: list | None = None):
    """A node with the service, and an executor that has to be spun for it to answer."""
    node = rclpy.create_node(says, context=graph.node.context)
    executor = SingleThreadedExecutor(context=graph.node.context)

    def answer(request, response):
        if requests is not None:
            requests.append(request)
        response.message = says
        return response

    node.create_service(Trigger, "ask", answer)
    executor.add_node(node)
    yield executor
    executor.shutdown()
    node.destroy_node()


def test_request_that_went_down_with_its_server_is_answered_by_the_next(graph):
    client = graph.node.create_client(Trigger, "ask")
    with server(graph, "first"):
        graph.until(client.service_is_ready)
        pending = RetriedRequest(client, Trigger.Request(), again_s=0.2)
        assert not pending.done()
    with server(graph, "second") as executor:
        graph.until(pending.done, each=lambda: executor.spin_once(timeout_sec=0.0))
        assert pending.result().message == "second"


def test_request_that_is_answered_is_made_once(graph):
    requests = []
    with server(graph, "only", requests) as executor:
        client = graph.node.create_client(Trigger, "ask")
        graph.until(client.service_is_ready)
        pending = RetriedRequest(client, Trigger.Request())
        graph.until(pending.done, each=lambda: executor.spin_once(timeout_sec=0.0))
        assert pending.result().message == "only"
    assert len(requests) == 1
