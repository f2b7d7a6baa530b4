"""The formats for programs: JSON with its schema, JUnit, Prometheus; each read back by someone else's reader."""

from __future__ import annotations

import json
import math
import time
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rigdeploy.errors import UnreachableError
from rigdeploy.report import junit, prometheus
from rigdeploy.report.json import as_data
from rigdeploy.report.result import RigResult
from rigdeploy.report.schema import findings_schema
from rigdeploy.verify.findings import Finding, Status

LOST = RigResult("rig02", error=UnreachableError("192.0.2.12 does not answer", "is it on?"))
NASTY = 'a"b\\c\nd\t<e>&\x00\x1b\ud800\ufffe\u2028\u202e]]>'


def one(status, **fields):
    return RigResult("rig01", findings=(Finding("link.width", "PCIE1", status, **fields),))


@pytest.fixture
def broken(sample):
    made = sample()
    made.degrade("PCIE3", 8)
    made.remove("PCIE7")
    made.document["pci"].append(made.card("PCIE1") | {"address": "0000:91:00.0", "parent": None, "slot": "PCIE2"})
    made.reading("PCIE5")["name"] = NASTY
    return made.result()


def test_the_schema_is_one_and_holds_for_what_is_printed(sample, broken):
    schema = findings_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    data = json.loads(json.dumps(as_data([broken, LOST, RigResult("rig03")]), allow_nan=False))
    jsonschema.validate(data, schema, jsonschema.Draft202012Validator)
    idle = as_data([sample("budget-4x3090", "rig04").result(active=False)])
    jsonschema.validate(idle, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.update(schema=2),
        lambda data: data["rigs"]["rig01"].update(status="FINE"),
        lambda data: data["rigs"]["rig01"].update(status=None),
        lambda data: data["rigs"]["rig01"].pop("host"),
        lambda data: data["rigs"]["rig01"]["cards"][0].update(memory_mib="24576"),
        lambda data: data["rigs"]["rig01"]["cards"][0]["bandwidth_gbps"].pop("to_card"),
        lambda data: data["rigs"]["rig01"]["findings"][0].pop("evidence"),
        lambda data: data["rigs"]["rig02"].update(status="FAIL"),
        lambda data: data["rigs"]["rig02"].update(findings=data["rigs"]["rig01"]["findings"]),
        lambda data: data["rigs"].update({"No Name": data["rigs"]["rig02"]}),
    ],
)
def test_the_schema_refuses_what_is_not_printed(broken, spoil):
    data = as_data([broken, LOST])
    spoil(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, findings_schema(), jsonschema.Draft202012Validator)


# What the schema of Ant's dialect allows where (junit.xsd), as Jenkins reads it: tag -> (attributes, children).
ALLOWED = {
    "testsuites": ({"name", "time", "tests", "failures", "errors", "skipped"}, {"testsuite"}),
    "testsuite": ({"name", "time", "tests", "failures", "errors", "skipped", "timestamp"}, {"testcase"}),
    "testcase": ({"name", "classname", "time"}, {"skipped", "error", "failure", "system-out"}),
    "skipped": ({"message"}, set()),
    "error": ({"message", "type"}, set()),
    "failure": ({"message", "type"}, set()),
    "system-out": (set(), set()),
}
NEEDED = {
    "testsuite": {"name", "tests", "failures", "errors", "skipped"},
    "testcase": {"name", "classname"},
    "error": {"type"},
    "failure": {"type"},
}


def parsed(results):
    root = ET.fromstring(junit.document(results).encode())
    assert root.tag == "testsuites"
    for element in root.iter():
        attributes, children = ALLOWED[element.tag]
        assert set(element.keys()) <= attributes
        assert set(element.keys()) >= NEEDED.get(element.tag, set())
        assert {child.tag for child in element} <= children
        if element.tag == "testcase":
            assert len(element) <= 1
        if "tests" in element.keys():  # noqa: SIM118 - an element's own "in" asks its children
            inside = {"tests": ".//testcase", "failures": ".//failure", "errors": ".//error", "skipped": ".//skipped"}
            for name, path in inside.items():
                assert int(element.get(name)) == len(element.findall(path)), name
    return root


def test_junit_holds_every_finding_in_its_suite(broken):
    root = parsed([broken, LOST])
    first, second = root
    assert (first.get("name"), len(first)) == ("rig01", len(broken.findings))
    failed = {case.get("name") for case in first if case.find("failure") is not None}
    assert "link.width PCIE3" in failed
    assert second.find("testcase/error").get("message") == "192.0.2.12 does not answer"
    assert second.find("testcase/error").text == "is it on?"


@pytest.mark.parametrize(
    ("status", "tag", "words"),
    [
        (Status.PASS, None, ""),
        (Status.WARN, "system-out", "WARN PCIE1: link.width: declared x16\ncause: riser\nremedy: reseat"),
        (Status.FAIL, "failure", "cause: riser\nremedy: reseat"),
        (Status.UNKNOWN, "skipped", ""),
    ],
)
def test_junit_by_status(status, tag, words):
    (case,) = parsed([one(status, declared="x16", cause="riser", remedy="reseat")]).iter("testcase")
    assert [child.tag for child in case] == ([tag] if tag else [])
    assert "".join(case.itertext()).strip() == words
    if status is Status.UNKNOWN:
        assert case[0].get("message").startswith("UNKNOWN: PCIE1: link.width: declared x16. cause: riser")


def test_junit_of_hostile_words_and_of_nothing():
    hostile = Finding(NASTY, NASTY, Status.FAIL, NASTY, NASTY, NASTY, NASTY)
    (case,) = parsed([RigResult("rig01", findings=(hostile,))]).iter("testcase")
    assert case.get("name").startswith('a"b\\c d <e>& ')
    assert "]]>" in case[0].text
    assert len(parsed([])) == 0


def samples(results):
    found = {}
    for family in text_string_to_metric_families(prometheus.text(results, now=1_790_000_000.5)):
        assert family.documentation
        assert family.type == "gauge"
        for sample in family.samples:
            key = (sample.name.removeprefix("rigdeploy_"), *sample.labels.values())
            assert key not in found, "a series twice: the collector drops the whole file"
            found[key] = sample.value
    return found


def test_prometheus(broken):
    found = samples([broken, LOST])
    assert found["verify_timestamp_seconds", "rig01"] == 1_790_000_000.5
    assert (found["rig_status", "rig01"], found["rig_status", "rig02"]) == (2, 3)
    assert (found["rig_up", "rig01"], found["rig_up", "rig02"]) == (1, 0)
    assert found["finding_status", "rig01", "link.width", "PCIE1"] == 0
    assert found["finding_status", "rig01", "link.width", "PCIE3"] == 2
    assert found["link_width_lanes", "rig01", "PCIE3", "declared"] == 16
    assert found["link_width_lanes", "rig01", "PCIE3", "measured"] == 8
    assert found["link_generation", "rig01", "PCIE3", "measured"] == 4
    assert found["card_memory_bytes", "rig01", "PCIE1"] == 24 * 2**30
    assert found["link_bandwidth_bytes_per_second", "rig01", "PCIE1", "to_card"] == 26.1e9
    assert ("link_width_lanes", "rig01", "PCIE7", "measured") not in found
    assert found["link_width_lanes", "rig01", "PCIE7", "declared"] == 16


def test_each_metric_has_one_head_and_its_samples_behind_it(broken):
    lines = prometheus.text([broken, LOST], now=0).splitlines()
    names = [line.split("{")[0] for line in lines if not line.startswith("#")]
    runs = [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]
    heads = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert heads == [line.split()[2] for line in lines if line.startswith("# HELP")]
    assert runs == heads
    assert len(set(heads)) == len(heads)


def test_prometheus_of_hostile_words_and_of_nothing():
    nasty = 'a"b\\c\nd'
    hostile = Finding("x", nasty, Status.WARN)
    assert samples([RigResult("rig01", findings=(hostile, hostile))])["finding_status", "rig01", "x", nasty] == 1
    assert prometheus.text([]) == ""


@pytest.mark.parametrize(("worse", "value"), [(Status.PASS, 0), (Status.UNKNOWN, 3), (Status.FAIL, 2)])
def test_two_findings_of_one_check_are_one_sample(worse, value):
    findings = tuple(Finding("host.network", "rig", status) for status in (Status.PASS, worse))
    assert samples([RigResult("rig01", findings=findings)])["finding_status", "rig01", "host.network", "rig"] == value


def test_prometheus_stamps_the_moment():
    (line,) = [x for x in prometheus.text([LOST]).splitlines() if x.startswith("rigdeploy_verify_timestamp")]
    assert math.isclose(float(line.split()[-1]), time.time(), abs_tol=60)
