"""Results as JUnit XML, which CI servers show: a suite per rig, a case per finding.

The dialect is Ant's (github.com/windyroad/JUnit-Schema) as far as Jenkins and GitLab read it: FAIL is a failure,
UNKNOWN a skipped case with the reason, WARN a passed case with its words in system-out; a rig that could not be looked
at is one case with an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from rigdeploy.node.values import display
from rigdeploy.report.result import RigResult
from rigdeploy.report.terminal import headline
from rigdeploy.verify.findings import Finding, Status

_COUNTED = ("tests", "failures", "errors", "skipped")


def document(results: Sequence[RigResult]) -> str:
    """The whole document; valid XML whatever a node said, because nothing unprintable passes."""
    root = ET.Element("testsuites", name="rigdeploy")
    for result in results:
        root.append(_suite(result))
    for name in _COUNTED:
        root.set(name, str(sum(int(suite.get(name, 0)) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(result: RigResult) -> ET.Element:
    suite = ET.Element("testsuite", name=result.rig)
    if result.error is not None:
        case = ET.SubElement(suite, "testcase", classname=f"{result.rig}.rig", name="looked at", time="0")
        error = ET.SubElement(case, "error", message=_printable(result.why_not), type=type(result.error).__name__)
        error.text = _printable(result.error.remedy)
    for finding in result.findings:
        suite.append(_case(result.rig, finding))
    counts = {"tests": "testcase", "failures": "testcase/failure", "errors": "testcase/error"}
    counts["skipped"] = "testcase/skipped"
    for name in _COUNTED:
        suite.set(name, str(len(suite.findall(counts[name]))))
    suite.set("time", "0")
    return suite


def _case(rig: str, finding: Finding) -> ET.Element:
    check, subject = display(finding.check), display(finding.subject)
    case = ET.Element("testcase", classname=f"{rig}.{check}", name=f"{check} {subject}", time="0")
    message, text = _printable(headline(finding)), _text(finding)
    if finding.status is Status.FAIL:
        ET.SubElement(case, "failure", message=message, type=display(finding.cause) or "FAIL").text = text
    elif finding.status is Status.UNKNOWN:
        ET.SubElement(case, "skipped", message=f"UNKNOWN: {message}. {text}")
    elif finding.status is Status.WARN:
        ET.SubElement(case, "system-out").text = f"WARN {message}\n{text}"
    return case


def _text(finding: Finding) -> str:
    lines = (("cause", finding.cause), ("remedy", finding.remedy))
    return "\n".join(f"{word}: {_printable(text)}" for word, text in lines if text)


def _printable(text: str) -> str:
    """The text on one line without characters that XML or a terminal must not get; whole, because it is ours."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
