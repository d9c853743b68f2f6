#!/usr/bin/python3
"""The test ERP is what other tests trust, so it is tested itself: atomic
orders, limits, faults on command, and staying whole under 200 connections."""

import gzip
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


class ErpCase(unittest.TestCase):
    program = (sys.executable, os.path.join(HERE, "erp.py"))
    options = ("--latency", "0ms")

    def setUp(self):
        self.launch()

    def tearDown(self):
        self.end()

    @classmethod
    def launch(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.start("0")

    @classmethod
    def start(cls, port):
        cls.process = subprocess.Popen(
            [*cls.program, "--port", port,
             "--db", os.path.join(cls.dir.name, "erp.sqlite"),
             *cls.options], stdout=subprocess.PIPE)
        cls.port = json.loads(cls.process.stdout.readline())["port"]

    @classmethod
    def end(cls):
        cls.process.terminate()
        status = cls.process.wait(20)
        cls.process.stdout.close()
        cls.dir.cleanup()
        if status:
            raise AssertionError(f"the ERP ended with status {status}")

    def ask(self, method, target, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port,
                                                timeout=10)
        try:
            connection.request(
                method, target,
                None if body is None else json.dumps(body), headers or {})
            answer = connection.getresponse()
            return answer.status, answer, answer.read()
        finally:
            connection.close()

    def json(self, method, target, body=None):
        status, _, text = self.ask(method, target, body)
        return status, json.loads(text)

    def order(self, number, *lines):
        return self.json("POST", "/orders", {
            "order_id": number, "customer": "c",
            "lines": [{"sku": s, "location": lo, "quantity": n}
                      for s, lo, n in lines]})

    def control(self, **said):
        self.assertEqual(self.json("POST", "/__control", said)[0], 200)


class Availability(ErpCase):
    def test_order_of_the_question_is_kept(self):
        status, answer = self.json(
            "GET", "/availability?sku=B,A&sku=nope&location=L2,L1")
        self.assertEqual(status, 200)
        self.assertEqual(
            [(i["sku"], i["location"], i["available"])
             for i in answer["items"]],
            [("B", "L2", 5), ("B", "L1", 5), ("A", "L2", 12),
             ("A", "L1", 12)])
        self.assertRegex(answer["as_of"], r"^\d{4}-.*\.\d{3}Z$")

    def test_all_locations_without_one_named(self):
        answer = self.json("GET", "/availability?sku=A")[1]
        self.assertEqual([i["location"] for i in answer["items"]],
                         ["L1", "L2"])

    def test_caching_headers(self):
        _, answer, body = self.ask("GET", "/availability?sku=A")
        self.assertEqual(answer.headers["Cache-Control"], "public, max-age=5")
        self.assertEqual(int(answer.headers["Content-Length"]), len(body))
        etag = answer.headers["ETag"]
        status, _, body = self.ask("GET", "/availability?sku=A",
                                   headers={"If-None-Match": etag})
        self.assertEqual((status, body), (304, b""))
        self.order("1", ("A", "L1", 1))
        self.assertEqual(self.ask("GET", "/availability?sku=A",
                                  headers={"If-None-Match": etag})[0], 200)

    def test_no_sku(self):
        self.assertEqual(self.json("GET", "/availability")[0], 400)


class Orders(ErpCase):
    def test_reserved_and_read_back(self):
        status, body = self.order("1", ("A", "L1", 10), ("B", "L2", 5))
        self.assertEqual((status, body["status"]), (201, "reserved"))
        cells = self.json("GET", "/availability?sku=A,B")[1]["items"]
        self.assertEqual([i["available"] for i in cells], [2, 12, 5, 0])
        status, body = self.json("GET", "/orders/1")
        self.assertEqual((status, len(body["lines"])), (200, 2))
        self.assertEqual(self.json("GET", "/orders/2")[0], 404)

    def test_all_or_nothing(self):
        status, body = self.order("1", ("A", "L1", 1), ("B", "L1", 6))
        self.assertEqual((status, body["error"]["code"]),
                         (409, "INSUFFICIENT_STOCK"))
        self.assertEqual(body["error"]["lines"], [
            {"sku": "B", "location": "L1", "requested": 6, "available": 5}])
        cells = self.json("GET", "/availability?sku=A&location=L1")[1]
        self.assertEqual(cells["items"][0]["available"], 12)

    def test_lines_of_one_sku_are_summed(self):
        self.assertEqual(self.order("1", ("B", "L1", 3), ("B", "L1", 3))[0],
                         409)

    def test_returns_put_back(self):
        self.assertEqual(self.order("C1", ("C", "L1", -4))[0], 201)
        self.assertEqual(self.order("2", ("C", "L1", 4))[0], 201)
        self.assertEqual(self.order("3", ("C", "L1", 1))[0], 409)
        audit = self.json("GET", "/__audit")[1]
        self.assertEqual((audit["oversold"], audit["mismatches"],
                          audit["returned"]), (0, 0, 4))

    def test_twice_the_same_number(self):
        self.order("1", ("A", "L1", 1))
        status, body = self.order("1", ("A", "L1", 1))
        self.assertEqual((status, body["error"]["code"]),
                         (409, "DUPLICATE_ORDER"))

    def test_malformed(self):
        for body in ({}, [], {"order_id": "1", "lines": []},
                     {"order_id": "1", "lines": [{"sku": "A"}]},
                     {"order_id": "1", "lines": [
                         {"sku": "A", "location": "L1", "quantity": 1.5}]},
                     {"order_id": "1", "lines": [
                         {"sku": "A", "location": "L1", "quantity": 0}]}):
            self.assertEqual(self.json("POST", "/orders", body)[0], 422, body)
        self.assertEqual(self.order("1", ("nope", "L1", 1))[0], 422)

    def test_race_for_the_last_ones(self):
        """12 pieces, 40 buyers of one at the same time: 12 get one."""
        got = []

        def buy(n):
            got.append(self.order(str(n), ("A", "L1", 1))[0])

        self.control(concurrency=0)
        threads = [threading.Thread(target=buy, args=(n,)) for n in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        self.assertEqual((got.count(201), got.count(409)), (12, 28))
        self.assertEqual(self.json("GET", "/__audit")[1]["oversold"], 0)

    def test_history_and_direct_change(self):
        self.order("1", ("A", "L1", 2))
        status, body = self.json("POST", "/__stock", {
            "sku": "A", "location": "L1", "delta": 30})
        self.assertEqual((status, body["available"]), (200, 40))
        rows = [r[4:] for r in self.json("GET", "/__history")[1]
                if r[2:4] == ["A", "L1"]]
        self.assertEqual(rows, [[12, "initial"], [10, "1"], [40, "direct"]])
        self.assertEqual(self.json("POST", "/__stock", {
            "sku": "A", "location": "L1", "delta": -41})[0], 409)

    def test_correlation_id_is_kept(self):
        self.ask("POST", "/orders", {"order_id": "7", "lines": [
            {"sku": "A", "location": "L1", "quantity": 1}]},
            {"X-Correlation-ID": "abc"})
        self.assertEqual(self.json("GET", "/orders/7")[1]["correlation_id"],
                         "abc")


class Keys(ErpCase):
    body = {"order_id": "1", "customer": "c", "lines": [
        {"sku": "A", "location": "L1", "quantity": 2}]}

    def post(self, key, body=None):
        status, _, text = self.ask("POST", "/orders", body or self.body,
                                   {"Idempotency-Key": key})
        return status, json.loads(text)

    def left(self):
        return self.json("GET", "/availability?sku=A&location=L1")[1][
            "items"][0]["available"]

    def test_same_key_same_order(self):
        self.assertEqual(self.json("GET", "/orders/by-key/k%2F1")[0], 404)
        first = self.post("k/1")
        self.assertEqual(first[0], 201)
        self.assertEqual(self.post("k/1"), first)
        self.assertEqual(self.left(), 10)
        self.assertEqual(self.post("k2")[1]["error"]["code"],
                         "DUPLICATE_ORDER")
        status, body = self.json("GET", "/orders/by-key/k%2F1")
        self.assertEqual((status, body["order_id"]), (200, "1"))
        stats = self.json("GET", "/__stats")[1]
        self.assertEqual((stats["orders"], stats["replays"],
                          stats["lookups"]), (1, 1, 2))

    def test_same_key_another_order(self):
        self.post("k")
        status, body = self.post("k", dict(self.body, order_id="2"))
        self.assertEqual((status, body["error"]["code"]),
                         (422, "KEY_REUSED"))
        self.assertEqual(self.json("GET", "/orders/2")[0], 404)

    def test_a_refused_order_leaves_no_key(self):
        many = dict(self.body, lines=[dict(self.body["lines"][0],
                                           quantity=13)])
        self.assertEqual(self.post("k", many)[0], 409)
        self.assertEqual(self.json("GET", "/orders/by-key/k")[0], 404)
        self.assertEqual(self.post("k")[0], 201)

    def test_storm(self):
        got = []
        self.control(concurrency=0)
        threads = [threading.Thread(
            target=lambda: got.append(self.post("k"))) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        self.assertEqual([g[0] for g in got], [201] * 20)
        self.assertEqual(self.left(), 10)

    def test_not_yet_known(self):
        self.control(hang=1)
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(b"POST /orders HTTP/1.1\r\nIdempotency-Key: k\r\n"
                         b"Content-Length: 0\r\n\r\n")
            deadline = time.monotonic() + 10
            while self.json("GET", "/__stats")[1]["running"] == 0:
                self.assertLess(time.monotonic(), deadline)
            self.assertEqual(self.json("GET", "/orders/by-key/k")[0], 409)
        while self.json("GET", "/orders/by-key/k")[0] != 404:
            self.assertLess(time.monotonic(), deadline)


class Concurrency(ErpCase):
    options = ("--latency", "300ms", "--concurrency", "3")

    def crowd(self, n):
        got = []

        def read():
            got.append(self.ask("GET", "/availability?sku=A"))

        threads = [threading.Thread(target=read) for _ in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        return got

    def test_cap(self):
        got = self.crowd(8)
        self.assertEqual([g[0] for g in got].count(200), 3)
        refused = [g for g in got if g[0] == 429]
        self.assertEqual(len(refused), 5)
        self.assertEqual(refused[0][1].headers["Retry-After"], "1")
        stats = self.json("GET", "/__stats")[1]
        self.assertEqual((stats["highest_concurrency"], stats["refusals"],
                          stats["reads"]), (3, 5, 3))


class NetSuite(Concurrency):
    options = ("--latency", "300ms", "--concurrency", "3",
               "--style", "netsuite")

    def test_cap(self):
        refused = [g for g in self.crowd(8) if g[0] == 400]
        self.assertEqual(len(refused), 5)
        self.assertIn(b"SSS_REQUEST_LIMIT_EXCEEDED", refused[0][2])


class Budget(ErpCase):
    options = ("--latency", "0", "--budget", "3/2s")

    def test_window(self):
        got = [self.ask("GET", "/availability?sku=A") for _ in range(4)]
        self.assertEqual([g[0] for g in got], [200, 200, 200, 429])
        self.assertLessEqual(int(got[3][1].headers["Retry-After"]), 3)
        deadline = time.monotonic() + 10
        while self.ask("GET", "/availability?sku=A")[0] != 200:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)


class Faults(ErpCase):
    def raw(self, text):
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(text)
            sock.shutdown(socket.SHUT_WR)
            data = b""
            while True:
                part = sock.recv(65536)
                if not part:
                    return data
                data += part

    def test_fail_counts_down(self):
        self.control(fail=2, fail_status=503)
        self.assertEqual([self.ask("GET", "/availability?sku=A")[0]
                          for _ in range(3)], [503, 503, 200])

    def test_only_writes(self):
        self.control(fail=1, only="write")
        self.assertEqual(self.ask("GET", "/availability?sku=A")[0], 200)
        self.assertEqual(self.order("1", ("A", "L1", 1))[0], 500)
        self.assertEqual(self.order("1", ("A", "L1", 1))[0], 201)

    def test_lost_answer_of_a_write_that_happened(self):
        self.control(lose=1)
        with self.assertRaises((http.client.HTTPException, ConnectionError)):
            self.order("1", ("A", "L1", 1))
        self.assertEqual(self.json("GET", "/orders/1")[0], 200)

    def test_drop_does_nothing(self):
        self.control(drop=1)
        with self.assertRaises((http.client.HTTPException, ConnectionError)):
            self.order("1", ("A", "L1", 1))
        self.assertEqual(self.json("GET", "/orders/1")[0], 404)

    def test_truncated(self):
        self.control(truncate=1)
        with self.assertRaises(http.client.IncompleteRead):
            self.ask("GET", "/availability?sku=A")

    def test_malformed(self):
        self.control(malformed=1)
        status, _, body = self.ask("GET", "/availability?sku=A")
        self.assertEqual(status, 200)
        with self.assertRaises(ValueError):
            json.loads(body)

    def test_gzip(self):
        self.control(gzip_next=1)
        _, answer, body = self.ask("GET", "/availability?sku=A")
        self.assertEqual(answer.headers["Content-Encoding"], "gzip")
        self.assertIn("items", json.loads(gzip.decompress(body)))

    def test_hang_and_slow(self):
        self.control(hang=1)
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(b"GET /availability?sku=A HTTP/1.1\r\nHost: e\r\n\r\n")
            sock.settimeout(0.3)
            with self.assertRaises(TimeoutError):
                sock.recv(1)
        self.control(slow=1, slow_time="300ms")
        start = time.monotonic()
        self.assertEqual(self.ask("GET", "/availability?sku=A")[0], 200)
        self.assertGreaterEqual(time.monotonic() - start, 0.3)

    def test_no_length(self):
        self.control(nolength=1)
        _, answer, body = self.ask("GET", "/availability?sku=A")
        self.assertIsNone(answer.headers["Content-Length"])
        json.loads(body)

    def test_wrong_control(self):
        self.assertEqual(self.json("POST", "/__control", {"x": 1})[0], 400)

    def test_bad_http(self):
        self.assertIn(b" 400 ", self.raw(b"nonsense\r\n\r\n"))
        self.assertIn(b" 400 ", self.raw(
            b"POST /orders HTTP/1.1\r\nContent-Length: x\r\n\r\n"))

    def test_chunked_and_pipelined(self):
        text = self.raw(
            b"POST /orders HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n{}\r\n0\r\n\r\n"
            b"HEAD /availability?sku=A HTTP/1.1\r\n\r\n"
            b"GET /availability?sku=A HTTP/1.1\r\nConnection: close\r\n\r\n")
        self.assertEqual(text.count(b"HTTP/1.1 "), 3)
        self.assertIn(b" 422 ", text)
        self.assertEqual(text.count(b'"items"'), 1)


class Crowd(ErpCase):
    options = ("--latency", "5ms", "--concurrency", "0")

    def test_200_connections_with_keep_alive(self):
        connections = [http.client.HTTPConnection("127.0.0.1", self.port,
                                                  timeout=20)
                       for _ in range(200)]
        for _ in range(5):
            for connection in connections:
                connection.request("GET", "/availability?sku=A,B,C,D")
            for connection in connections:
                answer = connection.getresponse()
                self.assertEqual(answer.status, 200)
                self.assertEqual(len(json.loads(answer.read())["items"]), 8)
        for connection in connections:
            connection.close()
        stats = self.json("GET", "/__stats")[1]
        self.assertEqual(stats["reads"], 1000)
        self.assertGreater(stats["highest_concurrency"], 15)


if __name__ == "__main__":
    unittest.main()
