"""HTTP services for the tests: one that answers as it is told, one that is as strict as AMI's Redfish firmware."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = "Planted-Pa55word"
HOST = "127.1.0.1"


def make_certificate(directory: Path, name: str = "bmc", *, address: str | None = HOST) -> tuple[Path, Path]:
    """A self-signed certificate and its key; without an address it names nothing that can be reached."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    if address:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    paths = directory / f"{name}.pem", directory / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@dataclass
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"{}")


@dataclass
class Answer:
    """``status`` 0: the connection is cut without an answer."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """Answers by a function, keeps what it was asked."""

    def __init__(
        self, answer: Callable[[Request], Answer], certificate: tuple[Path, Path] | None = None, port: int = 0
    ) -> None:
        self.requests: list[Request] = []
        self.answer = answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(self.command, self.path, self.headers, self.rfile.read(length))
                outer.requests.append(request)
                given = outer.answer(request)
                if given.status == 0:
                    self.close_connection = True
                    return
                body = given.body if isinstance(given.body, bytes) else json.dumps(given.body).encode()
                self.send_response(given.status)
                for name, value in {"Content-Length": str(len(body)), **given.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the base class's names

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer((HOST, port), Handler)
        self.http.daemon_threads = True
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
            self.scheme = "https"
        self.port = self.http.server_address[1]
        self.url = f"{self.scheme}://{HOST}:{self.port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


ROOT = "/redfish/v1"
SYSTEM, MANAGER, CHASSIS = f"{ROOT}/Systems/Self", f"{ROOT}/Managers/Self", f"{ROOT}/Chassis/Self"
LOG = f"{MANAGER}/LogServices/SEL"
ACCOUNT = f"{ROOT}/AccountService/Accounts/2"


def link(path: str) -> dict[str, str]:
    return {"@odata.id": path}


def members(*paths: str) -> dict[str, Any]:
    return {"Members": [link(path) for path in paths], "Members@odata.count": len(paths)}


def documents() -> dict[str, dict[str, Any]]:
    """The resources of one BMC, by path; each gets its own address when it is read."""
    cd = f"{MANAGER}/VirtualMedia/CD1"
    targets = ["None", "Pxe", "Hdd", "UsbCd", "BiosSetup"]
    return {
        ROOT: {
            "Id": "RootService",
            "RedfishVersion": "1.15.0",
            **{name: link(f"{ROOT}/{name}") for name in ("Systems", "Managers", "Chassis", "AccountService")},
            "SessionService": link(f"{ROOT}/SessionService"),
            "Links": {"Sessions": link(f"{ROOT}/SessionService/Sessions")},
        },
        f"{ROOT}/SessionService": {"Id": "s", "Name": "s", "Sessions": link(f"{ROOT}/SessionService/Sessions")},
        f"{ROOT}/Systems": {"Name": "Systems", **members(SYSTEM)},
        SYSTEM: {
            "Id": "Self",
            "Name": "System",
            "Manufacturer": "ASRockRack",
            "Model": "ROMED8-2T\u001b[31m",
            "SerialNumber": "M80-1",
            "BiosVersion": "3.80",
            "PowerState": "Off",
            "PowerRestorePolicy": "LastState",
            "IndicatorLED": "Off",
            "IndicatorLED@Redfish.AllowableValues": ["Lit", "Off"],
            "Boot": {
                "BootSourceOverrideEnabled": "Disabled",
                "BootSourceOverrideTarget": "None",
                "BootSourceOverrideMode": "UEFI",
                "BootSourceOverrideTarget@Redfish.AllowableValues": targets,
            },
            "@Redfish.Settings": {"SettingsObject": link(f"{SYSTEM}/SD")},
            "Bios": link(f"{SYSTEM}/Bios"),
            "Links": {"ManagedBy": [link(MANAGER)], "Chassis": [link(CHASSIS)]},
            "Actions": {
                "#ComputerSystem.Reset": {
                    "target": f"{SYSTEM}/Actions/ComputerSystem.Reset",
                    "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "GracefulShutdown", "ForceRestart"],
                }
            },
        },
        f"{SYSTEM}/SD": {
            "Id": "SD",
            "Name": "Future",
            "Boot": {
                "BootSourceOverrideEnabled": "Disabled",
                "BootSourceOverrideTarget": "None",
                "BootSourceOverrideMode": "UEFI",
            },
        },
        f"{SYSTEM}/Bios": {"Id": "Bios", "Attributes": {"PCIS007": "Enabled", "ABOVE4G": True, "gone": None}},
        f"{ROOT}/Managers": {"Name": "Managers", **members(MANAGER)},
        MANAGER: {
            "Id": "Self",
            "Name": "Manager",
            "Model": "AST2500",
            "FirmwareVersion": "1.30.00",
            "VirtualMedia": link(f"{MANAGER}/VirtualMedia"),
            "LogServices": link(f"{MANAGER}/LogServices"),
        },
        f"{MANAGER}/VirtualMedia": {"Name": "v", **members(f"{MANAGER}/VirtualMedia/HD1", cd)},
        f"{MANAGER}/VirtualMedia/HD1": {"Id": "HD1", "Name": "HD", "MediaTypes": ["USBStick"]},
        cd: {
            "Id": "CD1",
            "Name": "CD",
            "MediaTypes": ["CD", "DVD"],
            "Inserted": False,
            "Image": None,
            "Actions": {
                "#VirtualMedia.InsertMedia": {"target": f"{cd}/Actions/VirtualMedia.InsertMedia"},
                "#VirtualMedia.EjectMedia": {"target": f"{cd}/Actions/VirtualMedia.EjectMedia"},
            },
        },
        f"{MANAGER}/LogServices": {"Name": "l", **members(f"{MANAGER}/LogServices/AuditLog", LOG)},
        f"{MANAGER}/LogServices/AuditLog": {"Id": "AuditLog", "Entries": link(f"{LOG}/none")},
        LOG: {
            "Id": "SEL",
            "Entries": link(f"{LOG}/Entries"),
            "Actions": {"#LogService.ClearLog": {"target": f"{LOG}/Actions/LogService.ClearLog"}},
        },
        # Two pages, the newest first, and one entry that is only linked to.
        f"{LOG}/Entries": {
            "Members": [
                {
                    "Id": "3",
                    "Created": "2026-03-01T10:00:00+01:00",
                    "Message": "Power\u0007Supply 2 lost\nits input",
                    "SensorType": "Power Supply",
                    "Severity": "Critical",
                },
                link(f"{LOG}/Entries/2"),
            ],
            "Members@odata.nextLink": f"{LOG}/Entries?$skip=2",
        },
        f"{LOG}/Entries/2": {"Id": "2", "Created": "1970-01-01T00:00:09Z", "Message": "up", "Severity": "OK"},
        f"{LOG}/Entries?$skip=2": {"Members": [{"Id": "1", "Message": 7}]},
        f"{ROOT}/Chassis": {"Name": "Chassis", **members(CHASSIS)},
        CHASSIS: {"Id": "Self", "Name": "c", "Thermal": link(f"{CHASSIS}/Thermal"), "Power": link(f"{CHASSIS}/Power")},
        f"{CHASSIS}/Thermal": {
            "Temperatures": [
                {"Name": "CPU", "ReadingCelsius": 61, "Status": {"State": "Enabled", "Health": "OK"}},
                {"Name": "TR1", "ReadingCelsius": None, "Status": {"State": "Absent"}},
            ],
            "Fans": [{"FanName": "FAN1", "Reading": 300, "Status": {"Health": "Critical"}}],
        },
        f"{CHASSIS}/Power": {
            "Voltages": [{"Name": "12V", "ReadingVolts": 12.1, "Status": {"Health": "OK"}}],
            "PowerSupplies": [{"Name": "PSU2", "Status": {"State": "UnavailableOffline", "Health": "Warning"}}],
            "PowerControl": [{"Name": "whole", "PowerConsumedWatts": 412}],
        },
        f"{ROOT}/AccountService": {"Id": "a", "Accounts": link(f"{ROOT}/AccountService/Accounts")},
        f"{ROOT}/AccountService/Accounts": {"Name": "a", **members(f"{ROOT}/AccountService/Accounts/1", ACCOUNT)},
        f"{ROOT}/AccountService/Accounts/1": {"Id": "1", "UserName": ""},
        ACCOUNT: {"Id": "2", "UserName": "admin"},
    }


def refusal(status: int, identity: str, text: str) -> Answer:
    message = {"MessageId": identity, "Message": text, "Severity": "Warning"}
    return Answer(status, {"error": {"code": identity, "message": "see extended", "@Message.ExtendedInfo": [message]}})


class StrictBmc(Server):
    """Sessions only; every PATCH needs the right If-Match; the boot override goes to /SD, whole, or nowhere.

    ``lose``, ``busy``, ``swallow``: how many of the next resets get no answer though they are done, a 503, or an answer
    though they are not done. ``operator``: the user may look and nothing more.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.documents = documents()
        self.password = PASSWORD
        self.tokens: set[str] = set()
        self.log_ins = self.lose = self.busy = self.swallow = 0
        self.operator = False
        self.resets: list[str] = []
        super().__init__(self.answered, certificate)

    def tag(self, path: str) -> str:
        return '"' + hashlib.sha256(json.dumps(self.documents[path]).encode()).hexdigest()[:16] + '"'

    def answered(self, request: Request) -> Answer:  # noqa: PLR0911 - one for each way to answer
        path = request.path.rstrip("/")
        if path == f"{ROOT}/SessionService/Sessions" and request.method == "POST":
            return self.log_in(request.json)
        if path != ROOT and request.headers.get("X-Auth-Token") not in self.tokens:
            return refusal(401, "Base.1.0.NoValidSession", "There is no valid session established.")
        if request.method == "DELETE":
            self.tokens.discard(path.rpartition("/")[2])
            return Answer(204)
        if self.operator and request.method != "GET":
            return refusal(403, "Base.1.0.InsufficientPrivilege", "There are insufficient privileges.")
        if request.method == "POST":
            return self.acted(path, request.json)
        if path not in self.documents:
            return refusal(404, "Base.1.0.ResourceMissing", "gone")
        if request.method == "PATCH":
            return self.patched(path, request)
        return Answer(200, link(path) | self.documents[path], {"ETag": self.tag(path)})

    def log_in(self, said: dict[str, str]) -> Answer:
        self.log_ins += 1
        if said != {"UserName": "admin", "Password": self.password}:
            return refusal(401, "Base.1.0.ResourceAtUriUnauthorized", f"Invalid user or password {said['UserName']}")
        token = f"token{self.log_ins}"
        self.tokens.add(token)
        # As some do: a name that nobody outside knows.
        location = f"https://bmc.internal{ROOT}/SessionService/Sessions/{token}"
        return Answer(201, {"Id": token}, {"X-Auth-Token": token, "Location": location})

    def acted(self, path: str, said: dict[str, Any]) -> Answer:
        what = path.rpartition(".")[2]
        device = self.documents[f"{MANAGER}/VirtualMedia/CD1"]
        if what == "InsertMedia":
            device.update(Inserted=True, Image=said["Image"])
        elif what == "EjectMedia":
            device.update(Inserted=False, Image=None)
        elif what == "ClearLog":
            self.documents[f"{LOG}/Entries"] = {"Members": []}
        else:
            return self.reset(said["ResetType"])
        return Answer(204)

    def reset(self, kind: str) -> Answer:
        if self.busy:
            self.busy -= 1
            return Answer(503, b"<html>starting</html>")
        self.resets.append(kind)
        system = self.documents[SYSTEM]
        if kind == "ForceRestart" and system["PowerState"] == "Off":
            return refusal(409, "Base.1.0.ActionNotSupported", "The system is off.")
        state = "Off" if kind in ("ForceOff", "GracefulShutdown") else "On"
        if state == system["PowerState"] and kind != "ForceRestart":
            return refusal(409, "Base.1.0.NoOperation", f"The system is already {state}.")
        if self.swallow:
            self.swallow -= 1
            return Answer(202)
        system["PowerState"] = state
        if self.lose:
            self.lose -= 1
            return Answer(0)
        return Answer(204)

    def patched(self, path: str, request: Request) -> Answer:
        said = request.json
        if "If-Match" not in request.headers:
            return refusal(428, "Ami.1.0.PreconditionHeaderMissing", "If-Match is missing.")
        if request.headers["If-Match"] != self.tag(path):
            return refusal(412, "Base.1.0.PreconditionFailed", "The ETag is another.")
        if path == SYSTEM and "Boot" in said:
            return refusal(400, "Ami.1.0.OperationSupportedInFutureStateURI", "Use the settings resource.")
        if path == ACCOUNT:
            self.password = said["Password"]
            return Answer(204)
        boot = said.pop("Boot", None)
        if boot is not None:
            wanted = {f"BootSourceOverride{part}" for part in ("Enabled", "Target", "Mode")}
            if set(boot) != wanted:
                return refusal(400, "Base.1.0.PropertyMissing", "target, enabled and mode belong together")
            self.documents[path]["Boot"].update(boot)
        self.documents[path].update(said)
        return Answer(204)
